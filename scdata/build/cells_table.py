"""Cells between scatter and gather: an Arrow table, one row a cell, ragged columns as narrow lists.

In a scatter file stand record batches without a schema, which would be longer than many of them: the plan gives it, and a
head of 8 bytes the widths of the ragged columns.
"""

from collections.abc import Iterable, Sequence
from io import RawIOBase
from itertools import pairwise

import numpy as np
import pyarrow as pa

from scdata._blocks import I64, Array
from scdata.build.obs_columns import ObsColumn
from scdata.counts.csr import take_rows

_HEAD = 8  # what follows stays aligned


def ragged_column(indptr: I64, values: Array) -> pa.Array:
    """A list column of integers (in the narrowest type) or floats."""
    if values.dtype.kind != "f":
        low, top = values.min(initial=0), values.max(initial=0)
        values = values.astype(np.int32 if low < 0 or top >= 1 << 16 else np.uint8 if top < 1 << 8 else np.uint16)
    return pa.LargeListArray.from_arrays(pa.array(indptr), pa.array(values))


def ragged_arrays(chunks: Sequence[pa.Array]) -> tuple[I64, Array]:
    """`indptr` int64 (C+1,) from 0, and values, of a list column in chunks, which may differ in width."""
    chunks = [chunk for chunk in chunks if len(chunk)]
    lengths = [np.diff(chunk.offsets.to_numpy()) for chunk in chunks]
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]) if chunks else np.zeros(1, np.int64)
    values = [chunk.flatten().to_numpy() for chunk in chunks]
    if len(values) == 1:
        return indptr.astype(np.int64), values[0]
    return indptr.astype(np.int64), np.concatenate(values) if values else np.empty(0, np.uint8)


def concat_cells(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of cells one after the other; list columns may differ in width."""
    columns = {}
    for name in tables[0].column_names:
        chunks = [chunk for table in tables for chunk in table[name].chunks]
        if pa.types.is_large_list(tables[0].schema.field(name).type):
            columns[name] = ragged_column(*ragged_arrays(chunks))
        else:
            columns[name] = pa.chunked_array(chunks, tables[0].schema.field(name).type).combine_chunks()
    return pa.table(columns)


def take_cells(table: pa.Table, rows: I64) -> pa.Table:
    """Rows of a table that `concat_cells` gave."""
    columns = {}
    for name in table.column_names:
        if pa.types.is_large_list(table.schema.field(name).type):
            indptr, values = ragged_arrays(table[name].chunks)
            new_indptr, [taken] = take_rows(indptr, rows, values)
            columns[name] = pa.LargeListArray.from_arrays(pa.array(new_indptr), pa.array(taken))
        else:
            columns[name] = table[name].take(pa.array(rows))
    return pa.table(columns, schema=table.schema)


def _schema(columns: Sequence[ObsColumn], ids: str, values: str | None) -> pa.Schema:
    """Columns of the cells of a shard; `ids` and `values` are NumPy characters of the ragged columns."""
    fields: dict[str, pa.DataType] = {
        "key": pa.uint64(),
        "cell_id": pa.int64(),
        "dataset": pa.int32(),
        "total_counts": pa.int64(),
        "vocab_counts": pa.int64(),
        "obs_name": pa.string(),
        "ids": _lists_of(ids),
    }
    if values is not None:
        fields["values"] = _lists_of(values)
    return pa.schema({**fields, **{f"obs.{c.name}": pa.from_numpy_dtype(np.dtype(c.dtype)) for c in columns}})


def _lists_of(char: str) -> pa.DataType:
    return pa.large_list(pa.from_numpy_dtype(np.dtype(char)))


def write_parts(file: RawIOBase, table: pa.Table, ends: Sequence[int], columns: Sequence[ObsColumn]) -> list[int]:
    """Write consecutive parts of a table that `take_cells` gave, each as one record batch, nothing for none.

    Parameters
    ----------
    ends
        Row after the last of each part; the first part begins at row 0.

    Returns
    -------
    Bytes of each part.
    """
    widths = [
        np.dtype(table.schema.field(name).type.value_type.to_pandas_dtype()).char if name in table.column_names else " "
        for name in ("ids", "values")
    ]
    head = "".join(widths).ljust(_HEAD).encode()
    schema = _schema(columns, widths[0], widths[1].strip() or None)
    batch = pa.record_batch([table[name].combine_chunks() for name in schema.names], schema=schema)
    lengths = []
    for start, end in pairwise([0, *ends]):
        parts = (head, batch.slice(start, end - start).serialize()) if end > start else ()
        lengths.append(sum(file.write(part) or 0 for part in parts))
    return lengths


def read_parts(parts: Iterable[bytes], columns: Sequence[ObsColumn]) -> list[pa.RecordBatch]:
    """What `write_parts` was given, part by part; the columns are views of `parts`."""
    schemas: dict[bytes, pa.Schema] = {}
    batches = []
    for part in parts:
        head = bytes(part[:_HEAD])
        if head not in schemas:
            widths = head.decode()
            schemas[head] = _schema(columns, widths[0], widths[1].strip() or None)
        batches.append(pa.ipc.read_record_batch(pa.py_buffer(part).slice(_HEAD), schemas[head]))
    return batches
