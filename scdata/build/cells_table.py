"""Cells between scatter and gather: an Arrow table, one row a cell, ragged columns as narrow lists."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from scdata._blocks import I64, Array
from scdata.counts.csr import ragged_rows


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
            new_indptr, take = ragged_rows(indptr, rows)
            columns[name] = pa.LargeListArray.from_arrays(pa.array(new_indptr), pa.array(values[take]))
        else:
            columns[name] = table[name].take(pa.array(rows))
    return pa.table(columns, schema=table.schema)
