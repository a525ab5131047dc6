"""Bytes from addresses, asked for again where a store fails now and then."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from scdata._errors import SetNotFoundError, StorageError
from scdata._hub import HubAddress, hub_remedy
from scdata._optional import need
from scdata._store_files import http_status, missing_only, reaching

Result = TypeVar("Result")
_TIMEOUT_S = 10.0
# Seconds between attempts, each up to half as long again, so that many readers do not come back at once. Clients of S3 try
# again by themselves.
_WAITS_S = (0.2, 0.5, 1.0, 2.0)
# What a server says that another attempt may change: too slow, too busy; and all that is its own fault, from 500 on
_AGAIN = (408, 429)


def pin(path: Path, patience_s: float | None = None) -> Path:
    """A place on the Hugging Face Hub as its branch or tag stands now: what is read later belongs together, whatever is
    published meanwhile. Other places as they are.

    Parameters
    ----------
    patience_s
        As `fetch` takes it.

    Raises
    ------
    SetNotFoundError
        If there is no such dataset or revision, as far as the token sees.
    StorageError
        If the Hub does not answer, or refuses.
    """
    place = HubAddress.of(str(path))
    if place is None or place.is_pinned:
        return path
    hub = need("huggingface_hub", "read hf:// addresses")

    def once() -> Any:
        try:
            return hub.HfApi(library_name="scdata").dataset_info(
                place.repo_id, revision=place.revision, timeout=patience_s or _TIMEOUT_S
            )
        except hub.errors.GatedRepoError:
            raise
        except (hub.errors.RevisionNotFoundError, hub.errors.RepositoryNotFoundError) as error:
            return error

    if patience_s is None:
        found = _again(once, path)
    else:
        with _naming(path):
            found = once()
    if isinstance(found, hub.errors.RevisionNotFoundError):
        raise SetNotFoundError(f"{path}: {place.repo_id} has no branch, tag or commit {place.revision!r}") from found
    if isinstance(found, hub.errors.RepositoryNotFoundError):
        raise SetNotFoundError(f"{path}: {hub_remedy(found, place.repo_id, http_status(found))}") from found
    pinned: Path = need("upath", "read hf:// addresses").UPath(place.at(found.sha))
    return pinned


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
    # the Hub's file system reads five MB ahead, and lists folders for the sizes of files, unless it is told
    exactly = {"cache_type": "none", "size": offset + length} if str(path).startswith("hf://") else {}

    def once() -> bytes:
        data = bytes(place.fs.cat_file(place.path, start=offset, end=offset + length, **exactly))
        if len(data) != length:
            raise OSError(f"{len(data)} bytes came of {length} at byte {offset}")
        return data

    return _again(once, path)


def _again(once: Callable[[], Result], path: Path) -> Result:
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
