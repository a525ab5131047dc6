"""Cells of a sparse TileDB array, which come tile after tile, as rows."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from scdata import _jit
from scdata._blocks import I64, Array
from scdata._errors import SourceError

_LARGEST_COLUMN = 2**31 - 1


def csr_of_triples(tables: Iterable[pa.Table], start: int, stop: int, where: str) -> tuple[I64, Array, Array]:
    """CSR of rows ``start:stop`` of a sparse array.

    Parameters
    ----------
    tables
        Its triples in any order, as columns ``soma_dim_0``, ``soma_dim_1`` and ``soma_data``.
    where
        URI and layer, for messages.

    Returns
    -------
    indptr : int64 (C+1,)
    columns : int32 (T,)
    values : (T,) of the stored dtype

    Raises
    ------
    SourceError
        If a triple is not in the rows, or its column over 2**31 − 1.
    """
    parts = [
        tuple(table[name].to_numpy() for name in ("soma_dim_0", "soma_dim_1", "soma_data"))
        for table in tables
        if len(table)
    ]
    if not parts:
        return np.zeros(stop - start + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32)
    if not _jit.available():
        return _sorted(parts, start, stop, where)
    from scdata.source.soma_triples_jit import count_rows_jit, place_rows_jit

    n_rows = stop - start
    indptr = np.zeros(n_rows + 1, np.int64)
    for row, column, _ in parts:
        if not count_rows_jit(row, column, start, n_rows, _LARGEST_COLUMN, indptr[1:]):
            raise _outside(row, column, start, stop, where)
    np.cumsum(indptr, out=indptr)
    free = indptr[:-1].copy()
    columns, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], parts[0][2].dtype)
    for part in parts:
        place_rows_jit(*part, start, free, columns, values)
    return indptr, columns, values


def _sorted(parts: Sequence[tuple[Array, Array, Array]], start: int, stop: int, where: str) -> tuple[I64, Array, Array]:
    """`csr_of_triples` without numba: equal results."""
    rows, columns, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if rows.min() < start or rows.max() >= stop or columns.min() < 0 or columns.max() > _LARGEST_COLUMN:
        raise _outside(rows, columns, start, stop, where)
    # several tiles lie side by side in the same rows, so rows come again and again
    order = np.argsort(rows, kind="stable")
    indptr = np.searchsorted(rows[order], np.arange(start, stop + 1))
    return indptr, columns[order].astype(np.int32), values[order]


def _outside(row: Array, column: Array, start: int, stop: int, where: str) -> SourceError:
    return SourceError(
        f"{where}: asked for rows {start}:{stop}, got {row.min()} to {row.max()} and columns from {column.min()} to "
        f"{column.max()}; the array is damaged, write it again"
    )
