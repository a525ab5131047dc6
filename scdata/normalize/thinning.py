"""Binomial thinning: a cell as if it had been sequenced less deeply.

Method: the training input of scFoundation (Hao et al., "Large-scale foundation model on single-cell transcriptomics", Nature
Methods 2024): a cell with enough counts is thinned with probability p; a share b is drawn from Beta(alpha, beta), and each
count x becomes a draw of Binomial(x, b).

Draws are 64-bit integers that are compared with each other, and no number is ever rounded, so every machine draws alike.
The k-th smallest of n uniform numbers follows Beta(k, n − k + 1): b is the alpha-th smallest of alpha + beta − 1.

Counters. K is the key of a cell, splitmix64 the mixing function of `scdata._splitmix`, all sums modulo 2**64:

====================================================  ==================================================
draw                                                  counter
====================================================  ==================================================
whether the cell is thinned: < floor(p · 2**64)       splitmix64(K)
uniform number i of b, i from 0                       splitmix64(splitmix64(K + 1) + i)
key of a gene                                         splitmix64(splitmix64(K + 2) + token id)
molecule m of a gene, m from 0: it stays if < b       splitmix64(key of the gene + m)
====================================================  ==================================================

Cost: one draw a molecule, some 2 ns (numba) or 20 ns (NumPy) each, so 4 s for the largest count that there can be, 2**31 − 1;
memory does not grow with counts.
"""

import numpy as np
import numpy.typing as npt

from scdata import _jit
from scdata._backend import backend, on_device, row_of_entry
from scdata._blocks import I32, I64, Array
from scdata._errors import NotCountsError
from scdata._splitmix import U64, splitmix64

_CHUNK = 1 << 20  # molecules that NumPy draws at a time, in some 80 MB


def thin(
    indptr: I64,
    counts: I32,
    token_ids: Array,
    total: I64,
    cell_keys: U64,
    *,
    p: float,
    alpha: int,
    beta: int,
    min_counts: int,
) -> tuple[I32, npt.NDArray[np.bool_]]:
    """Thin some cells binomially.

    Parameters
    ----------
    indptr, counts
        CSR of counts: int64 (C+1,), int32 (T,) ≥ 0; on the CPU or on a device.
    token_ids
        integer (T,) ≥ 0: what the genes are known by; the draws of a gene do not depend on its place.
    total
        int64 (C,): counts of each cell, for `min_counts`.
    cell_keys
        uint64 (C,): random key of each cell.
    p
        Share of the cells that are thinned, 0 to 1.
    alpha, beta
        Whole numbers ≥ 1 of the Beta distribution that shares are drawn from.
    min_counts
        Cells whose total is not above this stay whole.

    Returns
    -------
    counts
        int32 (T,): what is left of each count, zeros included.
    thinned
        bool (C,): which cells were thinned.

    Raises
    ------
    NotCountsError
        If counts are not integers, or negative.
    ValueError
        If p, alpha or beta is out of range.
    """
    if counts.dtype.kind not in "iu":
        raise NotCountsError(f"thinning needs raw counts, whole numbers, and got {counts.dtype}: pass the counts layer")
    if counts.size and int(counts.min()) < 0:
        raise NotCountsError(f"thinning needs raw counts, and got {int(counts.min())}: the values look normalized")
    if not 0 <= p <= 1:
        raise ValueError(f"p = {p}: a share from 0 to 1")
    for name, number in (("alpha", alpha), ("beta", beta)):
        if number != int(number) or number < 1:
            raise ValueError(f"{name} = {number}: a whole number, at least 1")
    thinned, share = _shares(total, cell_keys, p, int(alpha), int(beta), min_counts)
    gene_keys = splitmix64(_after(cell_keys, 2))
    if on_device(counts):
        from scdata.normalize.thinning_device import thin_device

        return thin_device(indptr, counts, token_ids, thinned, share, gene_keys), thinned
    if _jit.available():
        from scdata.normalize.thinning_jit import thin_jit

        left = np.empty(len(counts), np.int32)
        thin_jit(indptr, counts, token_ids, thinned, share, gene_keys, left)
        return left, thinned
    return thin_numpy(indptr, counts, token_ids, thinned, share, gene_keys), thinned


def thin_numpy(
    indptr: I64, counts: I32, token_ids: Array, thinned: npt.NDArray[np.bool_], share: U64, gene_keys: U64
) -> I32:
    """What is left of the counts, without numba: `share` is b of each cell, `gene_keys` splitmix64(K + 2)."""
    xp = backend(counts)
    left = counts.astype(xp.int32)
    row = row_of_entry(indptr)
    drawn = xp.flatnonzero(thinned[row])
    row, n = row[drawn], counts[drawn].astype(xp.int64)
    keys = splitmix64(_add(gene_keys[row], token_ids[drawn].astype(xp.uint64)))
    ends = xp.concatenate((xp.zeros(1, xp.int64), xp.cumsum(n)))
    stay = xp.zeros(len(drawn), xp.int64)
    molecules = int(ends[-1])
    for start in range(0, molecules, _CHUNK):
        # molecules `start` to `stop` of all counts strung together, which belong to entries `first` to `last`
        stop = min(start + _CHUNK, molecules)
        first, last = (int(i) - 1 for i in xp.searchsorted(ends, xp.array([start, stop - 1]), side="right"))
        bounds = xp.clip(ends[first : last + 2], start, stop) - start
        entry = first + row_of_entry(bounds)
        number = xp.arange(start, stop) - ends[entry]
        kept = splitmix64(_add(keys[entry], number.astype(xp.uint64))) < share[row[entry]]
        running = xp.concatenate((xp.zeros(1, xp.int64), xp.cumsum(kept)))
        stay[first : last + 1] += running[bounds[1:]] - running[bounds[:-1]]
    left[drawn] = stay.astype(xp.int32)
    return left


def _shares(
    total: I64, cell_keys: U64, p: float, alpha: int, beta: int, min_counts: int
) -> tuple[npt.NDArray[np.bool_], U64]:
    """Which cells are thinned, and the share b · 2**64 of molecules that stay in each."""
    xp = backend(cell_keys)
    below = int(p * 2.0**64)  # exact: a power of two changes no digit
    thinned = total > min_counts
    if below < 1 << 64:
        thinned = thinned & (splitmix64(cell_keys) < xp.uint64(below))
    numbers = xp.arange(alpha + beta - 1, dtype=xp.uint64)
    uniform = splitmix64(_add(splitmix64(_after(cell_keys, 1))[:, None], numbers))
    return thinned, xp.ascontiguousarray(xp.sort(uniform, axis=1)[:, alpha - 1])


def _after(keys: U64, number: int) -> U64:
    return _add(keys, backend(keys).uint64(number))


def _add(a: U64, b: U64) -> U64:
    with np.errstate(over="ignore"):
        return a + b
