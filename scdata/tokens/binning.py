"""Per-cell quantile bins of scGPT.

Method: Cui et al., "scGPT", Nature Methods 2024; code bowang-lab/scGPT, ``scgpt/preprocess.py`` (``binning`` and
``_digitize``). On the n non-zero counts v of one cell, edges are the n_bins − 1 quantiles at equal steps from 0 to 1
(NumPy's linear rule, float64). With R edges below a value and L edges not above it, its bins are R+1 … L where R < L, else
L alone. The released pretraining takes the upper end L; the published package draws one of them.
"""

import numpy as np
import numpy.typing as npt

from scdata import _jit
from scdata._blocks import I32, I64
from scdata._splitmix import U64, splitmix64


def quantile_bins(indptr: I64, counts: I32, n_bins: int) -> tuple[I32, I32]:
    """Lowest and highest bin of every non-zero count, within its cell.

    Parameters
    ----------
    indptr
        int64 (C+1,).
    counts
        int32 (T,), all ≥ 1, in any order.
    n_bins
        Number of bins, zero counted as one of them: bins run from 1 to n_bins − 1.

    Returns
    -------
    low, high
        int32 (T,) each, low ≤ high.
    """
    probabilities = np.linspace(0, 1, n_bins - 1)
    if _jit.available():
        from scdata.tokens.binning_jit import quantile_bins_jit

        low, high = np.empty(len(counts), np.int32), np.empty(len(counts), np.int32)
        quantile_bins_jit(indptr, counts, probabilities, low, high)
        return low, high
    return quantile_bins_numpy(indptr, counts, probabilities)


def quantile_bins_numpy(indptr: I64, counts: I32, probabilities: npt.NDArray[np.float64]) -> tuple[I32, I32]:
    """`quantile_bins` without numba: equal results."""
    lengths = np.diff(indptr)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    word = rows.astype(np.uint64) << np.uint64(31) | counts.astype(np.uint64)
    ordered = np.sort(word)
    values = (ordered & np.uint64((1 << 31) - 1)).astype(np.float64)
    filled = np.flatnonzero(lengths)
    virtual = (lengths[filled, None] - 1) * probabilities  # (C', B)
    below = np.floor(virtual).astype(np.int64)
    weight = virtual - below
    at = indptr[filled, None] + below
    left = values[at]
    right = values[np.minimum(at + 1, indptr[filled + 1, None] - 1)]
    step = right - left
    edges = np.where(weight >= 0.5, right - step * (1 - weight), left + step * weight)
    # few distinct counts stand in a cell: compare each of them once with the cell's edges
    distinct, where = np.unique(word, return_inverse=True)
    row = np.searchsorted(filled, (distinct >> np.uint64(31)).astype(np.int64))
    value = (distinct & np.uint64((1 << 31) - 1)).astype(np.float64)
    under = (edges[row] < value[:, None]).sum(1)
    high = (edges[row] <= value[:, None]).sum(1)
    low = np.where(under < high, under + 1, high)
    return low[where].astype(np.int32), high[where].astype(np.int32)


def draw_bins(low: I32, high: I32, keys: U64) -> I32:
    """One bin of each interval, uniform, from a 64-bit key of each value: int32 (T,)."""
    width = (high - low + 1).astype(np.uint64)
    return low + ((splitmix64(keys) >> np.uint64(32)) * width >> np.uint64(32)).astype(np.int32)
