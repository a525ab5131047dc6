"""Library size of cells, and counts relative to it."""

import numpy as np
import numpy.typing as npt

from scdata._backend import backend, per_entry
from scdata._blocks import I64, Array

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


def library_size(indptr: I64, data: Array) -> I64:
    """Sum of the counts of each cell.

    Parameters
    ----------
    indptr
        int64 (C+1,); on the CPU or on a device.
    data
        integer (T,).

    Returns
    -------
    int64 (C,), exact.
    """
    xp = backend(data)
    if xp is np:
        total, has = np.zeros(len(indptr) - 1, np.int64), np.diff(indptr) > 0
        if has.any():  # an empty row would get the entry after it
            total[has] = np.add.reduceat(data[: indptr[-1]], indptr[:-1][has], dtype=np.int64)
        return total
    running = xp.zeros(len(data) + 1, xp.int64)
    if len(data):
        xp.cumsum(data, dtype=xp.int64, out=running[1:])
    return running[indptr[1:]] - running[indptr[:-1]]


def normalize_total(indptr: I64, data: Array, total: I64, target_sum: float) -> F64:
    """Counts per `target_sum`: x / n · target_sum, in this order of operations, in float64.

    scanpy's ``normalize_total``, except that the denominator is given: it may count genes outside the vocabulary.

    Parameters
    ----------
    indptr, data
        int64 (C+1,), integer (T,); on the CPU or on a device.
    total
        int64 (C,): the denominator n of each cell; 0 only where a cell has no entries.
    target_sum
        What a cell sums to when n is the sum of its entries.

    Returns
    -------
    float64 (T,).
    """
    relative: F64 = data / per_entry(total, indptr) * float(target_sum)
    return relative


def log1p_normalized(indptr: I64, data: Array, total: I64, target_sum: float) -> F32:
    """ln(1 + x / n · target_sum), computed in float64, returned as float32 (T,). Arguments as `normalize_total`.

    The logarithm of a device differs from that of NumPy by units in the last place of float64, so a float32 may too.
    """
    xp = backend(data)
    values: F32 = xp.log1p(normalize_total(indptr, data, total, target_sum)).astype(xp.float32)
    return values
