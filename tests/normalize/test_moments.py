from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata._errors import TokenizerError
from scdata.normalize.exact_sums import WideSums
from scdata.normalize.moments import GeneMoments

N_GENES = 4
COUNT = st.one_of(st.integers(1, 4), st.integers(2**31 - 3, 2**31 - 1))
CELL = st.tuples(st.integers(0, 9), st.dictionaries(st.integers(0, N_GENES - 1), COUNT, max_size=N_GENES))


def arrays(cells):
    indptr = np.cumsum([0, *(len(cell) for _, cell in cells)])
    genes = np.array([gene for _, cell in cells for gene in cell], np.int32)
    counts = np.array([count for _, cell in cells for count in cell.values()], np.int32)
    return indptr, genes, counts, N_GENES, np.array([code for code, _ in cells], np.int32)


def plain(moments):
    """Every part as Python integers."""
    squares = [moments.squares.integers(i).tolist() for i in range(len(moments.batches))]
    parts = (moments.batches, moments.n_cells, moments.expressing, moments.total)
    return [part.tolist() for part in parts] + [squares]


def by_hand(cells):
    codes = sorted({code for code, _ in cells})
    columns = [[[cell.get(gene, 0) for c, cell in cells if c == code] for gene in range(N_GENES)] for code in codes]
    return [
        codes,
        [sum(c == code for c, _ in cells) for code in codes],
        [[sum(x > 0 for x in own) for own in batch] for batch in columns],
        [[sum(own) for own in batch] for batch in columns],
        [[sum(x * x for x in own) for own in batch] for batch in columns],
    ]


@given(st.lists(CELL, max_size=20))
def test_sums_are_exact_for_counts_of_any_size(cells):
    found = GeneMoments.of(*arrays(cells))
    assert plain(found) == by_hand(cells)
    assert {found.n_cells.dtype, found.expressing.dtype, found.total.dtype, found.squares.high.dtype} == {
        np.dtype("i8")
    }


WIDE = st.one_of(st.integers(1, 4), st.integers(2**32 - 2, 2**36 - 1))


@given(st.lists(st.tuples(st.integers(0, 3), st.dictionaries(st.integers(0, N_GENES - 1), WIDE)), max_size=9))
def test_compiled_like_numpy(cells):
    indptr, genes, _, n_genes, batch = arrays([(code, dict.fromkeys(cell, 1)) for code, cell in cells])
    values = np.array([value for _, cell in cells for value in cell.values()], np.float64)  # whole numbers
    found = GeneMoments.of(indptr, genes, values, n_genes, batch)
    assert plain(found) == plain(GeneMoments.of_arrays(indptr, genes, values, n_genes, batch)) == by_hand(cells)
    assert found.squares.low.max(initial=0) < 2**32


@pytest.mark.parametrize("make", [GeneMoments.of, GeneMoments.of_arrays])
def test_values_that_cannot_be_squared(make):
    with pytest.raises(OverflowError, match="68719476736 cannot be squared here"):
        make(np.array([0, 1]), np.zeros(1, np.int32), np.array([2**36]), 1)


def test_squares_that_need_more_than_64_bits():
    cells = [(0, {1: 2**31 - 1})] * 9
    assert plain(GeneMoments.of(*arrays(cells)))[4] == [[0, 9 * (2**31 - 1) ** 2, 0, 0]]
    assert 9 * (2**31 - 1) ** 2 > 2**64


@settings(max_examples=50)
@given(st.lists(st.lists(CELL, max_size=5), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_parts_merge_in_any_order_and_grouping(parts, random):
    whole = GeneMoments.of(*arrays([cell for part in parts for cell in part]))
    found = [GeneMoments.of(*arrays(part)) for part in parts]
    random.shuffle(found)
    half = (len(found) + 1) // 2
    nested = [GeneMoments.merge(some) for some in (found[:half], found[half:]) if some]
    for merged in (GeneMoments.merge(found), GeneMoments.merge(nested)):
        assert plain(merged) == plain(whole)
        assert merged.squares.high.tolist() == whole.squares.high.tolist()
        assert merged.squares.low.tolist() == whole.squares.low.tolist()


@given(st.lists(CELL, min_size=2, max_size=12))
def test_mean_and_variance_are_those_of_fractions(cells):
    cells = [(0, cell) for _, cell in cells]
    moments = GeneMoments.of(*arrays(cells))
    for gene in range(N_GENES):
        own = [Fraction(cell.get(gene, 0)) for _, cell in cells]
        mean = sum(own) / len(own)
        assert moments.mean()[0, gene] == pytest.approx(float(mean), rel=1e-15)
        assert moments.variance()[0, gene] == float(sum((x - mean) ** 2 for x in own) / (len(own) - 1))


def test_no_batch_key_is_one_batch_and_no_cell_is_none():
    indptr, genes, counts, n_genes, _ = arrays([(5, {0: 3}), (7, {}), (5, {0: 1, 2: 2})])
    found = GeneMoments.of(indptr, genes, counts, n_genes)
    assert (found.batches.tolist(), found.n_cells.tolist(), found.total.tolist()) == ([0], [3], [[4, 0, 2, 0]])
    none = GeneMoments.of(*arrays([]))
    assert (len(none.batches), none.total.shape) == (0, (0, N_GENES))
    assert plain(GeneMoments.merge([none, found])) == plain(found)


def test_a_batch_of_one_cell_has_no_variance():
    moments = GeneMoments.of(*arrays([(0, {0: 3}), (0, {1: 3}), (2, {0: 1})]))
    with pytest.raises(TokenizerError, match="batch 2 has 1 cell, and a variance needs 2: leave that batch out"):
        moments.variance()
    with pytest.raises(TokenizerError, match="batch 'donor C' has 1 cell"):
        moments.variance(["donor A", "donor B", "donor C"])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2**36 - 1)), max_size=12))
def test_squares_up_to_72_bits(pairs):
    keys, values = np.array([k for k, _ in pairs], np.int64), np.array([v for _, v in pairs], np.int64)
    sums = WideSums.of_squares(keys, values, 3).reshape((1, 3))
    assert sums.integers(0).tolist() == [sum(v * v for k, v in pairs if k == key) for key in range(3)]
    assert ((sums.low >= 0) & (sums.low < 2**32)).all()


def test_a_value_too_large_to_square_is_refused():
    with pytest.raises(OverflowError, match=f"{2**36} cannot be squared"):
        WideSums.of_squares(np.zeros(1, np.int64), np.array([2**36]), 1)


def test_cells_in_any_order_are_the_same():
    rng = np.random.default_rng(0)
    cells = [(int(rng.integers(3)), dict(enumerate(rng.geometric(0.3, N_GENES).tolist()))) for _ in range(100)]
    whole = plain(GeneMoments.of(*arrays(cells)))
    assert whole == by_hand(cells)
    pieces = [cells[a:b] for a, b in pairwise([0, 1, 40, 40, 99, 100])]
    assert plain(GeneMoments.merge([GeneMoments.of(*arrays(piece)) for piece in pieces[::-1]])) == whole
