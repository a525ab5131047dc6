"""Hashes of cells by what they express: equal for equal sets of (gene, count), in any order."""

import numpy as np

from scdata import _jit
from scdata._blocks import I32, I64
from scdata._splitmix import U64, keys, stream

_STREAMS = (stream(0, "duplicate", 0), stream(0, "duplicate", 1))


def cell_hashes(indptr: I64, genes: I32, counts: I32) -> U64:
    """128-bit hashes of cells: of both halves, the sum of a random number for each (gene, count), modulo 2⁶⁴.

    Two different cells have the same hash with probability 2⁻¹²⁸, unless somebody made them for that.

    Parameters
    ----------
    indptr, genes, counts
        CSR of counts, int64 (C+1,), int32 (T,), int32 (T,): genes distinct within a cell, in any order, none negative; only
        counts ≥ 1, so that a zero that is stored is no difference.

    Returns
    -------
    uint64 (C, 2)
        Of pair p = gene · 2³² + count, half h sums ``splitmix64(p + stream(0, "duplicate", h))``.
    """
    if not _jit.available():
        return cell_hashes_numpy(indptr, genes, counts)
    from scdata.counts.cell_hash_jit import cell_hashes_jit

    out = np.empty((len(indptr) - 1, 2), np.uint64)
    first, second = map(np.uint64, _STREAMS)
    cell_hashes_jit(indptr, genes, counts, first, second, out)
    return out


def cell_hashes_numpy(indptr: I64, genes: I32, counts: I32) -> U64:
    """`cell_hashes` without numba: equal results."""
    pairs = genes.astype(np.uint64) << np.uint64(32) | counts.astype(np.uint64)
    out = np.empty((len(indptr) - 1, 2), np.uint64)
    sums = np.zeros(len(pairs) + 1, np.uint64)
    for half, own in enumerate(_STREAMS):
        # differences of sums that have wrapped around are those of sums that have not
        np.cumsum(keys(pairs, own), out=sums[1:])
        out[:, half] = sums[indptr[1:]] - sums[indptr[:-1]]
    return out
