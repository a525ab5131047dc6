"""`quantile_bins` on a device: one block of threads a cell, with a histogram of its counts in shared memory.

Memory beside the input: 8 bytes a value for the result and 1 a cell; for cells with more than `LARGE_COUNTS` counts of 256
or more about 120 bytes a value of theirs. One launch a block of cells.
"""

import numpy as np

from scdata import _cuda
from scdata._backend import backend, beside
from scdata._blocks import I32, I64
from scdata.counts.csr import ragged_rows
from scdata.normalize.library_size import F64
from scdata.tokens.kernels.binning import quantile_bins_numpy

LARGE_COUNTS = 1 << 12  # counts of 256 or more in a cell that a block sorts: 16 KB of shared memory
MOST_EDGES = 1 << 10  # edges of a cell that a block holds
_TABLE = _THREADS = 256  # as in the source


def quantile_bins_device(indptr: I64, counts: I32, probabilities: F64) -> tuple[I32, I32]:
    """`quantile_bins` of arrays on a device; `probabilities` is on the CPU."""
    xp = backend(counts)
    at = beside(counts, probabilities)
    if len(at) > MOST_EDGES:
        return quantile_bins_numpy(indptr, counts, at)
    low, high = xp.empty(len(counts), xp.int32), xp.empty(len(counts), xp.int32)
    skipped = xp.empty(len(indptr) - 1, xp.uint8)
    _cuda.launch(
        xp,
        "tokens/kernels/binning.cu",
        "quantile_bins",
        len(skipped),
        _THREADS,
        (
            _cuda.laid_out(indptr, np.int64),
            _cuda.laid_out(counts, np.int32),
            at,
            np.int32(len(at)),
            np.int32(LARGE_COUNTS),
            low,
            high,
            skipped,
        ),
        shared_bytes=8 * len(at) + 4 * (3 * _TABLE + LARGE_COUNTS + 1),
    )
    rest = xp.flatnonzero(skipped)
    if len(rest):
        own, take = ragged_rows(indptr, rest)
        low[take], high[take] = quantile_bins_numpy(own, counts[take], at)
    return low, high
