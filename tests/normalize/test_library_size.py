import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata.normalize import library_size, log1p_normalized, normalize_total

CELLS = st.lists(st.lists(st.one_of(st.integers(1, 9), st.integers(1, 2**31 - 1)), max_size=9), max_size=9)


def arrays(cells):
    indptr = np.cumsum([0, *map(len, cells)])
    return indptr, np.array([count for cell in cells for count in cell], np.int32)


@given(CELLS)
def test_library_size_is_the_exact_sum(cells):
    found = library_size(*arrays(cells))
    assert found.tolist() == [sum(cell) for cell in cells]
    assert found.dtype == np.int64


@given(CELLS)
def test_normalize_total_as_scanpy(cells):
    indptr, data = arrays(cells)
    total = library_size(indptr, data)
    found = normalize_total(indptr, data, total, 1e4)
    expected = [count / sum(cell) * 1e4 for cell in cells for count in cell]
    assert found.tolist() == expected  # the same float64 operations in the same order
    sums = [found[a:b].sum() for a, b in itertools.pairwise(indptr) if b > a]
    np.testing.assert_allclose(sums, 1e4, rtol=1e-12)


@given(CELLS)
def test_log1p_is_computed_in_float64(cells):
    indptr, data = arrays(cells)
    found = log1p_normalized(indptr, data, library_size(indptr, data), 1e4)
    expected = [np.log1p(count / sum(cell) * 1e4) for cell in cells for count in cell]
    assert found.dtype == np.float32
    assert found.tolist() == np.array(expected, np.float32).tolist()


def test_the_denominator_may_count_genes_that_are_not_there():
    indptr, data = np.array([0, 2]), np.array([3, 1], np.int32)
    assert normalize_total(indptr, data, np.array([16]), 8.0).tolist() == [1.5, 0.5]
    assert log1p_normalized(indptr, data, np.array([26]), 1e4)[0] == pytest.approx(7.05172, abs=1e-5)


@pytest.mark.parametrize("target_sum", [1.0, 1e4, 1e6])
def test_unmeasured_genes_change_nothing(target_sum):
    # an all-zero gene has no entry, so a cell is the same with any number of them, empty cells included
    indptr, data = np.array([0, 0, 2, 2]), np.array([1, 3], np.int32)
    found = normalize_total(indptr, data, library_size(indptr, data), target_sum)
    assert found.tolist() == [0.25 * target_sum, 0.75 * target_sum]
