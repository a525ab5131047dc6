"""HDF5 files, here and at addresses, of which only a few are open at a time."""

import atexit
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from scdata._optional import need
from scdata._storage import is_local
from scdata.source.far_file import FarFile, no_collection

# What is raised where a file is damaged; Arrow takes its strings over
HDF5_DAMAGE = (OSError, KeyError, RuntimeError, pa.ArrowInvalid)

# HDF5 keeps 1 MB of decoded chunks by default, less than one chunk of many files
_CHUNK_CACHE_BYTES = 16 << 20

# Each holds the caches above; ten thousand sources are read one after the other
_MOST_OPEN = 8


class Owner(Protocol):
    """What keeps handles into an open file."""

    def close(self) -> None:
        """Let go of the handles; the next use opens the file again."""


_open: "weakref.WeakKeyDictionary[Owner, Any]" = weakref.WeakKeyDictionary()
_lock = threading.RLock()


def open_hdf5(path: Path, owner: Owner) -> Any:
    """An ``h5py.File`` for reading; those that were used least recently are closed when many are open.

    Raises
    ------
    OSError
        If it is no HDF5 file, or truncated.
    SourceError
        If its server cannot give parts of it.
    StorageError
        If its store does not answer, or refuses.
    """
    file = file_of(path)
    with _lock:
        _open[owner] = file
        while len(_open) > _MOST_OPEN:
            oldest = next(iter(_open))
            _close(oldest)
    return file


def file_of(path: Path) -> Any:
    """An ``h5py.File`` for reading, which the caller closes."""
    h5py = need("h5py", "read HDF5 files")
    if is_local(path):
        return h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES)
    with no_collection(path):
        return h5py.File(FarFile(path), "r", rdcc_nbytes=_CHUNK_CACHE_BYTES)


@contextmanager
def using(owner: Owner, path: Path) -> Iterator[None]:
    """Around what an owner reads of its file, which is the last to be closed from now on."""
    with _lock:
        if owner in _open:
            _open[owner] = _open.pop(owner)
    with no_collection(path):
        yield


def _close(owner: Owner) -> None:
    file = _open.pop(owner)
    owner.close()
    file.close()


@atexit.register
def _close_all() -> None:
    # HDF5 would call back into an interpreter that is gone
    with _lock:
        while _open:
            _close(next(iter(_open)))
