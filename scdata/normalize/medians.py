"""Non-zero medians of genes over a corpus, from integer histograms that merge in any order.

Geneformer divides a cell's normalized counts by each gene's median over all cells that express it. Its authors used
t-digests, whose result depends on the order of the cells. Here the values x / n · 1e4 fall into bins whose edges grow
by 1 %; the counts of bins are integers, so partial histograms add up to the same in any order, and the median, the
geometric middle of its bin, is off by at most 0.5 %.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from scdata._backend import backend, beside, to_host
from scdata._blocks import I32, I64
from scdata.normalize.library_size import F64, normalize_total

TARGET_SUM = 1e4
_STEP = 1.01
_LOWEST = 1e-6  # x = 1 in a cell of 10**10 counts: no cell has more


@cache
def _edges() -> F64:
    n = int(np.ceil(np.log(TARGET_SUM / _LOWEST) / np.log(_STEP))) + 2
    # products one after the other: a power function is not the same on every processor
    edges = np.multiply.accumulate(np.concatenate(([_LOWEST], np.full(n - 1, _STEP))))
    edges.setflags(write=False)
    return edges


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
        gene, bins = np.divmod(self.key, len(edges) + 1)
        n = np.zeros(n_genes, np.int64)
        np.add.at(n, gene, self.count)
        before = np.cumsum(self.count) - self.count
        start = np.concatenate(([0], np.cumsum(n)))[:-1]
        rank = before - start[gene]  # cells of the same gene in lower bins
        middle: npt.NDArray[np.bool_] = (rank <= (n[gene] - 1) // 2) & ((n[gene] - 1) // 2 < rank + self.count)
        out = np.ones(n_genes)
        # bin b holds edges[b-1] ≤ value < edges[b]
        low = np.maximum(bins[middle] - 1, 0)
        out[gene[middle]] = edges[low] * np.sqrt(_STEP)
        return out
