"""Bins by edges: fixed ones, or those of a cell's stratum of read depth.

Edges are given as values of ln(1 + x / n · target_sum), as people think of them, and compared as x / n · target_sum: float64
division, multiplication and comparison give the same bin on every machine, which a logarithm of each value would not.
"""

import numpy as np

from scdata import _jit
from scdata._backend import backend, beside, on_device, per_entry
from scdata._blocks import I32, I64
from scdata.normalize.library_size import F64, normalize_total


def relative_edges(edges: F64) -> F64:
    """Edges of ln(1 + x / n · target_sum) as edges of x / n · target_sum; any shape, on the CPU."""
    return np.expm1(edges)


def edge_bins(indptr: I64, counts: I32, total: I64, edges: F64, target_sum: float) -> I32:
    """Bin of every non-zero count: 1 + the number of edges at or below it.

    Parameters
    ----------
    indptr, counts
        int64 (C+1,), int32 (T,) ≥ 1; on the CPU or on a device.
    total
        int64 (C,), on the same machine: the denominator n of each cell; 0 only where a cell has no counts.
    edges
        float64 (E,), not falling, E ≥ 1, of ln(1 + x / n · target_sum); on the CPU.
    target_sum
        What totals are scaled to.

    Returns
    -------
    int32 (T,), from 1 to E + 1.
    """
    return depth_edge_bins(indptr, counts, total, np.empty(0, np.int64), edges[None], target_sum)


def depth_edge_bins(indptr: I64, counts: I32, total: I64, borders: I64, edges: F64, target_sum: float) -> I32:
    """Bin of every non-zero count by the edges of its cell's stratum.

    Parameters
    ----------
    indptr, counts, total, target_sum
        As `edge_bins`.
    borders
        int64 (S−1,), ascending, on the CPU: the stratum of a cell is the number of borders at or below its total.
    edges
        float64 (S, E), E ≥ 1: edges of each stratum, as `edge_bins` takes them.

    Returns
    -------
    int32 (T,), from 1 to E + 1.
    """
    if not on_device(counts) and _jit.available():
        from scdata.tokens.kernels.edges_jit import depth_edge_bins_jit

        bins = np.empty(len(counts), np.int32)
        depth_edge_bins_jit(indptr, counts, total, borders, relative_edges(edges), target_sum, bins)
        return bins
    return depth_edge_bins_numpy(indptr, counts, total, borders, edges, target_sum)


def depth_edge_bins_numpy(indptr: I64, counts: I32, total: I64, borders: I64, edges: F64, target_sum: float) -> I32:
    """`depth_edge_bins` without numba, and on a device: equal results."""
    xp = backend(counts)
    n_edges = edges.shape[1]
    flat = beside(counts, relative_edges(edges).ravel())
    values = normalize_total(indptr, counts, total, target_sum)
    first = per_entry(xp.searchsorted(beside(counts, borders), total, side="right") * n_edges, indptr)
    # halve the edges of all entries at once: `below` of them are known to be at or below the value
    below = xp.zeros(len(counts), xp.int64)
    for bit in reversed(range(n_edges.bit_length())):
        probe = xp.minimum(below + (1 << bit), n_edges)
        below = xp.where(flat[first + probe - 1] <= values, probe, below)
    bins: I32 = (below + 1).astype(xp.int32)
    return bins
