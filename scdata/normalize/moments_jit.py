"""Compiled twin of `GeneMoments.of_arrays`."""

import numba
import numpy as np

_LIMB, _MASK = np.uint64(32), np.uint64((1 << 32) - 1)


@numba.njit(nogil=True, cache=True)
def moments_jit(indptr, genes, values, row_of_cell, expressing, total, high, low):  # type: ignore[no-untyped-def]
    """Add to `expressing`, `total`, and to both parts of the sum of squares, int64 (B, G); returns the largest value."""
    largest = np.uint64(0)
    for cell in range(len(indptr) - 1):
        row = row_of_cell[cell]
        for i in range(indptr[cell], indptr[cell + 1]):
            gene, value = genes[i], np.uint64(values[i])
            largest = max(largest, value)
            upper, lower = value >> _LIMB, value & _MASK
            square = lower * lower
            rest = (square >> _LIMB) + np.uint64(2) * upper * lower + (upper * upper << _LIMB)
            expressing[row, gene] += 1
            total[row, gene] += np.int64(value)
            high[row, gene] += np.int64(rest)
            low[row, gene] += np.int64(square & _MASK)
    return largest
