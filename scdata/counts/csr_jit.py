"""Compiled twin of `gather_genes_numpy`."""

import numba
import numpy as np

_BRUIJN = 0x03F79D71B4CB0A89  # its 64 windows of 6 bits all differ: the product with a single bit tells which bit it is
_BIT = np.argsort([(_BRUIJN << i & (1 << 64) - 1) >> 58 for i in range(64)])


@numba.njit(nogil=True, cache=True)
def gather_genes_jit(indptr, indices, data, target, n_genes, out_indptr, genes, counts):  # type: ignore[no-untyped-def]
    """Fill `out_indptr`, and the first ``out_indptr[-1]`` of `genes` and `counts`; returns the largest sum.

    Counts of a row are added up at one place a gene; bits say which genes the row has, and give them in order.
    """
    sums = np.zeros(n_genes, np.int64)
    there = np.zeros((n_genes + 63) // 64, np.uint64)
    n, largest = 0, np.int64(0)
    out_indptr[0] = 0
    for row in range(len(indptr) - 1):
        for i in range(indptr[row], indptr[row + 1]):
            gene = target[np.uint32(indices[i])]
            if gene >= 0:
                sums[gene] += data[i]
                there[gene >> 6] |= np.uint64(1) << np.uint64(gene & 63)
        for at in range(len(there)):
            word = there[at]
            there[at] = 0
            while word:
                rest = word & (word - np.uint64(1))
                place = 64 * at + _BIT[((word ^ rest) * np.uint64(_BRUIJN)) >> np.uint64(58)]
                word = rest
                genes[n], counts[n] = place, sums[place]
                largest = max(largest, sums[place])
                sums[place] = 0
                n += 1
        out_indptr[row + 1] = n
    return largest
