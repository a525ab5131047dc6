"""Compiled twin of `cell_hashes_numpy`."""

import numba
import numpy as np

from scdata._splitmix_jit import splitmix64_jit


@numba.njit(nogil=True, cache=True)
def cell_hashes_jit(indptr, genes, counts, first, second, out):  # type: ignore[no-untyped-def]
    """Fill `out`, uint64 (C, 2); `first` and `second` are the streams of both halves."""
    for cell in range(len(indptr) - 1):
        high = low = np.uint64(0)
        for i in range(indptr[cell], indptr[cell + 1]):
            pair = np.uint64(genes[i]) << np.uint64(32) | np.uint64(counts[i])
            high += splitmix64_jit(pair + first)
            low += splitmix64_jit(pair + second)
        out[cell, 0] = high
        out[cell, 1] = low
