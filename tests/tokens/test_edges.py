from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata import _jit
from scdata.normalize import library_size
from scdata.normalize.depth_table import DepthTable
from scdata.normalize.edge_fit import fit_depth_edges, fit_edges
from scdata.tokens.kernels import edges as edges_module
from scdata.tokens.kernels.edges import depth_edge_bins, depth_edge_bins_numpy, edge_bins, relative_edges

COUNT = st.one_of(st.integers(1, 4), st.integers(254, 258), st.integers(1, 2**31 - 1))
CELLS = st.lists(st.lists(COUNT, max_size=20), max_size=6)
TARGETS = st.sampled_from([1.0, 1e4, 1e6])
EDGE = st.one_of(st.floats(0, 1e4), st.sampled_from([0.0, 2500.0, 5000.0, 1e4]))


@st.composite
def strata(draw):
    """Borders of totals, and as many edges of lognorm values for each stratum, ties among them."""
    borders = sorted(draw(st.sets(st.integers(1, 2**33), max_size=4)))
    n_edges = draw(st.integers(1, 9))
    edges = [sorted(draw(st.lists(EDGE, min_size=n_edges, max_size=n_edges))) for _ in range(len(borders) + 1)]
    return np.array(borders, np.int64), np.log1p(edges)


def arrays(cells):
    indptr = np.cumsum([0, *map(len, cells)])
    counts = np.array([count for cell in cells for count in cell], np.int32)
    return indptr, counts, library_size(indptr, counts)


def by_hand(cells, borders, edges, target_sum):
    bins = []
    for cell in cells:
        own = relative_edges(edges[sum(border <= sum(cell) for border in borders)])
        bins += [1 + sum(edge <= count / sum(cell) * target_sum for edge in own) for count in cell]
    return bins


@given(CELLS, strata(), TARGETS)
def test_compiled_and_numpy_are_the_number_of_edges_at_or_below(cells, fitted, target_sum):
    assert _jit.available()
    expected = by_hand(cells, *fitted, target_sum)
    compiled = depth_edge_bins(*arrays(cells), *fitted, target_sum)
    plain = depth_edge_bins_numpy(*arrays(cells), *fitted, target_sum)
    assert compiled.tolist() == plain.tolist() == expected
    assert compiled.dtype == plain.dtype == np.int32


@pytest.mark.parametrize("bins", [depth_edge_bins, depth_edge_bins_numpy])
def test_a_value_on_an_edge_and_a_total_on_a_border_are_above_it(bins, monkeypatch):
    # given as relative counts: few of them are the exponential of a float
    monkeypatch.setattr(edges_module, "relative_edges", lambda edges: edges)
    borders, edges = np.array([9, 11]), np.array([[1250.0, 2500.0], [3000.0, 4000.0], [1.0, 2.0]])
    cells = [[1, 2, 1, 4], [4, 4], [3, 4, 3], [3, 7], [4, 4, 3]]
    assert bins(*arrays(cells), borders, edges, 1e4).tolist() == [2, 3, 2, 3, 3, 3, 2, 3, 2, 2, 3, 3, 3, 3]


@given(CELLS, strata(), TARGETS)
def test_fixed_edges_are_one_stratum(cells, fitted, target_sum):
    edges = fitted[1][0]
    found = edge_bins(*arrays(cells), edges, target_sum)
    assert found.tolist() == by_hand(cells, [], edges[None], target_sum)
    assert found.dtype == np.int32


def test_without_numba_the_twin_is_used(monkeypatch):
    monkeypatch.setattr(_jit, "available", lambda: False)
    found = edge_bins(*arrays([[1, 3], [], [2, 2, 4]]), np.log1p([2499.9, 4999.9]), 1e4)
    assert found.tolist() == [2, 3, 2, 2, 3]


