"""Compiled twin of `depth_edge_bins_numpy`."""

import numba
import numpy as np

_TABLE = 256  # counts below this are looked up: few distinct ones stand in a cell


@numba.njit(nogil=True, cache=True)
def depth_edge_bins_jit(indptr, counts, total, borders, edges, target_sum, bins):  # type: ignore[no-untyped-def]
    """Fill `bins`, int32 (T,)."""
    table = np.empty(_TABLE, np.int32)
    for cell in range(len(indptr) - 1):
        own = edges[np.searchsorted(borders, total[cell], side="right")]
        table[:] = 0
        for i in range(indptr[cell], indptr[cell + 1]):
            count = counts[i]
            found = table[count] if count < _TABLE else np.int32(0)
            if found == 0:
                value = count / total[cell] * target_sum
                found = np.int32(1 + np.searchsorted(own, value, side="right"))
                if count < _TABLE:
                    table[count] = found
            bins[i] = found
