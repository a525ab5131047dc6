"""CSR rows of counts: columns to genes of a vocabulary, sorted, equal genes summed."""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from scdata import _jit
from scdata._backend import backend, on_device, per_entry
from scdata._backend import row_of_entry as row_of_entry
from scdata._blocks import I32, I64, Array

_COUNT_BITS = 31
_TABLE_GENES = 1 << 22  # the compiled kernel keeps 8 bytes a gene


def ragged_rows(indptr: I64, rows: I64) -> tuple[I64, I64]:
    """Positions of the entries of chosen rows.

    Parameters
    ----------
    indptr
        int64 (C+1,) of the CSR to choose from; on the CPU or on a device.
    rows
        int64 (R,): rows, in any order, repeats allowed.

    Returns
    -------
    new_indptr : int64 (R+1,)
    take : int64 (T',)
        ``data[take]`` holds the chosen rows one after the other.
    """
    xp = backend(indptr)
    new_indptr = xp.zeros(len(rows) + 1, xp.int64)
    if len(rows):
        xp.cumsum(indptr[rows + 1] - indptr[rows], out=new_indptr[1:])
    take = xp.arange(int(new_indptr[-1])) + per_entry(indptr[rows] - new_indptr[:-1], new_indptr)
    return new_indptr, take


def take_rows(
    indptr: I64, rows: I64, *arrays: Array, dtypes: Sequence[npt.DTypeLike | None] = ()
) -> tuple[I64, list[Array]]:
    """Chosen rows of ragged arrays, one after the other.

    Parameters
    ----------
    indptr
        int64 (C+1,) of the rows to choose from; on the CPU.
    rows
        int64 (R,): rows, in any order, repeats allowed.
    arrays
        (T,) each: values of all rows.
    dtypes
        What each becomes, in a type that holds its values; None, or left out: as it is.

    Returns
    -------
    new_indptr : int64 (R+1,)
    taken : list of (T',)
    """
    wanted = [d or a.dtype for a, d in zip_longest(arrays, dtypes)]
    if not _jit.available():
        new_indptr, take = ragged_rows(indptr, rows)
        return new_indptr, [array[take].astype(d, copy=False) for array, d in zip(arrays, wanted, strict=True)]
    from scdata.counts.ragged_jit import take_rows_jit

    new_indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(indptr[rows + 1] - indptr[rows], out=new_indptr[1:])
    taken = [np.empty(new_indptr[-1], d) for d in wanted]
    for array, out in zip(arrays, taken, strict=True):
        take_rows_jit(indptr, array, rows, new_indptr, out)
    return new_indptr, taken


def gather_genes(indptr: I64, indices: I32, data: I32, target: I32, n_genes: int) -> tuple[I64, I32, I32]:
    """Renumber the columns of counts, drop those without a number, sum those that share one, sort each row.

    Parameters
    ----------
    indptr, indices, data
        CSR of counts, int64 (C+1,), int32 (T,), int32 (T,), indices in any order; on the CPU or on a device.
    target
        int32 (G,): new number of each column in ``range(n_genes)``, or −1 to drop it; on the same machine.

    Returns
    -------
    indptr, genes, counts
        int64 (C+1,), int32 (T',), int32 (T',); genes ascending and distinct within a row.

    Raises
    ------
    OverflowError
        If a sum exceeds 2**31 − 1.
    """
    if not on_device(indices) and _jit.available() and n_genes <= _TABLE_GENES:
        from scdata.counts.csr_jit import gather_genes_jit

        new_indptr = np.empty(len(indptr), np.int64)
        genes, counts = np.empty(len(indices), np.int32), np.empty(len(indices), np.int32)
        largest = int(gather_genes_jit(indptr, indices, data, target, n_genes, new_indptr, genes, counts))
        _refuse_overflow(largest)
        return new_indptr, genes[: new_indptr[-1]], counts[: new_indptr[-1]]
    return gather_genes_numpy(indptr, indices, data, target, n_genes)


def gather_genes_numpy(indptr: I64, indices: I32, data: I32, target: I32, n_genes: int) -> tuple[I64, I32, I32]:
    """`gather_genes` without numba, and on a device: equal results."""
    xp = backend(indices)
    n_rows = len(indptr) - 1
    genes: Array = target[indices]
    rows = row_of_entry(indptr)
    keep = genes >= 0
    if not keep.all():
        genes, rows, data = genes[keep], rows[keep], data[keep]
    gene_bits = max(n_genes - 1, 1).bit_length()
    if max(n_rows - 1, 1).bit_length() + gene_bits + _COUNT_BITS <= 64:
        # row, gene and count in one word: a single sort of integers moves all three
        word = rows.astype(xp.uint64) << np.uint64(gene_bits + _COUNT_BITS)
        word |= genes.astype(xp.uint64) << np.uint64(_COUNT_BITS)
        word |= data.astype(xp.uint64)
        word.sort()
        data = (word & np.uint64((1 << _COUNT_BITS) - 1)).astype(xp.int32)
        word >>= np.uint64(_COUNT_BITS)
        genes = (word & np.uint64((1 << gene_bits) - 1)).astype(xp.int32)
        rows = (word >> np.uint64(gene_bits)).astype(xp.int64)
    else:
        # rows stand together already: sort by gene, then put them together again
        order = xp.argsort(genes, kind="stable")
        order = order[xp.argsort(rows[order], kind="stable")]
        genes, rows, data = genes[order].astype(xp.int32), rows[order], data[order]
    if len(genes) > 1:
        repeated = (genes[1:] == genes[:-1]) & (rows[1:] == rows[:-1])
        if repeated.any():
            genes, rows, data = _sum_repeated(genes, rows, data, repeated)
    return xp.searchsorted(rows, xp.arange(n_rows + 1)), genes, data


def _sum_repeated(genes: I32, rows: I64, data: I32, repeated: npt.NDArray[np.bool_]) -> tuple[I32, I64, I32]:
    xp = backend(data)
    last = xp.concatenate((xp.flatnonzero(~repeated), xp.full(1, len(data) - 1)))  # entry of each gene
    running = xp.cumsum(data, dtype=xp.int64)[last]
    sums = xp.diff(running, prepend=0)
    _refuse_overflow(int(sums.max()))
    return genes[last], rows[last], sums.astype(xp.int32)


def _refuse_overflow(largest: int) -> None:
    if largest > np.iinfo(np.int32).max:
        raise OverflowError(
            f"counts of columns that are the same gene add up to {largest}, over the limit of 2147483647"
        )
