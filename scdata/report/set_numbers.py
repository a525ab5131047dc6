"""All numbers of a report on one set."""

import math
import os
from dataclasses import dataclass
from typing import Any

from scdata._errors import MissingExtraError
from scdata._storage import is_local
from scdata.build.progress import Progress
from scdata.hub.preview import preview_table
from scdata.report.composition import columns_of, depths_of, means_of, numbers_of
from scdata.report.drops import drop_accounts
from scdata.report.genes import genes_of
from scdata.report.presets import presets_of
from scdata.report.tally import largest_split, tally
from scdata.report.throughput import MODES, measure
from scdata.report.variable import VariableGenes, variable_genes
from scdata.shard.shard_set import ShardSet
from scdata.stream.shuffle_quality import ShuffleQuality, shuffle_quality

N_CELLS = 12  # decoded cells that are shown
MOST_SHUFFLED = 5_000_000  # cells of a split whose order is measured: some 100 bytes of memory each
_BATCH, _SECONDS = 256, 0.3
_FACTS = (
    "tokenizer",
    "encoding",
    "n_cells",
    "n_cells_read",
    "n_genes",
    "total_counts",
    "vocab_counts",
    "splits",
    "config",
    "libraries",
    "content_hash",
    "genes_sha256",
    "vocab_sha256",
    "obs_left_out",
)


@dataclass(frozen=True)
class SetNumbers:
    """What a report shows of one set.

    Parameters
    ----------
    name
        Last part of its path.
    table
        Plain values, as ``scdata report --json`` prints them.
    variable, shuffle
        What is drawn beside; or why there is nothing to draw.
    """

    name: str
    table: dict[str, Any]
    variable: VariableGenes | str
    shuffle: ShuffleQuality | str


def set_numbers(path: str | os.PathLike[str], progress: Progress | None = None) -> SetNumbers:
    """Go through a set once, and measure some things besides.

    Parameters
    ----------
    path
        Folder of the set, or its address.
    progress
        Where to say how far it is; None: nowhere.

    Raises
    ------
    SetNotFoundError, CorruptShardError
        If there is no complete set, or it is damaged.
    """
    shards = ShardSet(os.fspath(path))
    if is_local(shards.path):  # whatever the folder is called from here, its name is its own
        shards = ShardSet(os.path.abspath(shards.path))
    manifest, found = shards.manifest, tally(shards, progress)
    by_name: dict[str, int] = {}
    for name, n in zip(shards.datasets, found.cells.sum(axis=0).tolist(), strict=True):
        if n:
            by_name[name] = by_name.get(name, 0) + n
    variable, shuffle = variable_genes(shards, found), _shuffle(shards)
    table = {
        "set": shards.path.name,
        "manifest_sha256": shards.manifest_hash,
        **{key: manifest[key] for key in _FACTS},
        "sources": [
            {key: source[key] for key in ("name", "n_obs", "n_genes", "n_genes_mapped")}
            | {"organisms": source.get("organisms", []), "datasets": source.get("datasets", [])}
            for source in manifest["sources"]
        ],
        "n_cells_of_depths": len(found.dataset),
        "means": means_of(found, manifest),
        "depths": depths_of(shards, found),
        "columns": columns_of(shards, found),
        "numbers": numbers_of(found),
        "drops": drop_accounts(manifest["drops"], by_name),
        "duplicates": manifest.get("duplicates"),
        "groups": manifest.get("groups"),
        "perturbation": manifest.get("perturbation"),
        "genes": genes_of(shards, found),
        "presets": _presets(shards),
        "variable": {"problem": variable} if isinstance(variable, str)
        else {"batch_key": variable.batch_key, "genes": variable.listed},
        "shuffle": {"problem": shuffle} if isinstance(shuffle, str) else shuffle.as_json(),
        "cells": _cells(shards),
        "throughput": _throughput(shards),
    }  # fmt: skip
    return SetNumbers(shards.path.name, table, variable, shuffle)


def _cells(shards: ShardSet) -> list[dict[str, Any]]:
    """The first cells of the largest split, with their first genes in one line."""
    own = ("split", "cell_id", "total_counts", "n_tokens", "top")
    no_obs = {*own, "dataset", "vocab_counts", "obs_name", "genes", "counts", "values"}
    return [
        {
            **{name: row[name] for name in own},
            "dataset": row["dataset"],
            "obs": {name: _plain(value) for name, value in row.items() if name not in no_obs},
        }
        for row in preview_table(shards, N_CELLS).to_pylist()
    ]


def _plain(value: Any) -> Any:
    """For JSON, which knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shuffle(shards: ShardSet) -> ShuffleQuality | str:
    split = largest_split(shards)
    n = int(shards.manifest["splits"][split]["n_cells"])
    if n > MOST_SHUFFLED:
        return f"{n:,} cells take some memory: run `scdata bench {shards.path.name} --shuffle --split {split}`."
    if n < 2:
        return "One cell cannot be shuffled."
    try:
        return shuffle_quality(str(shards.path), split=split, batch_size=min(64, n), epochs=2)
    except ValueError as error:  # no label that could be mixed
        return str(error).replace(str(shards.path), shards.path.name)


def _presets(shards: ShardSet) -> list[dict[str, Any]]:
    try:
        return presets_of(shards)
    except MissingExtraError as error:
        return [{"name": shards.tokenizer.name, "problem": str(error)}]


def _throughput(shards: ShardSet) -> dict[str, Any]:
    """Cells per second by output; or why it was not measured."""
    split = largest_split(shards)
    n = int(shards.manifest["splits"][split]["n_cells"])
    if not n:
        return {"problem": "There are no cells."}
    size = min(_BATCH, n)
    try:
        rows = [{"output": mode, **measure(str(shards.path), split, None, mode, size, _SECONDS)} for mode in MODES]
    except MissingExtraError as error:
        return {"problem": str(error)}
    return {"split": split, "batch_size": size, "cores": os.cpu_count(), "outputs": rows}
