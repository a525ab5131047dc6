import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata._errors import TokenizerError
from scdata.normalize import library_size
from scdata.normalize.depth_table import DepthTable, depth_borders, value_borders, value_step
from scdata.normalize.edge_fit import fit_depth_edges, fit_edges

COUNT = st.one_of(st.integers(1, 4), st.integers(1, 2**31 - 1))
CELLS = st.lists(st.lists(COUNT, max_size=9), max_size=9)
TARGETS = st.sampled_from([1.0, 1e4, 1e6])


def arrays(cells):
    indptr = np.cumsum([0, *map(len, cells)])
    counts = np.array([count for cell in cells for count in cell], np.int32)
    return indptr, counts, library_size(indptr, counts)


def corpus(n_cells=3000, n_genes=60, seed=0):
    """Cells of very different depth."""
    rng = np.random.default_rng(seed)
    means = rng.lognormal(6, 0.8, n_cells)[:, None] * rng.dirichlet(np.full(n_genes, 0.3))
    X = rng.poisson(means)
    X = X[X.sum(1) > 0]
    indptr = np.concatenate(([0], np.cumsum((X > 0).sum(1))))
    counts = X[X > 0].astype(np.int32)
    return indptr, counts, library_size(indptr, counts)


def test_depth_borders_are_the_least_integers_of_their_step():
    borders = depth_borders()
    assert borders.dtype == np.int64
    assert len(borders) == 255
    for i, border in enumerate(borders.tolist(), start=1):
        assert (border - 1) ** 40 < 10 ** (40 + i) <= border**40
    assert borders[[39, 79, 239]].tolist() == [100, 1000, 10**7]


@given(TARGETS)
def test_value_borders_are_of_equal_width_in_the_logarithm(target_sum):
    borders = value_borders(target_sum)
    expected = np.linspace(0, np.log1p(target_sum), 2049)[1:-1]
    np.testing.assert_allclose(np.log1p(borders), expected, rtol=1e-10)


@given(TARGETS, st.lists(st.tuples(st.integers(0, 2046), st.sampled_from([-1, 0, 1])), max_size=20), st.floats(0, 1))
def test_steps_are_decided_by_comparison(target_sum, near, share):
    # on a border, and next to it on both sides
    borders = value_borders(target_sum)
    values = [np.nextafter(borders[i], np.inf * side) if side else borders[i] for i, side in near]
    values = np.array([*values, share * target_sum, 0.0, target_sum, 7 * target_sum])
    assert value_step(values, target_sum).tolist() == np.searchsorted(borders, values, side="right").tolist()


@given(CELLS, TARGETS)
def test_every_value_and_cell_is_counted_in_its_step(cells, target_sum):
    table = DepthTable.of(*arrays(cells), target_sum)
    values, depths = np.zeros((256, 2048), np.int64), np.zeros(256, np.int64)
    for cell in filter(None, cells):
        depth = sum(border <= sum(cell) for border in depth_borders().tolist())
        depths[depth] += 1
        for count in cell:
            values[depth, np.searchsorted(value_borders(target_sum), count / sum(cell) * target_sum, side="right")] += 1
    assert np.array_equal(table.values, values)
    assert np.array_equal(table.cells, depths)


