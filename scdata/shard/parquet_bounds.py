"""Parquet of nobody knows whom, read in bounded memory.

A page says how long it will be once it is decompressed, and a text of a dictionary may stand in every row, so a file of
kilobytes can ask for gigabytes, whatever its footer says. Page headers are walked before Arrow reads the pages (Apache Parquet,
``parquet.thrift``, in Thrift's compact protocol), and texts are counted before they are written out.
"""

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scdata.shard.ipc_bounds import most_bytes

_WINDOW = 1 << 16  # bytes in which a page header ends
_TYPES = ("BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE", "BYTE_ARRAY")
_HALF = "FIXED_LEN_BYTE_ARRAY"  # of two bytes: float16
# PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY; others write a text as a part of the one before
_ENCODINGS = (0, 2, 3, 8)
_I32, _STRUCT = 5, 12
_UNCOMPRESSED, _COMPRESSED = 2, 3  # fields of a page header, and where it says how its values are written:
_ENCODED = {5: 2, 7: 2, 8: 4}


def open_bounded_parquet(file: BinaryIO) -> pq.ParquetFile:
    """A file of which only the footer is read.

    Raises
    ------
    pyarrow.ArrowException, OSError
        If it is no Parquet file.
    """
    return pq.ParquetFile(file, thrift_string_size_limit=1 << 24, thrift_container_size_limit=1 << 20)


def read_bounded_parquet(file: BinaryIO, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of a file of numbers and strings; the caller has compared its number of rows with what it should be.

    Raises
    ------
    ValueError
        If its pages would take far more than the file, or texts of a column that stand in many rows.
    pyarrow.ArrowException, OSError
        If it cannot be read.
    """
    opened = open_bounded_parquet(file)
    size = file.seek(0, 2)
    most = most_bytes(size)  # of the pages together, and of the texts of a column
    names = opened.schema_arrow.names
    if len(set(names)) < len(names):
        raise ValueError("it has two columns of one name")
    asked = [name for name in names if columns is None or name in columns]
    texts = _check_pages(opened, file, size, most, asked)
    # as dictionaries, in which a text stands once
    found = pq.ParquetFile(file, metadata=opened.metadata, read_dictionary=texts).read(columns=asked, use_threads=False)
    for name in texts:
        column, at = found[name], found.column_names.index(name)
        if pa.types.is_dictionary(column.type):
            n_bytes = sum(map(_text_bytes, column.chunks))
            if n_bytes > most:
                raise ValueError(f"the texts of its column {name!r} take {n_bytes} bytes, {most} are allowed")
            kind = opened.schema_arrow.field(name).type
            found = found.set_column(at, name, column.cast(kind)) if column.type != kind else found
    return found


def _check_pages(opened: pq.ParquetFile, file: BinaryIO, size: int, most: int, asked: Sequence[str]) -> list[str]:
    """Refuse pages that take too much; gives the names of the columns of texts."""
    texts, total = set(), 0
    for i in range(opened.metadata.num_columns):
        column = opened.schema.column(i)
        top = column.path.split(".")[0] if column.path not in asked else column.path
        if top not in asked:
            continue
        half = column.physical_type == _HALF and column.length == 2
        if column.path != top or not (half or column.physical_type in _TYPES):
            kind = opened.schema_arrow.field(top).type
            raise ValueError(f"its column {top!r} holds {kind}, not strings or numbers")
        if column.physical_type == "BYTE_ARRAY":
            texts.add(top)
        for group in range(opened.metadata.num_row_groups):
            chunk = opened.metadata.row_group(group).column(i)
            if chunk.num_values <= 0:
                continue  # no page is read
            # where Arrow begins, whatever else the footer says
            start, dictionary = chunk.data_page_offset, chunk.dictionary_page_offset or 0
            start = dictionary if 0 < dictionary < start else start
            if start < 0 or chunk.total_compressed_size < 0:
                raise ValueError(f"its column {top!r} stands nowhere")
            total += _page_bytes(file, start, start + chunk.total_compressed_size)
            if total > most:
                raise ValueError(f"its {size} bytes say that their pages have {total} bytes, {most} are allowed")
    return sorted(texts)


def _page_bytes(file: BinaryIO, at: int, end: int) -> int:
    """Decompressed bytes of the pages between two places of a file."""
    total = 0
    while at < end:
        file.seek(at)
        fields, length = _struct(file.read(min(_WINDOW, end - at)), 0)
        own, stored = (fields.get((_I32, number), -1) for number in (_UNCOMPRESSED, _COMPRESSED))
        for number, place in _ENCODED.items():
            header = fields.get((_STRUCT, number))
            if header is not None and header.get((_I32, place)) not in _ENCODINGS:
                raise ValueError("a page is encoded in a way that scdata does not write")
        if own < 0 or stored < 0:
            raise ValueError(f"the page at byte {at} says no size")
        total += own
        at += length + stored
    return total


def _struct(data: bytes, at: int, depth: int = 0) -> tuple[dict[tuple[int, int], Any], int]:
    """The numbers (i32) and structs of a struct, by type and field, and where it ends."""
    fields: dict[tuple[int, int], Any] = {}
    number = 0
    while True:
        if at >= len(data) or depth > 3:
            raise ValueError("a page header does not end")
        step, kind = data[at] >> 4, data[at] & 15
        at += 1
        if kind == 0:
            return fields, at
        if step:
            number += step
        else:
            number, at = _varint(data, at)
            number = number >> 1 ^ -(number & 1)
        if kind in (4, _I32, 6):
            value, at = _varint(data, at)
            if kind == _I32:
                value &= 0xFFFFFFFF
                fields[kind, number] = value >> 1 ^ -(value & 1)
        elif kind == _STRUCT:
            fields[kind, number], at = _struct(data, at, depth + 1)
        elif kind == 8:
            length, at = _varint(data, at)
            at += length
        elif kind in (3, 7):
            at += 1 if kind == 3 else 8
        elif kind not in (1, 2):
            raise ValueError("a page header holds what none has")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError("a number of a page header does not end")


def _text_bytes(column: pa.DictionaryArray) -> int:
    lengths = pc.binary_length(column.dictionary).fill_null(0).to_numpy(zero_copy_only=False)
    rows = column.indices.drop_null().to_numpy(zero_copy_only=False)
    return int((np.bincount(rows, minlength=len(lengths)) * lengths.astype(np.int64)).sum()) if len(rows) else 0
