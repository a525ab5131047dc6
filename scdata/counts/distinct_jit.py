"""Compiled twin of `distinct_columns_numpy`."""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def distinct_columns_jit(indptr, indices, n_columns, out):  # type: ignore[no-untyped-def]
    """Fill `out`, int64 (C,)."""
    seen_in = np.full(n_columns, -1, np.int64)
    for row in range(len(indptr) - 1):
        n = 0
        for i in range(indptr[row], indptr[row + 1]):
            n += seen_in[indices[i]] != row
            seen_in[indices[i]] = row
        out[row] = n
