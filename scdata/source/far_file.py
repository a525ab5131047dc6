"""A file at an address, for a library that reads files."""

import gc
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scdata._errors import SourceError
from scdata._optional import need
from scdata._storage import is_local, public_uri, reaching

# What a request asks for, about as long on its way as it takes to be answered, and how many are kept
_BLOCK_BYTES, _BLOCKS = 4 << 20, 8

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
    """A file at an address, in blocks; what the store says when it fails is named."""

    def __init__(self, path: Any) -> None:
        self._uri = str(path)
        with reaching(self._uri):
            self._file = path.fs.open(
                path.path,
                "rb",
                block_size=_BLOCK_BYTES,
                cache_type="blockcache",
                cache_options={"maxblocks": _BLOCKS},
            )
        if not self._file.seekable():
            self._refuse()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        try:
            with reaching(self._uri):
                data = self._file.read(len(buffer))
        except ValueError as error:
            if "range" in str(error):
                self._refuse(error)
            raise
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _refuse(self, error: Exception | None = None) -> None:
        raise SourceError(
            f"{public_uri(self._uri)}: its server gives no parts of a file (range requests); download it, and name the copy"
        ) from error
