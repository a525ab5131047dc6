"""Compiled counting sort of triples by row."""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def count_rows_jit(row, column, start, n_rows, largest_column, counts):  # type: ignore[no-untyped-def]
    """Add the triples of each row to ``counts``; False if one lies outside the rows, or the columns that are possible."""
    fine = True
    for i in range(len(row)):
        r, c = row[i] - start, column[i]
        if r < 0 or r >= n_rows or c < 0 or c > largest_column:
            fine = False
        else:
            counts[r] += 1
    return fine


@numba.njit(nogil=True, cache=True)
def place_rows_jit(row, column, data, start, free, columns, values):  # type: ignore[no-untyped-def]
    """Put each triple to the first free place of its row."""
    for i in range(len(row)):
        r = row[i] - start
        at = free[r]
        columns[at] = np.int32(column[i])
        values[at] = data[i]
        free[r] = at + 1
