"""What a set says of itself where its cells stand in another tool's files."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import scdata
from scdata.counts.organisms import ORGANISM_COLUMNS
from scdata.shard.cells import reserved_name
from scdata.shard.roles import roles_of
from scdata.shard.shard_set import ShardSet
from scdata.source.export_facts import (
    ADDED,
    DATASET,
    FACTS,
    FEATURE_ID,
    GENES,
    NAME,
    RENAMED,
    TYPE,
    TYPES,
    VERSION,
    WAS,
)
from scdata.source.measured_genes import BITS, GENE, MEASURED

# Columns of obs files that a set has of its own, by their names in exports; which split a cell is of; its species
OF_CELLS = ("cell_id", "dataset", "n_tokens", "total_counts", "vocab_counts")
SPLIT, ORGANISM = "split", "organism"


def export_facts(
    shards: ShardSet,
    name_of: Callable[[str], str] = reserved_name,
    added: Sequence[str] = OF_CELLS,
    genes: Sequence[str] | None = None,
    types: bool = False,
) -> dict[str, Any]:
    """Strings, lists of strings, dictionaries of these, and one array of bits, which AnnData's files hold.

    Parameters
    ----------
    shards
        The set.
    name_of
        What an obs column of the set is called in the export.
    added
        obs columns there that the set does not have, but for ``organism``.
    genes
        G distinct names of the set's genes in the export; None: feature ids.
    types
        True: the export has no types of obs columns.

    Returns
    -------
    dict
        ``scdata_version``; ``content_hash`` and ``tokenizer`` of the set; ``dataset_column``, the obs column of datasets;
        ``obs_added``; where some have other names, ``obs_renamed`` with lists ``name`` (in the export) and ``was`` (in the
        set); where there is one, ``perturbation`` with ``column``, ``control`` and ``match``, obs columns by their names in
        exports; where `genes` are given, ``genes`` with lists ``name``, these, and ``feature_id``;
        with `types`, ``obs_types`` with lists ``name`` and ``type``;
        where something is known of them, ``datasets``: lists ``dataset``, ``title``, ``collection``, ``doi``, ``citation``;
        where some did not measure all genes, ``measured``: these as ``dataset``, the genes as ``gene``, and ``bits`` uint8
        (datasets, ⌈genes / 8⌉), the least significant first.
    """
    manifest = shards.manifest
    table: dict[str, Any] = {
        VERSION: scdata.__version__,
        "content_hash": manifest["content_hash"],
        "tokenizer": manifest["tokenizer"],
        "dataset_column": DATASET,
        ADDED: [*added, *([ORGANISM] if organism_by_dataset(shards) else [])],
    }
    named = {name: name_of(name) for name in (str(column["name"]) for column in manifest["obs"])}
    # the split of the export stays what is called so
    if renamed := {name: own for name, own in named.items() if name not in (own, SPLIT)}:
        table[RENAMED] = {NAME: list(renamed.values()), WAS: list(renamed)}
    if (roles := roles_of(manifest)) is not None:
        match = [named[name] for name in roles.match]
        table["perturbation"] = {"column": named[roles.column], "control": roles.control, "match": match}
    if facts := facts_by_dataset(manifest):
        table["datasets"] = {
            DATASET: list(facts),
            **{name: [own.get(name, "") for own in facts.values()] for name in FACTS},
        }
    if types:
        table[TYPES] = {NAME: list(named.values()), TYPE: [_type_of(shards, name) for name in named]}
    ids = shards.var["feature_id"].to_pylist()
    if genes is not None:
        table[GENES] = {NAME: list(genes), FEATURE_ID: ids}
    if lacking := _lacking(shards):
        named_as = ids if genes is None else list(genes)
        table[MEASURED] = {DATASET: list(lacking), GENE: named_as, BITS: np.stack(list(lacking.values()))}
    return table


def _type_of(shards: ShardSet, name: str) -> str:
    """Type of an obs column, as pyarrow calls it."""
    dtype = next(str(column["dtype"]) for column in shards.manifest["obs"] if column["name"] == name)
    return "string" if name in shards.categories else str(pa.from_numpy_dtype(np.dtype(dtype)))


def _lacking(shards: ShardSet) -> dict[str, npt.NDArray[np.uint8]]:
    """Bits of the genes that a dataset measured, where these are not all; of two of one name, those that either did."""
    found: dict[str, npt.NDArray[np.uint8]] = {}
    all_ = np.packbits(np.ones(shards.n_genes, np.bool_), bitorder="little")
    for name, own in zip(shards.datasets, shards.measured_bits & all_, strict=True):
        found[name] = found[name] | own if name in found else own
    return {name: own for name, own in found.items() if (own != all_).any()}


def facts_by_dataset(manifest: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """``title``, ``collection``, ``doi`` and ``citation`` of datasets by name, as far as a manifest has them."""
    rows = [row for source in manifest["sources"] for row in source.get("datasets", [])]
    return {row["id"]: {name: row[name] for name in FACTS if name in row} for row in rows}


def organism_by_dataset(shards: ShardSet) -> dict[str, str]:
    """Species of datasets by name; two of one name have those of both. Nothing where obs says it, or none is known."""
    found: dict[str, set[str]] = {}
    for name, organism in zip(shards.datasets, shards.organisms, strict=True):
        found.setdefault(name, set()).add(organism)
    if not any(shards.organisms) or any(column["name"] in ORGANISM_COLUMNS for column in shards.manifest["obs"]):
        return {}
    return {name: ", ".join(sorted(own - {""})) for name, own in found.items()}
