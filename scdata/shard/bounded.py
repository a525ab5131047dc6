"""Reading the files of a set whole, when nobody knows who made them: what they take is known before it is taken."""

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from scdata.shard.files import parse_arrow
from scdata.shard.ipc_bounds import declared


def open_plain(path: Path) -> BinaryIO:
    """A file of this machine, to read from.

    Raises
    ------
    ValueError
        If it is a pipe, which would be waited for, a device, which may never end, or a folder.
    OSError
        If it cannot be opened.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no plain file")
    return path.open("rb")


def read_bounded(path: Path, most: int) -> bytes:
    """What stands in a file of this machine.

    Raises
    ------
    ValueError
        If it is over `most` bytes, or no plain file.
    OSError
        If it cannot be read.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise ValueError(f"it has {size} bytes, {most} are allowed")
        return file.read(size)


def parse_bounded_json(data: bytes, most_values: int) -> Any:
    """The value of a JSON text, as `write_json` writes it, of at most so many values.

    They are counted before they are made: lists like ``[[],[],…`` take thirty times their bytes.

    Raises
    ------
    ValueError, RecursionError
        If it is no JSON, or holds more.
    """
    found = sum(map(data.count, (b",", b"[", b"{")))
    if found > most_values:
        raise ValueError(f"it holds about {found} values, {most_values} are allowed")
    # one character of another plane would make four bytes of each
    if not data.isascii():
        raise ValueError("it is not ASCII, as JSON of scdata is")
    return json.loads(data)


def parse_bounded_arrow(data: bytes) -> pa.Table:
    """The table of an Arrow IPC file of at most one batch whose buffers are not compressed, so that it takes its bytes.

    Raises
    ------
    ValueError, pyarrow.ArrowException, OSError
        If it is none.
    """
    says = declared(data)
    if says.n_batches > 1 or says.n_bytes > len(data):
        raise ValueError(
            f"its {len(data)} bytes hold {says.n_batches} batches of {says.n_bytes} bytes: it was not compressed"
        )
    table = parse_arrow(data)
    table.validate(full=True)
    return table
