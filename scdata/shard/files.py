"""Small files written whole or not at all, and their hashes."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

_CHUNK = 1 << 20


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` at the end of the block, whole, and on disk.

    The temporary name is unique, so that two attempts at one file never write into each other. Nothing is left behind if
    the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, table: Any) -> None:
    """Write JSON with sorted keys, atomically."""
    with atomic_file(path) as file:
        file.write((json.dumps(table, indent=1, sort_keys=True) + "\n").encode())


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


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file, atomically."""
    with atomic_file(path) as file:
        pq.write_table(table, file, compression="zstd")
