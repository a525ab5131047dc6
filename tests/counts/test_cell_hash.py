import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata._splitmix import mix, stream
from scdata.counts.cell_hash import cell_hashes, cell_hashes_numpy

CELL = st.dictionaries(st.integers(0, 2**31 - 1), st.integers(1, 2**31 - 1), max_size=12)


def csr(cells):
    indptr = np.cumsum([0, *map(len, cells)])
    genes = np.array([gene for cell in cells for gene in cell], np.int32)
    counts = np.array([count for cell in cells for count in cell.values()], np.int32)
    return indptr, genes, counts


@given(st.lists(CELL, max_size=6))
def test_a_hash_is_the_sum_over_genes_and_counts(cells):
    found = cell_hashes(*csr(cells))
    for half in (0, 1):
        own = stream(0, "duplicate", half)
        sums = [sum(mix((gene << 32) + count + own) for gene, count in cell.items()) % 2**64 for cell in cells]
        assert found[:, half].tolist() == sums
    np.testing.assert_array_equal(found, cell_hashes_numpy(*csr(cells)))


@given(CELL, st.randoms())
def test_the_order_of_genes_does_not_matter(cell, random):
    pairs = list(cell.items())
    random.shuffle(pairs)
    first, second = cell_hashes(*csr([cell, dict(pairs)])).tolist()
    assert first == second


@given(CELL, CELL)
def test_different_cells_have_different_hashes(a, b):
    first, second = cell_hashes(*csr([a, b])).tolist()
    assert (first == second) == (a == b)
    assert (first[0] == second[0]) == (first[1] == second[1]) == (a == b)


@pytest.mark.parametrize("change", [{0: 2}, {1: 1}, {0: 1, 1: 1}, {}])
def test_one_count_one_gene_more_or_less(change):
    first, second = cell_hashes(*csr([{0: 1}, change])).tolist()
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_hashes_never_change():
    # the hash of a cell stands in files of unfinished builds
    found = cell_hashes(*csr([{7: 3, 1: 1}]))
    assert [f"{x:016x}" for x in found[0].tolist()] == ["76ad97ff40019c1e", "527979a1b357f23f"]
