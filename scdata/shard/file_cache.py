"""Copies of files, and of parts of them, in a folder of bounded size that processes share."""

import os
import threading
import time
import uuid
import warnings
from pathlib import Path

# All is looked at when this part of the limit was written by one process; then the oldest go until there is room.
# What four processes write between their looks fits in between.
_LOOK, _FULL, _ROOM = 1 / 64, 15 / 16, 7 / 8
_SUFFIX = ".tmp"
_ABANDONED_S = 3600  # of a copy that was begun: its process was killed


class FileCache:
    """Copies by key; those used longest ago make room for others.

    A copy appears whole or not at all, so a process may be killed at any time. Readers check what they get: a copy may be
    damaged, or gone the next moment.

    Parameters
    ----------
    folder
        Where copies are kept; made if it is not there.
    limit
        Bytes that all copies may take.

    Raises
    ------
    ValueError
        If the folder cannot be made, or the limit is not above 0.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int) -> None:
        if limit < 1:
            raise ValueError(f"cache_size = {limit}: expected a number of bytes above 0")
        self.folder, self.limit = Path(folder), limit
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"cache_dir = {str(folder)!r}: cannot be made ({error.strerror}); name a folder"
            ) from error
        self._lock = threading.Lock()
        self._written = limit  # the first copy looks at what others left

    def __reduce__(self) -> tuple[type["FileCache"], tuple[str, int]]:
        return FileCache, (str(self.folder), self.limit)

    def get(self, key: str) -> bytes | None:
        """The copy of `key`, if there is one."""
        path = self.folder / key
        try:
            data = path.read_bytes()
            os.utime(path)  # it was used now
        except OSError:
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keep a copy. Where that fails, a warning says so, and nothing is kept."""
        path = self.folder / key
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_SUFFIX}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(f"{self.folder}: no copy is kept ({error.strerror}); make room, or name another cache_dir",
                          stacklevel=2)  # fmt: skip
            return
        with self._lock:
            self._written += len(data)
            look = self._written > self.limit * _LOOK
            if look:
                self._written = 0
        if look:
            self._trim()

    def drop(self, key: str) -> None:
        """Delete a copy that turned out damaged."""
        (self.folder / key).unlink(missing_ok=True)

    def _trim(self) -> None:
        """Delete the copies used longest ago, if all together are near the limit.

        Others may do so at the same time: the oldest are the same for all, so together they delete no more than one.
        """
        copies = self._copies()
        total = sum(size for _, size, _ in copies)
        if total <= self.limit * _FULL:
            return
        for _, size, path in sorted(copies):
            if total <= self.limit * _ROOM:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _copies(self) -> list[tuple[float, int, Path]]:
        """Time of last use, size and path of every copy. What was begun and left is deleted."""
        found = []
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder, name)
                try:
                    stat = path.stat()
                except OSError:
                    continue  # another process deleted it
                if name.endswith(_SUFFIX):
                    if time.time() - stat.st_mtime > _ABANDONED_S:
                        path.unlink(missing_ok=True)
                    continue
                found.append((stat.st_mtime, stat.st_size, path))
        return found
