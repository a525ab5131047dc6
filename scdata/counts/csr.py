"""CSR rows of counts: columns to genes of a vocabulary, sorted, equal genes summed."""

import numpy as np
import numpy.typing as npt

from scdata._blocks import I32, I64, Array

_COUNT_BITS = 31


def row_of_entry(indptr: I64) -> I64:
    """int64 (T,): the row each entry of a CSR belongs to."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def ragged_rows(indptr: I64, rows: I64) -> tuple[I64, I64]:
    """Positions of the entries of chosen rows.

    Parameters
    ----------
    indptr
        int64 (C+1,) of the CSR to choose from.
    rows
        int64 (R,): rows, in any order, repeats allowed.

    Returns
    -------
    new_indptr : int64 (R+1,)
    take : int64 (T',)
        ``data[take]`` holds the chosen rows one after the other.
    """
    lengths = indptr[rows + 1] - indptr[rows]
    new_indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=new_indptr[1:])
    take = np.arange(new_indptr[-1]) + np.repeat(indptr[rows] - new_indptr[:-1], lengths)
    return new_indptr, take


def gather_genes(indptr: I64, indices: I32, data: I32, target: I32, n_genes: int) -> tuple[I64, I32, I32]:
    """Renumber the columns of counts, drop those without a number, sum those that share one, sort each row.

    Parameters
    ----------
    indptr, indices, data
        CSR of counts, int64 (C+1,), int32 (T,), int32 (T,), indices in any order.
    target
        int32 (G,): new number of each column in ``range(n_genes)``, or −1 to drop it.

    Returns
    -------
    indptr, genes, counts
        int64 (C+1,), int32 (T',), int32 (T',); genes ascending and distinct within a row.

    Raises
    ------
    OverflowError
        If a sum exceeds 2**31 − 1.
    """
    n_rows = len(indptr) - 1
    genes: Array = target[indices]
    rows = row_of_entry(indptr)
    keep = genes >= 0
    if not keep.all():
        genes, rows, data = genes[keep], rows[keep], data[keep]
    gene_bits = max(n_genes - 1, 1).bit_length()
    if max(n_rows - 1, 1).bit_length() + gene_bits + _COUNT_BITS <= 64:
        # row, gene and count in one word: a single sort of integers moves all three
        word = rows.astype(np.uint64) << np.uint64(gene_bits + _COUNT_BITS)
        word |= genes.astype(np.uint64) << np.uint64(_COUNT_BITS)
        word |= data.astype(np.uint64)
        word.sort()
        data = (word & np.uint64((1 << _COUNT_BITS) - 1)).astype(np.int32)
        word >>= np.uint64(_COUNT_BITS)
        genes = (word & np.uint64((1 << gene_bits) - 1)).astype(np.int32)
        rows = (word >> np.uint64(gene_bits)).astype(np.int64)
    else:
        order = np.lexsort((genes, rows))
        genes, rows, data = genes[order].astype(np.int32), rows[order], data[order]
    if len(genes) > 1:
        repeated = (genes[1:] == genes[:-1]) & (rows[1:] == rows[:-1])
        if repeated.any():
            genes, rows, data = _sum_repeated(genes, rows, data, repeated)
    new_indptr = np.zeros(n_rows + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=n_rows), out=new_indptr[1:])
    return new_indptr, genes, data


def _sum_repeated(genes: I32, rows: I64, data: I32, repeated: npt.NDArray[np.bool_]) -> tuple[I32, I64, I32]:
    first = np.flatnonzero(np.concatenate(([True], ~repeated)))
    sums = np.add.reduceat(data, first, dtype=np.int64)
    if sums.max(initial=0) > np.iinfo(np.int32).max:
        raise OverflowError(
            f"counts of columns that are the same gene add up to {sums.max()}, over the limit of 2147483647"
        )
    return genes[first], rows[first], sums.astype(np.int32)
