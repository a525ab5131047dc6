"""The rule of synthetic counts: each is a function of its cell and gene.

With keys of ``scdata._splitmix`` (purpose "synthetic") in streams for genes, detection, counts and cells:

- a gene has the place ``rank`` in a permutation; the lower, the more cells express it, by a threshold T that
  falls as 1/(rank + s) and sums to about ``mean_genes`` · 2**16 over all genes;
- a cell has a depth f/64 out of 16, or none (1 cell in 128 is empty), from the bits of its key;
- the gene is expressed where 16 bits of the key of (cell, gene) are below T·f/64;
- the count is m·(1 + z) − j: z is the number of trailing zeros in 16 other bits (0 half of the time, 1 a
  quarter…); m = 4 and j from 0 to 3 for a gene that nearly all cells express, else m = 1 and j = 0.

All is integer arithmetic, so no machine and no library version changes a count.
"""

import bisect
from functools import cached_property

import numpy as np
import numpy.typing as npt

from scdata._blocks import I32, I64
from scdata._splitmix import keys, mix, permutation, stream

_GENES, _DETECTION, _COUNTS, _CELLS = range(4)

# 64ths, mean 64: as in real cells of one tissue, between a third and twice the mean depth
_DEPTHS = np.array([24, 32, 38, 44, 48, 52, 56, 60, 64, 68, 72, 76, 80, 88, 96, 126])
_EMPTY = len(_DEPTHS)
_EMPTY_ONE_IN = 128

_FULL = (1 << 16) - 1
# Threshold from which a gene counts as one of those that nearly all cells express
_HIGH = 58_982
_HIGH_FACTOR = 4

# Keys drawn at a time, so that the passes over them stay in the cache
_TILE = 1 << 14

# 1 + trailing zeros of each 16-bit number; 17 for 0
_LEVELS = np.array([((b | 1 << 16) & -(b | 1 << 16)).bit_length() for b in range(1 << 16)], np.int32)


class CountRule:
    """Counts of any cell for `n_genes` genes, of which the mean cell expresses about `mean_genes`."""

    def __init__(self, n_genes: int, mean_genes: int, seed: int) -> None:
        self.n_genes = n_genes
        self.mean_genes = mean_genes
        self._streams = [stream(seed, "synthetic", part) for part in range(4)]
        # a key of detection serves four genes
        self._n_quads = -(-n_genes // 4)

    def cell_bits(self, start: int, stop: int) -> I64:
        """int64 (C,): 63 random bits of each cell; the lowest 12 say its depth, the others are free."""
        return (keys(np.arange(start, stop), self._streams[_CELLS]) >> np.uint64(1)).astype(np.int64)

    def rows(self, start: int, stop: int) -> tuple[I64, I32, I32]:
        """CSR of the counts of cells ``start:stop``: indptr, genes ascending, counts."""
        tile = max(_TILE // self._n_quads, 1)
        parts = [self._expressed(at, min(at + tile, stop)) for at in range(start, stop, tile)]
        cell = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in parts)])
        gene = np.concatenate([np.zeros(0, np.int64), *(part[1] for part in parts)])
        indptr = np.zeros(stop - start + 1, np.int64)
        np.cumsum(np.bincount(cell - start, minlength=stop - start), out=indptr[1:])
        return indptr, gene.astype(np.int32), self._counts(cell, gene)

    def expected(self, row: int) -> tuple[I32, I32]:
        """Genes (ascending) and counts of one cell, int32 (T,), one by one from the definition."""
        depth = int(self._depths(row, row + 1)[0])
        found = []
        for gene in range(self.n_genes):
            drawn = mix(row * self._n_quads + gene // 4 + self._streams[_DETECTION])
            if drawn >> 16 * (gene % 4) & _FULL < int(self._thresholds[depth, gene]):
                bits = mix(row * self.n_genes + gene + self._streams[_COUNTS])
                level = 1 + next((z for z in range(16) if bits >> z & 1), 16)
                found.append((gene, _HIGH_FACTOR * level - (bits >> 16 & 3) if self._high[gene] else level))
        pairs = np.array(found, np.int32).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def _depths(self, start: int, stop: int) -> I64:
        bits = self.cell_bits(start, stop)
        return np.where(bits % _EMPTY_ONE_IN == 0, _EMPTY, bits >> 8 & 15)

    @cached_property
    def _base(self) -> I64:
        """int64 (G,): threshold of each gene at the mean depth."""
        rank = np.argsort(permutation(self.n_genes, self._streams[_GENES]))
        flat = self.mean_genes // 10 + 1
        scale = bisect.bisect_left(
            range(_FULL * (self.n_genes + flat)),
            min(self.mean_genes, self.n_genes) << 16,
            key=lambda a: int(np.minimum(a // (rank + flat), _FULL).sum()),
        )
        return np.minimum(scale // (rank + flat), _FULL)

    @cached_property
    def _thresholds(self) -> npt.NDArray[np.uint16]:
        """uint16 (16 depths and none, genes filled up to a multiple of four)."""
        table = np.zeros((_EMPTY + 1, self._n_quads * 4), np.uint16)
        table[:_EMPTY, : self.n_genes] = np.minimum(self._base * _DEPTHS[:, None] // 64, _FULL)
        return table

    @cached_property
    def _high(self) -> npt.NDArray[np.bool_]:
        return self._base >= _HIGH

    def _expressed(self, start: int, stop: int) -> tuple[I64, I64]:
        counter = np.arange(start, stop)[:, None] * self._n_quads + np.arange(self._n_quads)
        drawn = keys(counter, self._streams[_DETECTION]).astype("<u8", copy=False).view("<u2")
        at = np.flatnonzero(drawn < self._thresholds[self._depths(start, stop)])
        cell, gene = np.divmod(at, self._n_quads * 4)
        return cell + start, gene

    def _counts(self, cell: I64, gene: I64) -> I32:
        bits = keys(cell * self.n_genes + gene, self._streams[_COUNTS])
        level = _LEVELS[(bits & np.uint64(_FULL)).astype(np.int64)]
        less = (bits >> np.uint64(16) & np.uint64(3)).astype(np.int32)
        return np.where(self._high[gene], _HIGH_FACTOR * level - less, level)
