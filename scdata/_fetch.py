"""Bytes from addresses, asked for again where a store fails now and then."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scdata._errors import StorageError
from scdata._optional import need
from scdata._store_files import http_status, missing_only, reaching

# Seconds between attempts, each up to half as long again, so that many readers do not come back at once. Clients of S3 try
# again by themselves.
_WAITS_S = (0.2, 0.5, 1.0, 2.0)
# What a server says that another attempt may change: too slow, too busy; and all that is its own fault, from 500 on
_AGAIN = (408, 429)


def fetch(path: Path, patience_s: float | None = None) -> bytes:
    """The whole file at an address.

    Parameters
    ----------
    patience_s
        Seconds after which a store is taken for one that does not answer, however it fails; None: after all attempts.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    StorageError
        If its store does not answer, or refuses.
    """
    place: Any = path
    if patience_s is not None and getattr(place.fs, "async_impl", False):
        with _naming(path):
            sync = need("fsspec.asyn", "read addresses").sync
            return bytes(sync(place.fs.loop, place.fs._cat_file, place.path, timeout=patience_s))
    return _again(lambda: bytes(place.fs.cat_file(place.path)), path)


def fetch_range(path: Path, offset: int, length: int) -> bytes:
    """`length` bytes at `offset` of the file at an address.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    StorageError
        If its store does not answer, refuses, or gives fewer or more bytes.
    """
    place: Any = path

    def once() -> bytes:
        data = bytes(place.fs.cat_file(place.path, start=offset, end=offset + length))
        if len(data) != length:
            raise OSError(f"{len(data)} bytes came of {length} at byte {offset}")
        return data

    return _again(once, path)


def _again(once: Callable[[], bytes], path: Path) -> bytes:
    for wait in (*(() if str(path).startswith("s3://") else _WAITS_S), None):
        try:
            with _naming(path):
                return once()
        except StorageError as error:
            if wait is None or isinstance(error.__cause__, PermissionError) or _for_good(http_status(error)):
                raise
        time.sleep(wait * random.uniform(1, 1.5))
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the address in what its store says, but for a file that is not there."""
    try:
        with reaching(str(path)), missing_only():
            yield
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise error.__cause__ from None
        raise


def _for_good(status: int | None) -> bool:
    return status is not None and 400 <= status < 500 and status not in _AGAIN
