"""Columns of ``obs/``, for what is decided before a cell is read."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scdata._config import nearest
from scdata._errors import CorruptShardError, LayerNotFoundError, StorageError
from scdata._storage import is_local
from scdata.shard.shard_set import ShardSet
from scdata.source.columns import plain, plain_type

_AT_ONCE = 32  # files of obs in flight, from a store


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
    for shard, read in _read_ahead(shards, split, columns):
        path = shards.obs_path(split, int(shard["shard"]))
        try:
            table = read()
            for name in set(columns) - set(table.column_names):
                there = shards.read_obs_of(split, int(shard["shard"])).column_names
                raise LayerNotFoundError(
                    f"{asked_by!r} asks for the obs column {name!r}, which {path} does not have: {nearest(name, there)}"
                )
        except StorageError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise CorruptShardError(f"{path}: cannot be read ({error}): restore it") from error
        if len(table) != shard["n_cells"]:
            raise CorruptShardError(f"{path}: has {len(table)} cells, the manifest says {shard['n_cells']}: restore it")
        for name in columns:
            if plain_type(table[name].type) is None:
                raise CorruptShardError(
                    f"{path}: the column {name!r} holds {table[name].type}, not strings or numbers: restore it"
                )
        yield pa.table({name: _plain(table[name]) for name in columns})


def _read_ahead(
    shards: ShardSet, split: str, columns: list[str]
) -> Iterator[tuple[Mapping[str, Any], Callable[[], pa.Table]]]:
    """What the manifest says of each shard, and how to get its obs: far ones many at a time, because each waits for a store."""
    listed = shards.shards(split)
    reads = [partial(shards.read_obs_of, split, int(shard["shard"]), columns) for shard in listed]
    if is_local(shards.path):
        yield from zip(listed, reads, strict=True)
        return
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        waiting = deque(pool.submit(read) for read in reads[:_AT_ONCE])
        for i, shard in enumerate(listed):
            yield shard, waiting.popleft().result
            if i + _AT_ONCE < len(reads):
                waiting.append(pool.submit(reads[i + _AT_ONCE]))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _plain(column: pa.ChunkedArray) -> pa.Array:
    found = plain(column)
    return (
        pc.if_else(pc.is_nan(found), pa.scalar(None, found.type), found) if pa.types.is_floating(found.type) else found
    )
