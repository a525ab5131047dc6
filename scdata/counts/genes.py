"""Which gene of a vocabulary each column of a source is."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from scdata._blocks import I32

# Ensembl stable ids: ENS, an optional species code, G, eleven digits, and maybe a version
_ENSEMBL = re.compile(r"(ENS[A-Z]{0,6}G\d{11})(?:\.\d+)?", re.IGNORECASE)
_ENSEMBL_IDS = "Ensembl ids"
_SPECIES = {"ENS": "human", "ENSMUS": "mouse", "ENSRNO": "rat"}
_TRANSCRIPT = re.compile(r"ENS[A-Z]{0,6}T\d{11}(?:\.\d+)?", re.IGNORECASE)
# as mouse and rat genes are written: Cd3e, H2-Aa, 0610007P14Rik; human ones are in capitals but for C1orf112 and the like
_RODENT = re.compile(r"(?=.*[a-z])[A-Z][A-Za-z0-9-]*|H2-[A-Z][a-z]?\d*|[0-9A-Z]+Rik")
_HUMAN_ORF = re.compile(r"C[0-9XY]+orf\d+")


def cut_version(feature_id: str) -> str:
    """An Ensembl gene id without its version suffix; any other string unchanged.

    Examples
    --------
    >>> cut_version("ENSG00000141510.18"), cut_version("HLA-A.1")
    ('ENSG00000141510', 'HLA-A.1')
    """
    match = _ENSEMBL.fullmatch(feature_id)
    return match.group(1) if match else feature_id


def map_ids(feature_ids: Sequence[str], index: Mapping[str, int], aliases: Mapping[str, str] | None = None) -> I32:
    """Map feature ids to the genes of a vocabulary.

    Each id is looked up as it is, then without its Ensembl version. Where the vocabulary has aliases (older ids, names:
    Geneformer's mapping dictionary), these come first, in upper case, as in Geneformer's own tokenizer.

    Parameters
    ----------
    feature_ids
        G ids or symbols; an empty string maps to nothing.
    index
        Number of each gene by its id.
    aliases
        Id in the vocabulary for each other name, keys in upper case.

    Returns
    -------
    int32 (G,): number of the gene, −1 where there is none. Several ids may map to one gene.
    """
    target = np.full(len(feature_ids), -1, np.int32)
    for column, feature_id in enumerate(feature_ids):
        if not feature_id:
            continue
        for name in (feature_id, cut_version(feature_id)):
            gene = None
            if aliases is not None and name.upper() in aliases:
                gene = index.get(aliases[name.upper()])
            if gene is None:
                gene = index.get(name)
            if gene is not None:
                target[column] = gene
                break
    return target


RODENT_SYMBOLS = "gene symbols as mouse and rat genes are written"
HUMAN = "ENSG"


def ensembl_prefix(feature_ids: Sequence[str]) -> str | None:
    """The prefix that most of some ids have (``ENSG``, ``ENSMUSG``), None unless most are Ensembl gene ids."""
    seen: dict[str, int] = {}
    some = [feature_id for feature_id in feature_ids if feature_id][:2000]
    for feature_id in some:
        if match := _ENSEMBL.fullmatch(feature_id):
            prefix = match.group(1)[:-11].upper()
            seen[prefix] = seen.get(prefix, 0) + 1
    best = max(seen, key=lambda prefix: seen[prefix], default=None)
    return best if best is not None and seen[best] > len(some) / 2 else None


def looks_like(feature_ids: Sequence[str]) -> str:
    """What most of some ids look like, for an error message: Ensembl ids (whose, with versions or not), or symbols."""
    kinds: dict[str, int] = {}
    versions = 0
    for feature_id in [feature_id for feature_id in feature_ids if feature_id][:2000]:
        kind = _kind(feature_id)
        kinds[kind] = kinds.get(kind, 0) + 1
        versions += kind.endswith(_ENSEMBL_IDS) and "." in feature_id
    if not kinds:
        return "nothing"
    most = max(kinds, key=lambda kind: kinds[kind])
    if not most.endswith(_ENSEMBL_IDS):
        return most
    every = sum(n for kind, n in kinds.items() if kind.endswith(_ENSEMBL_IDS))
    return f"{most} with versions" if versions > every / 2 else most


def _kind(feature_id: str) -> str:
    if match := _ENSEMBL.fullmatch(feature_id):
        prefix = match.group(1)[:-12].upper()
        return f"{_SPECIES.get(prefix, prefix + '…')} {_ENSEMBL_IDS}"
    if _TRANSCRIPT.fullmatch(feature_id):
        return "Ensembl transcripts, not genes"
    if feature_id.isdecimal():
        return "numbers, as NCBI's gene ids are"
    if _RODENT.fullmatch(feature_id) and not _HUMAN_ORF.fullmatch(feature_id):
        return RODENT_SYMBOLS
    return "gene symbols or other names"
