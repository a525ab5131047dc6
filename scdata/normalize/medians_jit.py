"""Compiled twins of `ValueHistogram.of` and `merge`: entries are put in order of genes, then each gene's are counted."""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, error_model="numpy")
def histogram_jit(indptr, genes, counts, total, target_sum, edges, bin_of, first_bucket, shift):  # type: ignore[no-untyped-def]
    """Keys (gene · n_bins + bin), rising, and how many entries have each.

    The bin of a value is found from its leading bits, which leave few edges to compare with.
    """
    n_genes = 0
    for i in range(indptr[-1]):
        n_genes = max(n_genes, genes[i] + 1)
    at = np.zeros(n_genes + 1, np.int64)
    for i in range(indptr[-1]):
        at[genes[i] + 1] += 1
    at = np.cumsum(at)
    bins = np.empty(indptr[-1], np.int16)
    value = np.empty(1, np.float64)
    bits = value.view(np.int64)
    for cell in range(len(indptr) - 1):
        for i in range(indptr[cell], indptr[cell + 1]):
            value[0] = counts[i] / total[cell] * target_sum
            bucket = (bits[0] >> shift) - first_bucket
            found = bin_of[min(max(bucket, 0), len(bin_of) - 1)]
            while found < len(edges) and edges[found] <= value[0]:
                found += 1
            bins[at[genes[i]]] = found
            at[genes[i]] += 1
    return _counted(at, bins, None, len(edges) + 1)


@numba.njit(nogil=True, cache=True)
def merge_jit(keys, counts, n_bins):  # type: ignore[no-untyped-def]
    """Keys in any order, with counts: the distinct ones, rising, and the sum of each."""
    n_genes = 0
    for key in keys:
        n_genes = max(n_genes, key // n_bins + 1)
    at = np.zeros(n_genes + 1, np.int64)
    for key in keys:
        at[key // n_bins + 1] += 1
    at = np.cumsum(at)
    bins, ordered = np.empty(len(keys), np.int16), np.empty(len(keys), np.int64)
    for i in range(len(keys)):
        gene = keys[i] // n_bins
        bins[at[gene]] = keys[i] - gene * n_bins
        ordered[at[gene]] = counts[i]
        at[gene] += 1
    return _counted(at, bins, ordered, n_bins)


@numba.njit(nogil=True, cache=True)
def _counted(ends, bins, counts, n_bins):  # type: ignore[no-untyped-def]
    """Sum the counts (None: each is 1) of each bin of each gene, whose entries end at `ends`."""
    own = np.zeros(n_bins, np.int64)
    most = min(len(bins), (len(ends) - 1) * n_bins)
    out_key, out_count = np.empty(most, np.int64), np.empty(most, np.int64)
    n, start = 0, np.int64(0)
    for gene in range(len(ends) - 1):
        low, high = n_bins, -1
        for i in range(start, ends[gene]):
            low, high = min(low, bins[i]), max(high, bins[i])
            own[bins[i]] += 1 if counts is None else counts[i]
        start = ends[gene]
        for b in range(low, high + 1):
            if own[b]:
                out_key[n], out_count[n] = gene * n_bins + b, own[b]
                own[b] = 0
                n += 1
    return out_key[:n].copy(), out_count[:n].copy()
