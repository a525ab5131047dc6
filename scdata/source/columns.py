"""Obs and var columns as plain Arrow arrays: strings, bools and numbers."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.types as pt


def plain_type(kind: pa.DataType) -> pa.DataType | None:
    """The type a column is given as: string for text and categoricals, None for what is no scalar of ours."""
    if pt.is_dictionary(kind) or pt.is_string(kind) or pt.is_large_string(kind):
        return pa.string()
    return kind if pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind) else None


def other_columns_note(names: Iterable[str]) -> tuple[str, ...]:
    """A remark that names the obs columns that have no `plain_type`; none if there are none."""
    listed = ", ".join(names)
    return (f"obs columns that are no strings, bools or numbers are left out: {listed}",) if listed else ()


def plain(column: Any) -> pa.Array:
    """Decode a column (Array or ChunkedArray) into one Array of its `plain_type`; nulls stay nulls."""
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([plain(chunk) for chunk in column.chunks], plain_type(column.type)).combine_chunks()
    if pt.is_dictionary(column.type):
        return text(column.dictionary).take(column.indices)
    return column.cast(plain_type(column.type))


def text(array: pa.Array) -> pa.Array:
    """Any array as strings, in Python's spelling (``"True"``, ``"1.0"``); nulls stay nulls."""
    if pt.is_string(array.type) or pt.is_large_string(array.type):
        return array.cast(pa.string())
    return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())


def one_row_each(columns: dict[str, pa.Array], n_rows: int) -> pa.Table:
    """A table of `n_rows` rows, also where there are no columns."""
    # a table without columns keeps its number of rows only if the last column was taken from it
    return pa.table({**columns, "": pa.nulls(n_rows)}).select(list(columns))