@settings(max_examples=30)
@given(st.lists(CELLS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_parts_merge_in_any_order(parts, random):
    whole = DepthTable.of(*arrays([cell for part in parts for cell in part]))
    tables = [DepthTable.of(*arrays(part)) for part in parts]
    random.shuffle(tables)
    merged = DepthTable.merge(
        [DepthTable.merge(tables[:1]), DepthTable.merge([DepthTable.of(*arrays([])), *tables[1:]])]
    )
    assert np.array_equal(merged.values, whole.values)
    assert np.array_equal(merged.cells, whole.cells)
    assert merged.target_sum == whole.target_sum


def test_tables_of_different_scale_do_not_merge():
    with pytest.raises(ValueError, match=r"target sums \[1000\.0, 10000\.0\]"):
        DepthTable.merge([DepthTable.of(*arrays([[1]]), target) for target in (1e4, 1e3)])


@pytest.mark.parametrize("target_sum", [1e4, 1e6])
@pytest.mark.parametrize("n_bins", [3, 11, 51])
def test_edges_are_the_quantiles_of_the_values(n_bins, target_sum):
    indptr, counts, total = corpus()
    edges = fit_edges(DepthTable.of(indptr, counts, total, target_sum), n_bins)
    values = np.log1p(counts / np.repeat(total, np.diff(indptr)) * target_sum)
    expected = np.quantile(values, np.arange(1, n_bins - 1) / (n_bins - 1))
    assert edges.shape == (n_bins - 2,)
    np.testing.assert_allclose(edges, expected, atol=np.log1p(target_sum) / 2048)
    shares = np.bincount(np.searchsorted(edges, values, side="right"), minlength=n_bins - 1) / len(values)
    assert abs(shares * (n_bins - 1) - 1).max() < 0.25


def test_edges_of_strata_are_quantiles_among_their_cells():
    indptr, counts, total = corpus()
    fitted = fit_depth_edges(DepthTable.of(indptr, counts, total), 21, 8, min_cells=50)
    stratum = np.searchsorted(fitted.borders, total, side="right")
    assert fitted.edges.shape == (8, 19)
    assert abs(np.bincount(stratum) / len(total) * 8 - 1).max() < 0.25
    values = np.log1p(counts / np.repeat(total, np.diff(indptr)) * 1e4)
    for s, edges in enumerate(fitted.edges):
        own = values[np.repeat(stratum, np.diff(indptr)) == s]
        np.testing.assert_allclose(edges, np.quantile(own, np.arange(1, 20) / 20), atol=np.log1p(1e4) / 2048)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 10**8), min_size=1, max_size=60), st.integers(1, 20), st.integers(1, 30))
def test_no_stratum_is_too_small_and_none_is_lost(depths, n_strata, min_cells):
    # a cell of that depth in one gene; each stratum has edges, whatever the depths are
    indptr, counts, total = arrays([[depth] for depth in depths])
    fitted = fit_depth_edges(DepthTable.of(indptr, counts, total), 5, n_strata, min_cells)
    assert len(fitted.borders) == len(fitted.edges) - 1 < n_strata
    assert (np.diff(fitted.borders) > 0).all()
    cells = np.bincount(np.searchsorted(fitted.borders, total, side="right"), minlength=len(fitted.edges))
    assert cells.min() >= min(min_cells, len(depths))
    assert (np.diff(fitted.edges, axis=1) >= 0).all()
    assert np.isfinite(fitted.edges).all()


def test_a_small_stratum_joins_its_smaller_neighbour():
    table = DepthTable.of(*arrays([[100]] * 40 + [[1000]] * 9 + [[10_000]] * 30 + [[10**6]] * 40))
    # between two depths the first border serves: 100, 1000 and 10,000 in steps of 6 %
    assert fit_depth_edges(table, 4, 13, min_cells=9).borders.tolist() == [106, 1060, 10593]
    assert fit_depth_edges(table, 4, 13, min_cells=10).borders.tolist() == [106, 10593]
    assert fit_depth_edges(table, 4, 13, min_cells=40).borders.tolist() == [10593]
    assert fit_depth_edges(table, 4, 13, min_cells=41).borders.tolist() == []


def test_cells_without_counts_of_the_vocabulary_are_cells():
    # total_counts counts genes outside the vocabulary: such a stratum has cells and no value, and joins its neighbour
    indptr, counts = np.array([0, 0, 0, 1, 2, 2]), np.array([5, 5], np.int32)
    table = DepthTable.of(indptr, counts, np.array([50, 50, 5000, 5000, 0]))
    assert table.cells.sum() == 4
    assert table.values.sum() == 2
    assert fit_depth_edges(table, 4, 2, min_cells=1).borders.tolist() == []


def test_several_edges_in_one_step_where_a_value_is_frequent():
    edges = fit_edges(DepthTable.of(*arrays([[1, 1, 1, 1]] * 10)), 6)
    value = 2500.0
    step = value_step(np.array([value]), 1e4)[0]
    width = np.log1p(1e4) / 2048
    assert ((step * width <= edges) & (edges <= (step + 1) * width)).all()
    assert (np.diff(edges) > 0).all()


def test_no_value_no_edges():
    empty = DepthTable.of(*arrays([[], []]))
    with pytest.raises(TokenizerError, match="there is none"):
        fit_edges(empty, 51)
    with pytest.raises(TokenizerError, match="there is none"):
        fit_depth_edges(empty, 51)
