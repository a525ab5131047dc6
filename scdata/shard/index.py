"""``index.arrow``: whether its numbers can be those of a set."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._blocks import Array
from scdata._errors import CorruptShardError
from scdata.shard.block import MOST_CELLS
from scdata.shard.tar import shard_name

# Bytes of a block at most: of an entry with both exceptions, of a cell, of an obs column of it, and of what Arrow adds
_AN_ENTRY, _A_CELL, _A_COLUMN, _FREE_BYTES = 14, 64, 16, 1 << 20


def check_index(table: pa.Table, manifest: Mapping[str, Any], where: str) -> None:
    """Refuse an index of blocks that the manifest does not know, that overlap, or that cannot be.

    Parameters
    ----------
    table
        Of the schema of an index.
    manifest
        The set's.
    where
        Names the file in messages.

    Raises
    ------
    CorruptShardError
    """
    own = {name: table[name].to_numpy() for name in table.column_names if name != "split"}
    for name in ("offset", "length", "n_cells", "nnz", "shard", "block"):
        if len(table) and own[name].min() < 0:
            raise CorruptShardError(f"{where}: a negative number in the column {name!r}")
    if own["n_cells"].max(initial=0) > MOST_CELLS:
        raise CorruptShardError(f"{where}: a block of more than {MOST_CELLS} cells")
    _check_sizes(own, len(manifest["obs"]), where)
    encoded = table["split"].combine_chunks().dictionary_encode()
    names, code = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    same = (np.diff(code) == 0) & (np.diff(own["shard"]) == 0)
    begins = np.flatnonzero(np.concatenate(([True], ~same))[: len(table)])
    _check_sums({(names[code[i]], int(own["shard"][i])): n for i, n in _sums(own["n_cells"], begins)}, manifest, where)
    _check_order(names, code, own, begins, same, where)


def _sums(numbers: Array, begins: Array) -> list[tuple[int, int]]:
    """Where each part begins, and the sum of its numbers."""
    sums = np.add.reduceat(numbers, begins, dtype=np.int64) if len(begins) else np.empty(0, np.int64)
    return list(zip(begins.tolist(), sums.tolist(), strict=True))


def _check_sizes(own: Mapping[str, Any], n_columns: int, where: str) -> None:
    n_cells = own["n_cells"].astype(np.int64)
    most = _FREE_BYTES + _AN_ENTRY * own["nnz"] + (_A_CELL + _A_COLUMN * n_columns) * n_cells
    # the offsets of a block's entries are int32; fewer bytes than cells cannot hold their numbers
    wrong = np.flatnonzero((own["nnz"] > np.iinfo(np.int32).max) | (own["length"] > most) | (own["length"] < n_cells))
    if len(wrong):
        i = wrong[0]
        raise CorruptShardError(
            f"{where}: row {i} has a block of {n_cells[i]} cells and {own['nnz'][i]} tokens in {own['length'][i]} bytes, "
            "which cannot be"
        )


def _check_order(names: list[str], code: Array, own: Mapping[str, Any], begins: Array, same: Array, where: str) -> None:
    number = np.arange(len(code)) - np.repeat(begins, np.diff(np.append(begins, len(code))))
    rising = (np.diff(code) > 0) | ((np.diff(code) == 0) & (np.diff(own["shard"]) >= 0))
    # as a difference, because a sum of two such numbers may not fit
    apart = ~same | (np.diff(own["offset"]) >= own["length"][:-1])
    falling = np.flatnonzero(~rising) + 1 if names == sorted(names) else begins[:1]
    for wrong, what in (
        (falling, "is out of order"),
        (np.flatnonzero(own["block"] != number), "is not the next block of its shard"),
        (np.flatnonzero(~apart) + 1, "overlaps the block before it"),
    ):
        if len(wrong):
            raise CorruptShardError(f"{where}: row {wrong[0]} {what}")


def _check_sums(found: Mapping[tuple[str, int], int], manifest: Mapping[str, Any], where: str) -> None:
    known = {(shard["split"], shard["shard"]): shard["n_cells"] for shard in manifest["shards"]}
    if len(known) < len(manifest["shards"]):
        raise CorruptShardError(f"{where}: the manifest names a shard twice")
    for split, shard in found.keys() - known.keys():
        raise CorruptShardError(f"{where}: shard {shard} of split {split!r} is not in the manifest")
    of_split = dict.fromkeys(manifest["splits"], 0)
    for (split, _), n_cells in found.items():
        of_split[split] += n_cells
    for split, entry in manifest["splits"].items():
        if of_split[split] != entry["n_cells"]:
            raise CorruptShardError(
                f"{where}: split {split}: n_cells is {of_split[split]}, the manifest says {entry['n_cells']}"
            )
    for (split, shard), n_cells in known.items():
        if found.get((split, shard), 0) != n_cells:
            path = f"shards/{shard_name(split, shard)}.tar"
            raise CorruptShardError(
                f"{where}: {path}: n_cells is {found.get((split, shard), 0)}, the manifest says {n_cells}"
            )
