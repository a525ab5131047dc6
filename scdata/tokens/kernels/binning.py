"""Per-cell quantile bins of scGPT.

Method: Cui et al., "scGPT", Nature Methods 2024; code bowang-lab/scGPT, ``scgpt/preprocess.py`` (``binning`` and
``_digitize``). On the n non-zero counts v of one cell, edges are the n_bins − 1 quantiles at equal steps from 0 to 1
(NumPy's linear rule, float64). With R edges below a value and L edges not above it, its bins are R+1 … L where R < L, else
L alone. The released pretraining takes the upper end L; the published package draws one of them.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from scdata import _jit
from scdata._backend import backend, on_device, row_of_entry
from scdata._blocks import I32, I64
from scdata._splitmix import U64, splitmix64
from scdata.normalize.library_size import F64


def quantile_bins(indptr: I64, counts: I32, n_bins: int) -> tuple[I32, I32]:
    """Lowest and highest bin of every non-zero count, within its cell.

    Parameters
    ----------
    indptr
        int64 (C+1,); on the CPU or on a device.
    counts
        int32 (T,), all ≥ 1, in any order.
    n_bins
        Number of bins, zero counted as one of them: bins run from 1 to n_bins − 1.

    Returns
    -------
    low, high
        int32 (T,) each, low ≤ high.
    """
    probabilities = _probabilities(n_bins - 1)
    if on_device(counts):
        from scdata.tokens.kernels.binning_device import quantile_bins_device

        return quantile_bins_device(indptr, counts, probabilities)
    if _jit.available():
        from scdata.tokens.kernels.binning_jit import quantile_bins_jit

        low, high = np.empty(len(counts), np.int32), np.empty(len(counts), np.int32)
        quantile_bins_jit(indptr, counts, probabilities, low, high)
        return low, high
    return quantile_bins_numpy(indptr, counts, probabilities)


@cache
def _probabilities(n_edges: int) -> F64:
    # on the CPU for every machine: a division by a device's constant may round otherwise
    at = np.linspace(0, 1, n_edges)
    at.setflags(write=False)
    return at


def quantile_bins_numpy(indptr: I64, counts: I32, probabilities: F64) -> tuple[I32, I32]:
    """`quantile_bins` without numba, on the CPU or on a device (with `probabilities` beside): equal results."""
    xp = backend(counts)
    lengths = xp.diff(indptr)
    word = row_of_entry(indptr).astype(xp.uint64) << np.uint64(31) | counts.astype(xp.uint64)
    values = (xp.sort(word) & np.uint64((1 << 31) - 1)).astype(xp.float64)
    filled = xp.flatnonzero(lengths)
    virtual = (lengths[filled] - 1)[:, None] * probabilities  # (C', B)
    below = xp.floor(virtual).astype(xp.int64)
    weight = virtual - below
    at = indptr[filled][:, None] + below
    left = values[at]
    right = values[xp.minimum(at + 1, indptr[filled + 1][:, None] - 1)]
    step = right - left
    edges = xp.where(weight >= 0.5, right - step * (1 - weight), left + step * weight)
    # few distinct counts stand in a cell: look for each of them once among the cell's edges
    distinct, where = xp.unique(word, return_inverse=True)
    row = xp.searchsorted(filled, (distinct >> np.uint64(31)).astype(xp.int64))
    value = (distinct & np.uint64((1 << 31) - 1)).astype(xp.float64)
    under = _edges_below(edges, row, value, xp.less)
    high = _edges_below(edges, row, value, xp.less_equal)
    low = xp.where(under < high, under + 1, high)
    return low[where], high[where]


def _edges_below(edges: F64, row: I64, value: F64, is_below: Callable[..., Any]) -> I32:
    """How many edges of its row are below each value; all rows are searched at once, bit by bit."""
    xp = backend(value)
    n_edges = edges.shape[1]
    flat = edges.ravel()
    known = xp.zeros(len(value), xp.int32)
    for bit in reversed(range(n_edges.bit_length())):
        probe = xp.minimum(known + np.int32(1 << bit), np.int32(n_edges))
        known = xp.where(is_below(flat[row * n_edges + probe - 1], value), probe, known)
    return known


def draw_bins(low: I32, high: I32, keys: U64) -> I32:
    """One bin of each interval, uniform, from a 64-bit key of each value: int32 (T,)."""
    width = (high - low + 1).astype(np.uint64)
    return low + ((splitmix64(keys) >> np.uint64(32)) * width >> np.uint64(32)).astype(np.int32)
