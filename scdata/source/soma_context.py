"""How TileDB is set up, which state of a store it reads, and what it says when it fails."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from scdata._errors import ScdataError, SourceError, StorageError
from scdata._optional import need
from scdata._storage import Storage, is_remote
from scdata._store_files import S3_REMEDY

# Of each column TileDB fills at a time; smaller ones cost passes over tiles, larger ones only memory
_BUFFER_BYTES = 32 << 20

# Arranging the tiles of all fragments beforehand crashes now and then in TileDB 2.30: its threads free what is gone with the
# query (https://github.com/TileDB-Inc/TileDB/pull/5723). Off, tiles are merged while they are read.
_MERGE_BEFORE = "sm.query.sparse_global_order.preprocess_tile_merge"

# Fragments, commits, schemas, members and metadata are written once, each under the time of its first and last write
_WRITTEN = re.compile(r"(?:^|/)__\d+_(\d+)_[0-9a-f]{32}")

# What the client of S3 says about a store, not about what is in it
_OUTAGE = re.compile(r"curlCode|HTTP Response Code: (?!404)|Error Type: \d+|Unable to connect", re.IGNORECASE)


def soma() -> Any:
    """The module ``tiledbsoma``."""
    return need("tiledbsoma", "read SOMA experiments")


def soma_context(storage: Storage) -> Any:
    """The context that reaches a store: one for all sources, since each has threads and connections of its own.

    What was written up to a time is seen by opening with ``tiledb_timestamp``.
    """
    # threads are not forked: a forked process makes its own
    return _context(tuple(storage.tiledb().items()), os.getpid())


@cache
def _context(config: tuple[tuple[str, str], ...], process: int) -> Any:
    own = {"soma.init_buffer_bytes": _BUFFER_BYTES, _MERGE_BEFORE: 0}
    return soma().SOMATileDBContext(tiledb_config=own | dict(config))


def time_of(name: str) -> int | None:
    """Time of the write that made a file of TileDB, in ms since 1970; None for the few that do not tell."""
    found = _WRITTEN.findall(name)
    return max(map(int, found)) if found else None


def last_write(names: Iterable[str], until_ms: int) -> int:
    """Time of the last write among files of TileDB, not after `until_ms`; that itself where none tells."""
    times = (time_of(name) for name in names)
    return max((time for time in times if time is not None and time <= until_ms), default=until_ms)


@contextmanager
def reading_soma(uri: str, what: str) -> Iterator[None]:
    """Name the store and the part in what TileDB says.

    Raises
    ------
    StorageError
        If the store does not answer, or refuses.
    SourceError
        If what is there cannot be read.
    """
    try:
        yield
    except ScdataError:
        raise
    except (soma().SOMAError, RuntimeError, OSError, KeyError, TypeError, ValueError) as error:
        if is_remote(uri) and _OUTAGE.search(str(error)):
            raise StorageError(f"{uri}: {error}; {S3_REMEDY}") from error
        raise SourceError(f"{uri}, {what}: cannot be read ({error})") from error
