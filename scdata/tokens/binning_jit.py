"""Compiled twin of `quantile_bins_numpy`."""

import numba
import numpy as np

_TABLE = 256  # counts below this are binned through a table; larger ones are few


@numba.njit(nogil=True, cache=True)
def quantile_bins_jit(indptr, counts, probabilities, low, high):  # type: ignore[no-untyped-def]
    """Fill `low` and `high`, int32 (T,). A histogram of a cell's counts gives the order statistics of all edges in one walk."""
    n_edges = len(probabilities)
    edges = np.empty(n_edges)
    histogram = np.zeros(_TABLE, np.int64)
    table_low = np.empty(_TABLE, np.int32)
    table_high = np.empty(_TABLE, np.int32)
    for cell in range(len(indptr) - 1):
        start, stop = indptr[cell], indptr[cell + 1]
        n = stop - start
        if n == 0:
            continue
        histogram[:] = 0
        n_large = 0
        for i in range(start, stop):
            if counts[i] < _TABLE:
                histogram[counts[i]] += 1
            else:
                n_large += 1
        large = np.empty(n_large, np.int64)
        k = 0
        for i in range(start, stop):
            if counts[i] >= _TABLE:
                large[k] = counts[i]
                k += 1
        large.sort()
        n_small = n - n_large
        value, reached = 0, histogram[0]  # `reached` counts are ≤ value
        for e in range(n_edges):
            virtual = (n - 1) * probabilities[e]
            below = int(np.floor(virtual))
            weight = virtual - below
            while value < _TABLE - 1 and reached <= below:
                value += 1
                reached += histogram[value]
            left = float(value) if below < n_small else float(large[below - n_small])
            right = left
            if below + 1 < n:
                if below + 1 >= n_small:
                    right = float(large[below + 1 - n_small])
                elif reached <= below + 1:
                    ahead = value + 1
                    while histogram[ahead] == 0:
                        ahead += 1
                    right = float(ahead)
            step = right - left
            edges[e] = right - step * (1 - weight) if weight >= 0.5 else left + step * weight
        under, upto = 0, 0
        for value in range(1, _TABLE):
            if histogram[value] == 0:
                continue
            while under < n_edges and edges[under] < value:
                under += 1
            while upto < n_edges and edges[upto] <= value:
                upto += 1
            table_low[value] = under + 1 if under < upto else upto
            table_high[value] = upto
        for i in range(start, stop):
            count = counts[i]
            if count < _TABLE:
                low[i] = table_low[count]
                high[i] = table_high[count]
            else:
                n_under = np.searchsorted(edges, float(count), side="left")
                n_upto = np.searchsorted(edges, float(count), side="right")
                low[i] = n_under + 1 if n_under < n_upto else n_upto
                high[i] = n_upto
