import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scdata import _jit
from scdata.tokens.kernels.binning import draw_bins, quantile_bins, quantile_bins_numpy
from scdata.tokens.kernels.quantile_ties import quantile_bins_random, quantile_bins_upper
from scdata.tokens.sequence import Draws

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


def like_real_ones(n_cells):
    rng = np.random.default_rng(3)
    return [rng.geometric(rng.uniform(0.05, 0.9), rng.integers(1, 900)).tolist() for _ in range(n_cells)]


def test_many_cells_like_real_ones():
    cells = like_real_ones(150)
    low, high = quantile_bins(*arrays(cells), 51)
    assert (low.tolist(), high.tolist()) == reference(cells, 51)


def test_edges_round_as_numpy_rounds_them():
    # 50 counts and 50 edges: left + step · weight for every weight puts one edge on the other side of its count
    text = "6 10 12 13 18 18 22 22 23 25 26 30 31 31 32 33 37 42 42 46 48 49 54 54 54 58 62 65 65 70 72 74 78 79 81 89 90 91"
    cells = [[int(count) for count in f"{text} 94 95 98 99 103 109 111 113 117 175 278 295".split()]]
    for low, high in (quantile_bins(*arrays(cells), 51), quantile_bins_numpy(*arrays(cells), np.linspace(0, 1, 50))):
        assert (low.tolist(), high.tolist()) == reference(cells, 51)


def test_cells_of_deep_reads():
    # most counts are beyond any table
    rng = np.random.default_rng(4)
    cells = [np.ceil(rng.lognormal(5, 2, n)).astype(int).tolist() for n in (1, 2, 49, 50, 51, 3000)]
    low, high = quantile_bins(*arrays(cells), 51)
    assert (low.tolist(), high.tolist()) == reference(cells, 51)


@pytest.mark.parametrize("numba", [True, False])
@settings(max_examples=150)
@given(CELLS, N_BINS, st.integers(0, 2**63 - 1))
def test_ties_in_one_pass_equal_bounds_and_draws(numba, cells, n_bins, seed):
    indptr, counts = arrays(cells)
    token_ids = np.random.default_rng(seed).permutation(70_000)[: len(counts)].astype(np.int32)
    draws = Draws(seed, 3, np.arange(len(cells)) * 7)
    low, high = quantile_bins(indptr, counts, n_bins)
    expected = draw_bins(low, high, draws.keys("ties", indptr, token_ids))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "available", lambda: numba)
        upper = quantile_bins_upper(indptr, counts, n_bins)
        drawn = quantile_bins_random(indptr, counts, token_ids, draws.cell_keys("ties"), n_bins)
    assert upper.tolist() == high.tolist()
    assert drawn.tolist() == expected.tolist()
    assert upper.dtype == drawn.dtype == np.int32


def test_a_draw_does_not_depend_on_the_place():
    indptr, counts = arrays(like_real_ones(20))
    ids = np.concatenate([np.arange(n, dtype=np.int32) * 3 for n in np.diff(indptr)])
    keys = Draws(1, 0, np.arange(20)).cell_keys("ties")
    drawn = quantile_bins_random(indptr, counts, ids, keys, 51)
    order = np.concatenate([np.arange(b - 1, a - 1, -1) for a, b in itertools.pairwise(indptr.tolist())])
    turned = quantile_bins_random(indptr, counts[order], ids[order], keys, 51)
    assert turned.tolist() == drawn[order].tolist()
    lengths = np.diff(indptr)[::-1]
    cells = np.concatenate([np.arange(a, b) for a, b in list(itertools.pairwise(indptr.tolist()))[::-1]])
    moved = quantile_bins_random(
        np.concatenate(([0], np.cumsum(lengths))), counts[cells], ids[cells], keys[::-1].copy(), 51
    )
    assert moved.tolist() == drawn[cells].tolist()


def test_draws_of_ties_are_uniform():
    # 64 cells of 500 equal counts: every bin from 1 to 50 is as likely as another
    indptr = np.arange(65) * 500
    ids = np.tile(np.arange(500, dtype=np.int32), 64)
    keys = Draws(9, 0, np.arange(64)).cell_keys("ties")
    drawn = quantile_bins_random(indptr, np.ones(64 * 500, np.int32), ids, keys, 51)
    observed = np.bincount(drawn, minlength=51)
    assert observed[0] == 0
    assert len(observed) == 51
    assert stats.chisquare(observed[1:]).pvalue > 0.001


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
