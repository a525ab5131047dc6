"""Small files written whole or not at all, and their hashes."""

import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from scdata._storage import is_local

_CHUNK = 1 << 20


class HashedFile(io.RawIOBase):
    """A file that is written from its start to its end, and knows the hash of what was written.

    Parameters
    ----------
    file
        Open for writing; not closed here.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sha = file, hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        self._file.write(view)
        self._sha.update(view)
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        return self.size

    @property
    def sha256(self) -> str:
        """Of the bytes written so far, in hexadecimal."""
        return self._sha.hexdigest()


@contextmanager
def atomic_file(path: Path) -> Iterator[HashedFile]:
    """A file to write to, which takes the place of `path` at the end of the block, whole, and on disk.

    On local disk the temporary name is unique, so that two attempts at one file never write into each other; an object
    store shows an object when its upload is completed. Nothing is left behind if the block raises.
    """
    if not is_local(path):
        place: Any = path
        upload = place.fs.open(place.path, "wb", autocommit=False)
        try:
            yield HashedFile(upload)
            upload.close()
        except BaseException:
            upload.discard()
            raise
        upload.commit()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield HashedFile(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file, atomically."""
    with atomic_file(path) as file:
        file.write(data)


def write_json(path: Path, table: Any) -> None:
    """Write JSON with sorted keys, atomically."""
    write_bytes(path, (json.dumps(table, indent=1, sort_keys=True) + "\n").encode())


def write_arrow(path: Path, table: pa.Table, compression: str | None = None) -> None:
    """Write an Arrow IPC file, atomically; its buffers may be compressed (``zstd``)."""
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with atomic_file(path) as file, pa.ipc.new_file(file, table.schema, options=options) as writer:
        writer.write_table(table)


def parse_arrow(data: bytes) -> pa.Table:
    """The table of an Arrow IPC file, without Arrow's threads: a command that ends while they start may be aborted."""
    return pa.ipc.open_file(pa.py_buffer(data), options=pa.ipc.IpcReadOptions(use_threads=False)).read_all()


def read_arrow(path: Path) -> pa.Table:
    """Read what `write_arrow` wrote."""
    return parse_arrow(path.read_bytes())


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_parquet(path: Path, table: pa.Table) -> str:
    """Write a Parquet file, atomically; returns the sha256 of its bytes."""
    with atomic_file(path) as file:
        pq.write_table(table, file, compression="zstd")
    return file.sha256


def names_in(folder: Path) -> set[str]:
    """Names of the files and folders in a folder; none if it is not there. One listing, where asking file by file is slow."""
    try:
        return {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
