"""What an Arrow IPC file says it takes in memory, known before Arrow reads it.

A compressed buffer begins with the length that it will have, which Arrow allocates and fills whatever it is: 300 kB can ask
for gigabytes. These numbers stand in flatbuffers (``format/File.fbs`` and ``Message.fbs`` of Apache Arrow), of which little is
needed. Arrow reads the same bytes at the same places, and checks the rest.
"""

import struct
from dataclasses import dataclass
from typing import Any

_END = b"ARROW1"
_I16, _U16, _I32, _U32, _I64 = (struct.Struct("<" + kind) for kind in "hHiIq")
_PLACE = struct.Struct("<qi4xq")  # of a record batch in the file: offset, bytes of metadata, bytes of the body
_CONTINUATION = 0xFFFFFFFF
_V5, _RECORD_BATCH = 4, 3  # numbers in Message.fbs
_FREE_BYTES, _MOST_TIMES = 64 << 20, 64


def most_bytes(size: int) -> int:
    """Bytes of memory that a file of `size` bytes of a set takes at most: what compresses further is a bomb."""
    return max(_FREE_BYTES, _MOST_TIMES * size)


@dataclass(frozen=True)
class Declared:
    """What a file declares.

    Parameters
    ----------
    n_batches
        Record batches.
    n_rows, n_bytes
        Rows, and bytes of all buffers once they are decompressed; of a file with one batch, else 0.
    """

    n_batches: int
    n_rows: int
    n_bytes: int


def declared(data: Any) -> Declared:
    """Read what an Arrow IPC file declares.

    Parameters
    ----------
    data
        Its bytes, any buffer.

    Raises
    ------
    ValueError
        If it is none, if it has dictionaries, which nothing of ours has, or is of the format before Arrow 1.0, which could
        compress in a way of its own.
    """
    view = memoryview(data).cast("B")
    try:
        if view[-6:] != _END:
            raise ValueError("it does not end as one")
        at = len(view) - 10 - _at(_I32, view, len(view) - 10)
        footer = _table(view, at)
        if _vector(view, footer, 2)[1]:
            raise ValueError("it has dictionaries")
        first, n_batches = _vector(view, footer, 3)
        n_rows = n_bytes = 0
        if n_batches == 1:
            n_rows, n_bytes = _batch(view, *_PLACE.unpack_from(view, first))
    except (struct.error, IndexError) as error:
        raise ValueError(f"it is cut off: {error}") from error
    return Declared(n_batches, n_rows, n_bytes)


def _batch(view: memoryview, offset: int, metadata: int, body: int) -> tuple[int, int]:
    """Rows and decompressed bytes of the record batch at an offset."""
    if _at(_U32, view, offset) != _CONTINUATION or metadata < 8 or body < 0:
        raise ValueError("a record batch does not begin as one")
    message = _table(view, offset + 8)
    version, kind = _field(view, message, 0), _field(view, message, 1)
    if not version or _at(_I16, view, version) != _V5 or not kind or view[kind] != _RECORD_BATCH:
        raise ValueError("a record batch is of another format version")
    header = _field(view, message, 2)
    batch = _table(view, header)
    length = _field(view, batch, 0)
    n_rows = _at(_I64, view, length) if length else 0
    first, n = _vector(view, batch, 2)
    if n_rows < 0 or first + 16 * n > len(view):
        raise ValueError("a record batch has impossible numbers")
    buffers = struct.unpack_from(f"<{2 * n}q", view, first)
    starts, sizes = buffers[::2], buffers[1::2]
    begin = offset + metadata
    if n and (min(buffers) < 0 or begin + body > len(view) or max(map(sum, zip(starts, sizes, strict=True))) > body):
        raise ValueError("a buffer lies outside the file")
    if not _field(view, batch, 3):
        return n_rows, sum(sizes)
    unpack, total = _I64.unpack_from, 0
    for start, size in zip(starts, sizes, strict=True):
        if size:
            (own,) = unpack(view, begin + start)
            if own < -1:
                raise ValueError("a buffer of less than no bytes")
            total += size if own == -1 else own
    return n_rows, total


def _at(kind: struct.Struct, view: memoryview, at: int) -> Any:
    # struct counts what is below zero from the end
    if at < 0:
        raise ValueError("a place before its start")
    return kind.unpack_from(view, at)[0]


def _table(view: memoryview, at: int) -> int:
    """Where the table is to which the offset there leads."""
    return at + int(_at(_U32, view, at))


def _field(view: memoryview, table: int, number: int) -> int:
    """Where a field of a table is; 0 if it is not there."""
    fields = table - int(_at(_I32, view, table))
    own = 4 + 2 * number
    offset = _at(_U16, view, fields + own) if own < _at(_U16, view, fields) else 0
    return table + int(offset) if offset else 0


def _vector(view: memoryview, table: int, number: int) -> tuple[int, int]:
    """Where the first element of a vector is, and how many there are."""
    place = _field(view, table, number)
    if not place:
        return 0, 0
    vector = _table(view, place)
    return vector + 4, int(_at(_U32, view, vector))
