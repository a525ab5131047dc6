"""Rank-value order of Geneformer: the genes of each cell by falling value."""

from itertools import pairwise

import numpy as np

from scdata import _jit
from scdata._backend import on_device
from scdata._blocks import I64
from scdata.normalize.library_size import F64

_POSITION = np.uint64(0xFFFF)


def rank_order(indptr: I64, values: F64) -> I64:
    """Sort the entries of each row by falling value; equal values keep their order.

    Parameters
    ----------
    indptr
        int64 (C+1,); on the CPU or on a device.
    values
        float64 (T,), all > 0 and finite.

    Returns
    -------
    int64 (T,): ``values[result]`` is sorted within each row.
    """
    if on_device(values):
        from scdata.tokens.kernels.ranking_device import rank_order_device

        return rank_order_device(indptr, values)
    if _jit.available():
        from scdata.tokens.kernels.ranking_jit import rank_order_jit

        order = np.empty(len(values), np.int64)
        rank_order_jit(indptr, np.ascontiguousarray(values).view(np.uint64), order)
        return order
    return rank_order_numpy(indptr, values)


def rank_order_numpy(indptr: I64, values: F64) -> I64:
    """`rank_order` without numba: equal results.

    Notes
    -----
    A key holds the top 48 bits of the value, inverted (positive floats sort as their bits do), and below them the place in
    the row, so that one sort of integers does both. The bits cut off decide rarely; rows where they do are sorted again by
    the full value.
    """
    lengths = np.diff(indptr)
    if lengths.max(initial=0) > 1 << 16:
        rows = np.repeat(np.arange(len(lengths)), lengths)
        return np.lexsort((np.arange(len(values)), -values, rows))
    starts = np.repeat(indptr[:-1], lengths)
    place = np.arange(len(values)) - starts
    key = (~np.ascontiguousarray(values).view(np.uint64) & ~_POSITION) | place.astype(np.uint64)
    bounds = indptr.tolist()
    for start, stop in pairwise(bounds):
        key[start:stop].sort()
    order = (key & _POSITION).astype(np.int64) + starts
    ranked = values[order]
    rising = np.flatnonzero(ranked[1:] > ranked[:-1]) + 1
    rising = rising[starts[rising] == starts[rising - 1]] if len(rising) else rising
    for row in np.unique(np.searchsorted(indptr, rising, side="right") - 1):
        start, stop = bounds[row], bounds[row + 1]
        order[start:stop] = start + np.argsort(-values[start:stop], kind="stable")
    return order