def test_many_cells_like_real_ones():
    rng = np.random.default_rng(1)
    cells = [rng.geometric(rng.uniform(0.01, 0.9), rng.integers(1, 600)).tolist() for _ in range(200)]
    csr = arrays(cells)
    fitted = fit_depth_edges(DepthTable.of(*csr), 51, 8, 10)
    compiled = depth_edge_bins(*csr, fitted.borders, fitted.edges, 1e4)
    assert compiled.tolist() == depth_edge_bins_numpy(*csr, fitted.borders, fitted.edges, 1e4).tolist()
    # the middle of the bins in every stratum, although the shallow cells' fixed bins would be far above
    stratum = np.repeat(np.searchsorted(fitted.borders, csr[2], side="right"), np.diff(csr[0]))
    assert stratum.max() == len(fitted.edges) - 1 > 3
    middles = [compiled[stratum == s].mean() for s in range(len(fitted.edges))]
    assert max(abs(middle - 25.5) for middle in middles) < 2
    fixed = edge_bins(*csr, fit_edges(DepthTable.of(*csr), 51), 1e4)
    assert np.ptp([fixed[stratum == s].mean() for s in range(len(fitted.edges))]) > 20


@given(CELLS, strata(), st.randoms(use_true_random=False))
def test_permuting_the_genes_of_a_cell_permutes_its_bins(cells, fitted, random):
    orders = [random.sample(range(len(cell)), len(cell)) for cell in cells]
    moved = [[cell[i] for i in order] for cell, order in zip(cells, orders, strict=True)]
    indptr, counts, total = arrays(cells)
    bins = depth_edge_bins(indptr, counts, total, *fitted, 1e4)
    take = np.array([start + i for start, order in zip(indptr, orders, strict=False) for i in order], np.int64)
    assert depth_edge_bins(*arrays(moved), *fitted, 1e4).tolist() == bins[take].tolist()


@given(CELLS, strata())
def test_bins_rise_with_the_count_within_a_cell(cells, fitted):
    indptr, counts, total = arrays(cells)
    bins = depth_edge_bins(indptr, counts, total, *fitted, 1e4)
    for start, stop in pairwise(indptr):
        order = np.argsort(counts[start:stop], kind="stable")
        assert (np.diff(bins[start:stop][order]) >= 0).all()
        assert len(set(zip(counts[start:stop].tolist(), bins[start:stop].tolist(), strict=True))) == len(
            set(counts[start:stop])
        )


@given(CELLS, st.integers(0, 6), strata())
def test_other_cells_and_cells_without_counts_change_nothing(cells, place, fitted):
    bins = depth_edge_bins(*arrays(cells), *fitted, 1e4).tolist()
    place = min(place, len(cells))
    assert depth_edge_bins(*arrays([*cells[:place], [], *cells[place:]]), *fitted, 1e4).tolist() == bins
    alone = [depth_edge_bins(*arrays([cell]), *fitted, 1e4).tolist() for cell in cells]
    assert [found for cell in alone for found in cell] == bins


@given(CELLS, strata())
def test_counts_outside_the_vocabulary_act_by_the_total_alone(cells, fitted):
    # a gene that is not there has no entry: leaving entries out while the total stays leaves the other bins as they are
    indptr, counts, total = arrays(cells)
    bins = depth_edge_bins(indptr, counts, total, *fitted, 1e4)
    kept = np.arange(len(counts)) % 2 == 0
    shorter = np.concatenate(([0], np.cumsum(kept)))[indptr]
    assert depth_edge_bins(shorter, counts[kept], total, *fitted, 1e4).tolist() == bins[kept].tolist()


def test_edges_of_lognorm_values_are_compared_as_relative_counts():
    indptr, counts, total = arrays([[1, 1, 2, 4, 8], [50, 50, 300]])
    edges = fit_edges(DepthTable.of(indptr, counts, total), 6)
    lognorm = np.log1p(counts / np.repeat(total, np.diff(indptr)) * 1e4)
    expected = 1 + np.searchsorted(edges, lognorm, side="right")
    assert edge_bins(indptr, counts, total, edges, 1e4).tolist() == expected.tolist()


@pytest.mark.parametrize("total", [100, 200])
def test_a_frequent_value_leaves_bins_empty_and_keeps_the_order(total):
    # 80 of 100 values are 1: they share one bin, and larger ones have the bins above
    counts = np.array([1] * 80 + list(range(2, 22)), np.int32)
    indptr = np.array([0, 100])
    edges = fit_edges(DepthTable.of(indptr, counts, np.array([total])), 11)
    bins = edge_bins(indptr, counts, np.array([total]), edges, 1e4)
    assert len(set(bins[:80])) == 1
    assert bins[0] <= 9
    assert (bins[80:] >= 9).all()
    assert bins[-1] == 10
