"""A vocabulary from gene lists, one a species: TranscriptFormer's is the keys of its embedding files, in their order.

Method: tokenizer/vocab.py and utils/utils.py of TranscriptFormer (PyPI transcriptformer 0.6.1): special tokens from 0, then the
ids of each file in turn, the first occurrence of an id winning. Its HDF5 files hold the ids in the dataset ``keys``, beside
the group ``arrays`` of embeddings.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scdata._errors import TokenizerError
from scdata._optional import need
from scdata.counts.genes import cut_version
from scdata.tokens.published.asset_files import LIMIT, read_json, unzip

HDF5 = b"\x89HDF\r\n\x1a\n"
# Ensembl's own ids, and those that it takes over for the fly and the worm; yeasts and others have ids of no common form
_GENE_ID = re.compile(r"(ENS[A-Z]{0,6}G\d{11}|FBgn\d{7}|WBGene\d{8})(\.\d+)?")


def is_gene_id(name: str) -> bool:
    """Whether a name has the form of a gene's id in Ensembl."""
    return _GENE_ID.fullmatch(name) is not None


def numbered(lists: Iterable[Sequence[str]], special: Sequence[str]) -> dict[str, int]:
    """Token ids: the special tokens from 0, then the genes of all lists, each once; Ensembl versions are cut."""
    ids: dict[str, int] = {token: i for i, token in enumerate(special)}
    for genes in lists:
        for gene in genes:
            ids.setdefault(cut_version(gene), len(ids))
    return ids


def read_gene_list(path: Path) -> list[str] | dict[str, int]:
    """The gene ids in a file: HDF5 of embeddings, JSON (a list, or an object by gene), or text with one id a line.

    Returns
    -------
    The ids in the order of the file; a JSON object whose values are whole numbers is a vocabulary already, and comes as it is.

    Raises
    ------
    TokenizerError
        If it is none of these, or holds no gene.
    """
    with path.open("rb") as file:
        head = file.read(len(HDF5))
    genes = _of_hdf5(path) if head == HDF5 else _of_bytes(path)
    if not genes:
        raise TokenizerError(f"{path}: no genes there")
    if not all(isinstance(gene, str) and gene for gene in genes):
        raise TokenizerError(
            f"{path}: expected gene ids, found {next(g for g in genes if not isinstance(g, str) or not g)!r}"
        )
    return genes


def _of_hdf5(path: Path) -> list[str]:
    h5py = need("h5py", "read gene ids from HDF5")
    try:
        with h5py.File(path, "r") as file:
            keys = file.get("keys")
            if isinstance(keys, h5py.Dataset):
                if keys.ndim != 1 or keys.nbytes > LIMIT or keys.dtype.kind not in "SO":
                    raise TokenizerError(
                        f"{path}: keys: expected a list of strings, found {keys.dtype} of shape {keys.shape}"
                    )
                return [key.decode() if isinstance(key, bytes) else key for key in keys[:].tolist()]
            # embeddings by gene: at the top, or in the only group there is
            top = list(file)
            return list(file[top[0]]) if len(top) == 1 and isinstance(file[top[0]], h5py.Group) else top
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise TokenizerError(f"{path}: not an HDF5 file with gene ids: {error}") from error


def _of_bytes(path: Path) -> Any:
    if not path.is_file():
        raise TokenizerError(f"{path}: not a regular file")
    if path.stat().st_size > LIMIT:
        raise TokenizerError(f"{path}: over {LIMIT >> 20} MB, so it is no list of genes")
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = unzip(data, str(path))
    if data.lstrip()[:1] not in (b"[", b"{"):
        return _of_text(data, str(path))
    table = read_json(data, str(path))
    if isinstance(table, dict) and not all(type(value) is int for value in table.values()):
        return list(table)
    return table


def _of_text(data: bytes, where: str) -> list[str]:
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{where}: neither HDF5, nor JSON, nor text with one gene id a line: {error}") from error
    for number, line in enumerate(lines, 1):
        if len(line.split()) > 1 and not line.startswith("#"):
            raise TokenizerError(f"{where}: line {number}: expected one gene id, found {line[:80]!r}")
    return [line for line in lines if line and not line.startswith("#")]
