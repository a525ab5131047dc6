"""Where the files of a set are: a folder of this machine, or an address, with copies of what was read."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

from scdata._errors import StorageError
from scdata._fetch import fetch, fetch_range, pin
from scdata._storage import is_local, public_uri
from scdata.shard.bounded import read_bounded
from scdata.shard.file_cache import FileCache

_ATTEMPTS = 3  # to get bytes whole
_PATIENCE_S = 5.0  # with a store, where there is a copy


class SetFolder:
    """The folder of a set.

    Parameters
    ----------
    path
        As `Storage.path` gives it.
    cache
        Where copies of what is read from an address are kept; None: nowhere.
    """

    def __init__(self, path: Path, cache: FileCache | None) -> None:
        self.path = path
        self.cache = None if is_local(path) else cache
        self._version = ""

    def manifest(self, name: str, most: int) -> bytes:
        """The manifest: that of the last time, with a warning, if its store does not answer. On the Hugging Face Hub, the set
        is read from now on as it stands now.

        Raises
        ------
        ValueError
            If a local one is over `most` bytes, or no plain file.
        FileNotFoundError
            If there is none; `SetNotFoundError`, if the Hub has no such dataset.
        StorageError
            If its store does not answer, or refuses, and there is no copy.
        """
        path = self.path / name
        if is_local(path):
            data = read_bounded(path, most)
        elif self.cache is None:
            self.path = pin(self.path)
            data = fetch(self.path / name)
        else:
            key = f"manifests/{hashlib.sha256(public_uri(str(path)).encode()).hexdigest()[:32]}"
            copy = self.cache.get(key)
            patience = None if copy is None else _PATIENCE_S
            try:
                self.path = pin(self.path, patience)
                data = fetch(self.path / name, patience)
                self.cache.put(key, data)
            except StorageError as error:
                if copy is None:
                    raise
                warnings.warn(f"{error}: going on with the copies in {self.cache.folder}", stacklevel=4)
                data = copy
        # copies belong to what the manifest names: a set that was written anew shares none
        self._version = hashlib.sha256(data).hexdigest()[:32]
        return data

    def read(self, name: str, is_whole: Callable[[bytes], bool], most: int) -> bytes:
        """A file, once more where it did not come whole; what came last, if it never does.

        Raises
        ------
        ValueError
            If a local one is over `most` bytes, or no plain file.
        OSError
            If it is not there, or its store does not answer.
        """
        path = self.path / name
        return read_bounded(path, most) if is_local(path) else self._kept(name, lambda: fetch(path), is_whole)

    def read_range(self, name: str, offset: int, length: int, is_whole: Callable[[bytes], bool]) -> bytes:
        """A part of a file at an address, as `read` gives a file."""
        path = self.path / name
        return self._kept(f"{name}.parts/{offset}", lambda: fetch_range(path, offset, length), is_whole)

    def _kept(self, name: str, get: Callable[[], bytes], is_whole: Callable[[bytes], bool]) -> bytes:
        key = f"{self._version}/{name}"
        if self.cache is not None:
            copy = self.cache.get(key)
            if copy is not None:
                if is_whole(copy):
                    return copy
                self.cache.drop(key)
        for _ in range(_ATTEMPTS):
            data = get()
            if is_whole(data):
                if self.cache is not None:
                    self.cache.put(key, data)
                break
        return data
