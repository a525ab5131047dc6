import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata import _jit
from scdata.tokens.binning import draw_bins, quantile_bins, quantile_bins_numpy

COUNT = st.one_of(st.integers(1, 4), st.integers(1, 600), st.integers(254, 258), st.integers(1, 2**31 - 1))
CELLS = st.lists(st.lists(COUNT, max_size=70), max_size=5)
N_BINS = st.sampled_from([3, 4, 5, 10, 51, 52, 257])


def arrays(cells):
    return np.cumsum([0, *map(len, cells)]), np.array([c for cell in cells for c in cell], np.int32)


def reference(cells, n_bins):
    """scGPT's `_digitize` on `np.quantile` edges: lowest and highest bin of every value."""
    low, high = [], []
    for cell in cells:
        if not cell:
            continue
        values = np.array(cell, np.float64)
        edges = np.quantile(values, np.linspace(0, 1, n_bins - 1))
        upto, under = np.digitize(values, edges), np.digitize(values, edges, right=True)
        low += np.where(under < upto, under + 1, upto).tolist()
        high += upto.tolist()
    return low, high


@settings(max_examples=300, deadline=None)
@given(CELLS, N_BINS)
def test_compiled_and_numpy_are_np_quantile_and_np_digitize(cells, n_bins):
    indptr, counts = arrays(cells)
    expected = reference(cells, n_bins)
    found = quantile_bins(indptr, counts, n_bins)
    plain = quantile_bins_numpy(indptr, counts, np.linspace(0, 1, n_bins - 1))
    assert _jit.available()
    assert (found[0].tolist(), found[1].tolist()) == expected
    assert (plain[0].tolist(), plain[1].tolist()) == expected
    assert {array.dtype for array in (*found, *plain)} == {np.dtype(np.int32)}


def test_many_cells_like_real_ones():
    rng = np.random.default_rng(3)
    cells = [rng.geometric(rng.uniform(0.05, 0.9), rng.integers(1, 900)).tolist() for _ in range(150)]
    low, high = quantile_bins(*arrays(cells), 51)
    assert (low.tolist(), high.tolist()) == reference(cells, 51)


def test_without_numba_the_twin_is_used(monkeypatch):
    monkeypatch.setattr(_jit, "available", lambda: False)
    low, high = quantile_bins(np.array([0, 6]), np.array([3, 1, 7, 2, 5, 12], np.int32), 51)
    assert low.tolist() == high.tolist() == [20, 1, 40, 10, 30, 50]


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=60), st.integers(2, 2_000_000))
def test_scaling_a_cell_changes_no_bin(cell, factor):
    # powers of two scale edges exactly; other factors may move an edge by a rounding where it meets a value
    indptr, counts = arrays([cell])
    low, high = quantile_bins(indptr, counts, 51)
    power = 1 << (factor.bit_length() - 1)
    scaled = quantile_bins(indptr, counts * np.int32(power), 51)
    assert (scaled[0].tolist(), scaled[1].tolist()) == (low.tolist(), high.tolist())
    rank = {value: i for i, value in enumerate(sorted(set(cell)))}
    order = [rank[value] for value in cell]
    for (a, x), (b, y) in itertools.combinations(zip(order, high.tolist(), strict=True), 2):
        assert (a <= b) <= (x <= y)


@settings(deadline=None)
@given(st.lists(COUNT, min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_order_of_genes_changes_nothing(cell, random):
    order = list(range(len(cell)))
    random.shuffle(order)
    low, high = quantile_bins(*arrays([cell]), 51)
    moved = quantile_bins(*arrays([[cell[i] for i in order]]), 51)
    assert (moved[0].tolist(), moved[1].tolist()) == (low[order].tolist(), high[order].tolist())
    assert (low >= 1).all()
    assert (low <= high).all()
    assert (high <= 50).all()
    assert high.max() == 50


def test_worked_example():
    indptr, counts = np.array([0, 7]), np.array([1, 1, 1, 2, 1, 3, 1], np.int32)
    low, high = quantile_bins(indptr, counts, 51)
    assert low.tolist() == [1, 1, 1, 41, 1, 50, 1]
    assert high.tolist() == [33, 33, 33, 41, 33, 50, 33]


@pytest.mark.parametrize("width", [1, 2, 50])
def test_draws_stay_inside_and_are_uniform(width):
    n = 20_000
    low = np.full(n, 7, np.int32)
    drawn = draw_bins(low, low + np.int32(width - 1), np.arange(n, dtype=np.uint64))
    assert drawn.dtype == np.int32
    shares = np.bincount(drawn - 7, minlength=width) / n
    assert len(shares) == width
    assert abs(shares * width - 1).max() < 0.25
