"""Columns of ``obs/``, for what is decided before a cell is read."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from scdata._config import nearest
from scdata._errors import CorruptShardError, LayerNotFoundError
from scdata.shard.shard_set import ShardSet
from scdata.source.columns import plain


def iter_obs(shards: ShardSet, split: str, columns: list[str], asked_by: str) -> Iterator[pa.Table]:
    """Some columns of ``obs/``, shard after shard: strings as strings, NaN as null.

    Raises
    ------
    LayerNotFoundError
        If there is no such column.
    CorruptShardError
        If obs of a shard is missing, or of another length than the shard.
    """
    found = sum(int(shard["n_cells"]) for shard in shards.shards(split))
    expected = int(shards.blocks(split).n_cells.sum())
    if found != expected:
        raise CorruptShardError(
            f"{shards.path}: shards of split {split!r} have {found} cells, the index says {expected}"
        )
    for shard in shards.shards(split):
        path = shards.obs_path(split, int(shard["shard"]))
        try:
            table = shards.read_obs_of(split, int(shard["shard"]), columns)
            for name in set(columns) - set(table.column_names):
                there = shards.read_obs_of(split, int(shard["shard"])).column_names
                raise LayerNotFoundError(
                    f"{asked_by!r} asks for the obs column {name!r}, which {path} does not have: {nearest(name, there)}"
                )
        except (OSError, pa.ArrowException) as error:
            raise CorruptShardError(f"{path}: cannot be read ({error}): restore it") from error
        if len(table) != shard["n_cells"]:
            raise CorruptShardError(f"{path}: has {len(table)} cells, the manifest says {shard['n_cells']}: restore it")
        yield pa.table({name: _plain(table[name]) for name in columns})


def _plain(column: pa.ChunkedArray) -> pa.Array:
    found = plain(column)
    return (
        pc.if_else(pc.is_nan(found), pa.scalar(None, found.type), found) if pa.types.is_floating(found.type) else found
    )
