"""A file at an address, for a library that reads files."""

import errno
import gc
import io
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scdata._errors import SourceError, StorageError
from scdata._optional import need
from scdata._storage import is_local, public_uri
from scdata._store_files import open_ranges, reaching

# A file is asked for in units: a look here or there costs one, reading on asks for twice as much each time, up to the
# most, which is about as long on its way as it takes to be answered
_UNIT_BYTES = 1 << 20
_GROWTH, _MOST_UNITS = 2, 8
# Units that are kept, more than two requests bring: two arrays of a matrix are read side by side
_KEPT_UNITS = 48
_STREAMS = 16

_lock = threading.Lock()
_readers: list[bool] = []  # for each reader, whether garbage was collected before it came


@contextmanager
def no_collection(path: Path) -> Iterator[None]:
    """Around calls of h5py that may read from an address: no thread collects garbage meanwhile.

    h5py holds a lock while it waits for the thread that talks to the store. Were garbage collected in that thread, and an
    object of h5py in it, the thread would wait for the lock, and both for ever.
    """
    if is_local(path):
        yield
        return
    with _lock:
        _readers.append(gc.isenabled())
        gc.disable()
    try:
        loop = getattr(path.fs, "loop", None)  # type: ignore[attr-defined]
        if loop is not None:
            # once it answers, that thread has ended a collection that it had begun
            need("fsspec.asyn", "read addresses").sync(loop, _answer)
        yield
    finally:
        with _lock:
            before = _readers.pop()
            if not _readers and before:
                gc.enable()


async def _answer() -> None:
    pass


class FarFile(io.RawIOBase):
    """A file at an address, read in ranges; what the store says when it fails is named."""

    def __init__(self, path: Any) -> None:
        self._uri = str(path)
        with reaching(self._uri):
            try:
                self._file = open_ranges(path)
            except FileNotFoundError as error:
                raise SourceError(f"{public_uri(self._uri)}: not found") from error
        if not self._file.seekable():
            self._refuse()
        self._size = int(self._file.size)
        self._at = 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        # units that are asked for next if reading goes on, and how many then
        self._next: OrderedDict[int, int] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        start, end = self._at, min(self._at + len(buffer), self._size)
        if start >= end:
            return 0
        first, last = start // _UNIT_BYTES, (end - 1) // _UNIT_BYTES
        data = b"".join(self._units(first, last))
        offset = start - first * _UNIT_BYTES
        buffer[: end - start] = data[offset : offset + end - start]
        self._at = end
        return end - start

    def close(self) -> None:
        self._file.close()
        super().close()

    def _units(self, first: int, last: int) -> list[bytes]:
        found: dict[int, bytes] = {}
        for unit in range(first, last + 1):
            if unit in self._kept:
                found[unit] = self._kept[unit]
                self._kept.move_to_end(unit)
        unit = first
        while unit <= last:
            if unit not in found:
                n = 1
                while unit + n <= last and unit + n not in found:
                    n += 1
                found.update(self._fetch(unit, max(n, self._next.pop(unit, 1))))
            unit += 1
        return [found[unit] for unit in range(first, last + 1)]

    def _fetch(self, first: int, n: int) -> dict[int, bytes]:
        """`n` units from `first` on, in one request."""
        start, end = first * _UNIT_BYTES, min((first + n) * _UNIT_BYTES, self._size)
        with reaching(self._uri):
            try:
                self._file.seek(start)
                data = self._file.read(end - start)
            except ValueError as error:
                if "range" in str(error):
                    self._refuse(error)
                raise
            except OSError as error:
                if error.errno == errno.EBUSY:  # it has another tag than when it was opened
                    raise SourceError(
                        f"{public_uri(self._uri)}: was written anew while it was read; run the command again"
                    ) from error
                raise
        if len(data) != end - start:
            raise StorageError(f"{public_uri(self._uri)}: {len(data)} bytes came of {end - start} asked for; try again")
        units = {
            first + i: data[i * _UNIT_BYTES : (i + 1) * _UNIT_BYTES] for i in range(n) if i * _UNIT_BYTES < len(data)
        }
        self._kept.update(units)
        self._next[first + n] = min(n * _GROWTH, max(n, _MOST_UNITS))
        for held, most in ((self._kept, _KEPT_UNITS), (self._next, _STREAMS)):
            while len(held) > most:
                held.popitem(last=False)
        return units

    def _refuse(self, error: Exception | None = None) -> None:
        raise SourceError(
            f"{public_uri(self._uri)}: its server gives no parts of a file (range requests); download it, and name the copy"
        ) from error
