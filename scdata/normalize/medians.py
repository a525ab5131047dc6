"""Non-zero medians of genes over a corpus, from integer histograms that merge in any order.

Geneformer divides a cell's normalized counts by each gene's median over all cells that express it. Its authors used
t-digests, whose result depends on the order of the cells. Here the values x / n · 1e4 fall into bins whose edges grow
by 1 %; the counts of bins are integers, so partial histograms add up to the same in any order, and the median, the
geometric middle of its bin, is off by at most 0.5 %.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from scdata import _jit
from scdata._backend import backend, beside, on_device, to_host
from scdata._blocks import I32, I64
from scdata.normalize.library_size import F64, normalize_total

TARGET_SUM = 1e4
_STEP = 1.01
_LOWEST = 1e-6  # x = 1 in a cell of 10**10 counts: no cell has more
_SHIFT = 52 - 7  # sign, exponent and 7 bits of the fraction of a float64: values of a bucket are within 0.8 %


@cache
def _edges() -> F64:
    n = int(np.ceil(np.log(TARGET_SUM / _LOWEST) / np.log(_STEP))) + 2
    # products one after the other: a power function is not the same on every processor
    edges = np.multiply.accumulate(np.concatenate(([_LOWEST], np.full(n - 1, _STEP))))
    edges.setflags(write=False)
    return edges


@cache
def _bin_of_bucket() -> tuple[I64, int]:
    """Bin of the least value of each bucket, from that of the lowest edge to that of the highest; and the first bucket."""
    edges = _edges()
    first, last = (edges[[0, -1]].view(np.int64) >> _SHIFT).tolist()
    least = (np.arange(first, last + 1, dtype=np.int64) << _SHIFT).view(np.float64)
    bins = np.searchsorted(edges, least, side="right")
    bins[0] = 0  # lower values are looked for from here, too
    return bins, first


@dataclass(frozen=True)
class ValueHistogram:
    """How often each gene has a normalized value in each bin; sparse.

    Parameters
    ----------
    key
        int64 (K,), ascending: gene · n_bins + bin.
    count
        int64 (K,).
    """

    key: I64
    count: I64

    @staticmethod
    def of(indptr: I64, genes: I32, counts: I32, total: I64) -> "ValueHistogram":
        """Histogram of some cells: CSR over genes of the vocabulary, and the library size int64 (C,) of each cell.

        The arrays may be on a device; the histogram is not.
        """
        if not on_device(counts) and _jit.available():
            from scdata.normalize.medians_jit import histogram_jit

            bin_of, first_bucket = _bin_of_bucket()
            return ValueHistogram(
                *histogram_jit(indptr, genes, counts, total, TARGET_SUM, _edges(), bin_of, first_bucket, _SHIFT)
            )
        return ValueHistogram.of_arrays(indptr, genes, counts, total)

    @staticmethod
    def of_arrays(indptr: I64, genes: I32, counts: I32, total: I64) -> "ValueHistogram":
        """`of` without numba, and on a device: equal results."""
        xp = backend(counts)
        values = normalize_total(indptr, counts, total, TARGET_SUM)
        bins = xp.searchsorted(beside(counts, _edges()), values, side="right")
        key, count = xp.unique(genes.astype(xp.int64) * (len(_edges()) + 1) + bins, return_counts=True)
        return ValueHistogram(to_host(key), to_host(count.astype(xp.int64)))

    @staticmethod
    def merge(parts: "list[ValueHistogram]") -> "ValueHistogram":
        """The histogram of all cells of all parts; the order of the parts does not matter."""
        if not parts:
            return ValueHistogram(np.empty(0, np.int64), np.empty(0, np.int64))
        keys = np.concatenate([part.key for part in parts])
        counts = np.concatenate([part.count for part in parts])
        if _jit.available():
            from scdata.normalize.medians_jit import merge_jit

            return ValueHistogram(*merge_jit(keys, counts, len(_edges()) + 1))
        key, where = np.unique(keys, return_inverse=True)
        total = np.zeros(len(key), np.int64)
        np.add.at(total, where, counts)
        return ValueHistogram(key, total)

    def fits(self, n_genes: int) -> bool:
        """True if every key is a bin of one of `n_genes` genes."""
        return not len(self.key) or bool(self.key[0] >= 0 and self.key[-1] < n_genes * (len(_edges()) + 1))

    def medians(self, n_genes: int) -> F64:
        """float64 (n_genes,): non-zero median of each gene, within 0.5 %; 1.0 for genes that no cell expresses."""
        edges = _edges()
        width = len(edges) + 1
        first = np.searchsorted(self.key, np.arange(n_genes + 1) * width)  # keys rise, gene after gene
        cells = np.concatenate(([0], np.cumsum(self.count)))
        start, n = cells[first[:-1]], np.diff(cells[first])
        there = n > 0
        middle = (start + (n - 1) // 2)[there]
        bins = self.key[np.searchsorted(cells, middle, side="right") - 1] % width
        out = np.ones(n_genes)
        # bin b holds edges[b-1] ≤ value < edges[b]
        out[there] = edges[np.maximum(bins - 1, 0)] * np.sqrt(_STEP)
        return out
