"""Compiled twins of the quantile bins.

A histogram of a cell's counts gives the order statistics of all edges in one walk, and a table the bins of each distinct
count. The bins of a count, low to high, stand in one uint32: low − 1 in the upper half, high − low + 1 in the lower.
"""

import numba
import numpy as np

from scdata._splitmix_jit import splitmix64_jit

_TABLE = 256  # counts below this are binned through a table; larger ones are few
_LANES = 4  # histograms side by side: most counts are 1, and adding to one place again and again waits for itself
_HALF = np.uint32(0xFFFF)


@numba.njit(nogil=True, cache=True)
def _histogram(counts, lanes):  # type: ignore[no-untyped-def]
    """How often each count below the table's end stands there, in ``lanes[0]``; returns how many counts are larger."""
    lanes[:] = 0
    n_large = 0
    whole = len(counts) - len(counts) % _LANES
    for i in range(0, whole, _LANES):
        for lane in range(_LANES):
            count = np.uint32(counts[i + lane])
            if count < _TABLE:
                lanes[lane, count] += np.uint32(1)
            else:
                n_large += 1
    for i in range(whole, len(counts)):
        count = np.uint32(counts[i])
        if count < _TABLE:
            lanes[0, count] += np.uint32(1)
        else:
            n_large += 1
    for lane in range(1, _LANES):
        for value in range(_TABLE):
            lanes[0, value] += lanes[lane, value]
    return n_large


@numba.njit(nogil=True, cache=True)
def _edges(histogram, large, n, probabilities, below, weight, edges):  # type: ignore[no-untyped-def]
    """Quantiles of n counts by NumPy's linear rule; `large` are those beyond the histogram, sorted."""
    for e in range(len(edges)):
        virtual = (n - 1) * probabilities[e]
        below[e] = np.int64(virtual)
        weight[e] = virtual - below[e]
    n_small = n - len(large)
    value, reached = 0, np.int64(histogram[0])  # `reached` counts are ≤ value
    for e in range(len(edges)):
        at = below[e]
        while value < _TABLE - 1 and reached <= at:
            value += 1
            reached += np.int64(histogram[value])
        left = float(value) if at < n_small else float(large[at - n_small])
        right = left
        if at + 1 < n:
            if at + 1 >= n_small:
                right = float(large[at + 1 - n_small])
            elif reached <= at + 1:
                ahead = value + 1
                while histogram[ahead] == 0:
                    ahead += 1
                right = float(ahead)
        step = right - left
        edges[e] = right - step * (1 - weight[e]) if weight[e] >= 0.5 else left + step * weight[e]


@numba.njit(nogil=True, cache=True)
def _packed(under, upto):  # type: ignore[no-untyped-def]
    """Bins of a count with `under` edges below it and `upto` not above it."""
    low = under if under < upto else upto - 1
    return np.uint32(low) << np.uint32(16) | np.uint32(upto - low)


@numba.njit(nogil=True, cache=True)
def _bin_cell(counts, probabilities, lanes, table, below, weight, edges, packed):  # type: ignore[no-untyped-def]
    """Fill `packed`, uint32, one for each of a cell's counts."""
    n, n_edges = len(counts), len(edges)
    n_large = _histogram(counts, lanes)
    large = np.empty(n_large, np.int64)
    if n_large:
        k = 0
        for i in range(n):
            if counts[i] >= _TABLE:
                large[k] = counts[i]
                k += 1
        large.sort()
    _edges(lanes[0], large, n, probabilities, below, weight, edges)
    under, upto = 0, 0
    for value in range(1, _TABLE):
        if lanes[0, value] == 0:
            continue
        while under < n_edges and edges[under] < value:
            under += 1
        while upto < n_edges and edges[upto] <= value:
            upto += 1
        table[value] = _packed(under, upto)
    for i in range(n):
        packed[i] = table[min(np.uint32(counts[i]), np.uint32(_TABLE - 1))]
    if n_large:
        for i in range(n):
            if counts[i] >= _TABLE:
                own = float(counts[i])
                first = np.searchsorted(edges, own)
                last = first
                while last < n_edges and edges[last] <= own:
                    last += 1
                packed[i] = _packed(first, last)


@numba.njit(nogil=True, cache=True)
def _buffers(indptr, n_edges):  # type: ignore[no-untyped-def]
    """What `_bin_cell` works in: made once, since a cell takes microseconds."""
    longest = 0
    for cell in range(len(indptr) - 1):
        longest = max(longest, indptr[cell + 1] - indptr[cell])
    lanes, table = np.empty((_LANES, _TABLE), np.uint32), np.empty(_TABLE, np.uint32)
    return lanes, table, np.empty(n_edges, np.int64), np.empty(n_edges), np.empty(n_edges), np.empty(longest, np.uint32)


@numba.njit(nogil=True, cache=True)
def quantile_bins_jit(indptr, counts, probabilities, low, high):  # type: ignore[no-untyped-def]
    """Fill `low` and `high`, int32 (T,)."""
    lanes, table, below, weight, edges, packed = _buffers(indptr, len(probabilities))
    for cell in range(len(indptr) - 1):
        start, stop = indptr[cell], indptr[cell + 1]
        if start == stop:
            continue
        _bin_cell(counts[start:stop], probabilities, lanes, table, below, weight, edges, packed)
        first, last = low[start:stop], high[start:stop]
        for i in range(stop - start):
            first[i] = np.int32(packed[i] >> np.uint32(16)) + np.int32(1)
            last[i] = np.int32((packed[i] >> np.uint32(16)) + (packed[i] & _HALF))


@numba.njit(nogil=True, cache=True)
def quantile_bins_upper_jit(indptr, counts, probabilities, bins):  # type: ignore[no-untyped-def]
    """Fill `bins`, int32 (T,), with the high ends alone: a seventh faster than both."""
    lanes, table, below, weight, edges, packed = _buffers(indptr, len(probabilities))
    for cell in range(len(indptr) - 1):
        start, stop = indptr[cell], indptr[cell + 1]
        if start == stop:
            continue
        _bin_cell(counts[start:stop], probabilities, lanes, table, below, weight, edges, packed)
        out = bins[start:stop]
        for i in range(stop - start):
            out[i] = np.int32((packed[i] >> np.uint32(16)) + (packed[i] & _HALF))


@numba.njit(nogil=True, cache=True)
def quantile_bins_random_jit(indptr, counts, token_ids, cell_keys, probabilities, bins):  # type: ignore[no-untyped-def]
    """Fill `bins`, int32 (T,), with the draws of `draw_bins` and the keys of ``splitmix64(cell key + token id)``."""
    lanes, table, below, weight, edges, packed = _buffers(indptr, len(probabilities))
    for cell in range(len(indptr) - 1):
        start, stop = indptr[cell], indptr[cell + 1]
        if start == stop:
            continue
        _bin_cell(counts[start:stop], probabilities, lanes, table, below, weight, edges, packed)
        ids, out, cell_key = token_ids[start:stop], bins[start:stop], cell_keys[cell]
        for i in range(stop - start):
            draw = splitmix64_jit(splitmix64_jit(cell_key + np.uint64(ids[i]))) >> np.uint64(32)
            width = np.uint64(packed[i] & _HALF)
            out[i] = np.int32(packed[i] >> np.uint32(16)) + np.int32(1) + np.int32((draw * width) >> np.uint64(32))
