import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata import _jit
from scdata.counts import gather_genes, ragged_rows, row_of_entry, take_rows
from scdata.counts.csr import gather_genes_numpy

COUNTS = st.one_of(st.integers(1, 5), st.integers(1, 2**27))


@st.composite
def csr(draw, max_cells=8, max_columns=12):
    """A CSR in any order, columns repeated or not."""
    n_columns = draw(st.integers(1, max_columns))
    entry = st.tuples(st.integers(0, n_columns - 1), COUNTS)
    cells = draw(st.lists(st.lists(entry, max_size=14), max_size=max_cells))
    indptr = np.cumsum([0, *map(len, cells)])
    indices = np.array([column for cell in cells for column, _ in cell], np.int32)
    data = np.array([count for cell in cells for _, count in cell], np.int32)
    return indptr, indices, data, n_columns


def oracle(indptr, indices, data, target, n_genes):
    """The same by scipy: a matrix of columns times a matrix that says where each column goes."""
    shape = (len(indptr) - 1, len(target))
    columns = sp.csr_matrix((data.astype(np.int64), indices, indptr), shape=shape)
    kept = np.flatnonzero(target >= 0)
    where = sp.csr_matrix((np.ones(len(kept), np.int64), (kept, target[kept])), shape=(len(target), n_genes))
    out = sp.csr_matrix(columns @ where)
    out.sort_indices()
    return out.indptr.tolist(), out.indices.tolist(), out.data.tolist()


@given(csr(), st.integers(1, 9), st.data())
def test_like_scipy(matrix, n_genes, data):
    indptr, indices, counts, n_columns = matrix
    targets = st.lists(st.integers(-1, n_genes - 1), min_size=n_columns, max_size=n_columns)
    target = np.array(data.draw(targets), np.int32)
    found = gather_genes(indptr, indices, counts, target, n_genes)
    assert tuple(array.tolist() for array in found) == oracle(indptr, indices, counts, target, n_genes)
    assert [array.dtype for array in found] == [np.int64, np.int32, np.int32]
    plain = gather_genes_numpy(indptr, indices, counts, target, n_genes)
    for compiled, array in zip(found, plain, strict=True):
        assert compiled.tolist() == array.tolist()
        assert compiled.dtype == array.dtype


@given(csr(), st.integers(0, 5), st.data())
def test_words_too_wide_for_one_sort(matrix, shift, data):
    """Many genes and rows: row, gene and count do not fit 64 bits, so that a slower sort takes over."""
    indptr, indices, counts, n_columns = matrix
    n_genes = 2**30 + shift
    indptr = np.concatenate([indptr, np.full(40, indptr[-1])])
    few = data.draw(st.lists(st.sampled_from([-1, 0, 3, n_genes - 1]), min_size=n_columns, max_size=n_columns))
    wide = gather_genes(indptr, indices, counts, np.array(few, np.int32), n_genes)
    small = np.array([{-1: -1, 0: 0, 3: 1, n_genes - 1: 2}[gene] for gene in few], np.int32)
    narrow = gather_genes(indptr, indices, counts, small, 3)
    names = np.array([0, 3, n_genes - 1], np.int32)
    assert wide[0].tolist() == narrow[0].tolist()
    assert wide[1].tolist() == names[narrow[1]].tolist()
    assert wide[2].tolist() == narrow[2].tolist()


@settings(max_examples=30)
@given(csr(), st.randoms(use_true_random=False))
def test_order_of_entries_and_all_zero_genes_change_nothing(matrix, random):
    indptr, indices, counts, n_columns = matrix
    target = np.arange(n_columns, dtype=np.int32)
    expected = gather_genes(indptr, indices, counts, target, n_columns)
    order = []
    for start, stop in itertools.pairwise(indptr):
        cell = list(range(start, stop))
        random.shuffle(cell)
        order += cell
    moved = gather_genes(indptr, indices[order], counts[order], np.append(target, 5), n_columns + 6)
    for a, b in zip(expected, moved, strict=True):
        assert a.tolist() == b.tolist()


@pytest.mark.parametrize("gather_genes", [gather_genes, gather_genes_numpy])
@pytest.mark.parametrize("n_genes", [4, 2**31 - 1])
def test_the_largest_count_stays_and_a_larger_sum_is_named(n_genes, gather_genes):
    most = 2**31 - 1
    indptr, indices = np.array([0, 1, 3]), np.array([0, 0, 1], np.int32)
    target = np.array([2, 2], np.int32)
    found = gather_genes(indptr, indices, np.array([most, most - 5, 5], np.int32), target, n_genes)
    assert found[2].tolist() == [most, most]
    with pytest.raises(OverflowError, match="add up to 2147483648, over the limit of 2147483647"):
        gather_genes(indptr, indices, np.array([most, most - 5, 6], np.int32), target, n_genes)


def test_no_cells_and_no_genes_kept():
    empty = np.empty(0, np.int32)
    indptr, genes, counts = gather_genes(np.zeros(1, np.int64), empty, empty, np.zeros(3, np.int32), 1)
    assert (indptr.tolist(), genes.tolist(), counts.tolist()) == ([0], [], [])
    one = np.ones(2, np.int32)
    dropped = gather_genes(np.array([0, 1, 2]), one, one, np.full(2, -1, np.int32), 5)
    assert [array.tolist() for array in dropped] == [[0, 0, 0], [], []]


@given(csr(), st.data())
def test_ragged_rows_are_the_rows(matrix, data):
    indptr, _, counts, _ = matrix
    n_cells = len(indptr) - 1
    rows = data.draw(st.lists(st.integers(0, max(n_cells - 1, 0)), max_size=10 if n_cells else 0))
    new_indptr, take = ragged_rows(indptr, np.array(rows, np.int64))
    for at, row in enumerate(rows):
        got = counts[take[new_indptr[at] : new_indptr[at + 1]]]
        assert got.tolist() == counts[indptr[row] : indptr[row + 1]].tolist()
    assert new_indptr[-1] == len(take)
    assert row_of_entry(indptr).tolist() == [c for c in range(n_cells) for _ in range(indptr[c], indptr[c + 1])]


@given(csr(), st.data(), st.booleans())
def test_taken_rows_are_the_rows_with_numba_and_without(matrix, data, numba):
    indptr, genes, counts, _ = matrix
    n_cells = len(indptr) - 1
    rows = np.array(data.draw(st.lists(st.integers(0, max(n_cells - 1, 0)), max_size=10 if n_cells else 0)), np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "available", lambda: numba)
        new_indptr, taken = take_rows(indptr, rows, genes.astype(np.uint16), counts, dtypes=[np.int32])
    expected, take = ragged_rows(indptr, rows)
    assert new_indptr.tolist() == expected.tolist()
    assert [array.dtype for array in taken] == [np.int32, counts.dtype]
    assert [array.tolist() for array in taken] == [genes[take].tolist(), counts[take].tolist()]
