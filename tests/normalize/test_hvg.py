import functools
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from scdata._errors import TokenizerError
from scdata.normalize.hvg_seurat import _equal_width_bins, _normalized_dispersion, normalized_moments, select_seurat
from scdata.normalize.hvg_seurat_v3 import VarianceTrend, moments_below_clip, select_seurat_v3
from scdata.normalize.moments import GeneMoments
from scdata.resources import resource


def read(path, column=None):
    """Counts of an h5ad file, and codes of one of its obs columns."""
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = anndata.read_h5ad(path)
    X = sp.csr_matrix(data.X).astype(np.int32)
    X.eliminate_zeros()
    X.sort_indices()
    return X, None if column is None else data.obs[column].astype("category").cat.codes.to_numpy(np.int32)


def demo(column=None):
    return read(resource("demo/demo_pbmc_ifnb_1k.h5ad"), column)


def sampled(n_cells=700, n_genes=400, seed=0):
    """Overdispersed counts of two batches that differ, some of them huge."""
    rng = np.random.default_rng(seed)
    batch = rng.integers(0, 2, n_cells).astype(np.int32)
    rates = rng.lognormal(0, 1.5, (2, n_genes)) * 0.5
    X = rng.poisson(rates[batch] * rng.gamma(2, 0.5, (n_cells, n_genes)))
    X[rng.integers(0, n_cells, 3), rng.integers(0, n_genes, 3)] = 2**31 - 1
    X[rng.integers(0, n_cells, 40), rng.integers(0, n_genes, 40)] += 90
    X[:, 7] = 0
    return sp.csr_matrix(X.astype(np.int32)), batch


def pieces(X, batch, seed=0):
    """Arguments of the kernels for some cells at a time, in any order."""
    total = np.asarray(X.sum(axis=1, dtype=np.int64)).ravel()
    order = np.random.default_rng(seed).permutation(X.shape[0])
    for rows in np.array_split(order, 5):
        own = X[rows]
        csr = own.indptr.astype(np.int64), own.indices.astype(np.int32), own.data
        yield csr, total[rows], None if batch is None else batch[rows]


def seurat_v3(X, batch=None, seed=0):
    """Normalized variances by two passes."""
    n = X.shape[1]
    first = GeneMoments.merge([GeneMoments.of(*csr, n, own) for csr, _, own in pieces(X, batch, seed)])
    trend = VarianceTrend.fit(first)
    below = [moments_below_clip(*csr, trend, own) for csr, _, own in pieces(X, batch, seed + 1)]
    return trend.normalized_variance(GeneMoments.merge(below))


def seurat(X, batch=None):
    parts = [normalized_moments(*csr, total, X.shape[1], own) for csr, total, own in pieces(X, batch)]
    return GeneMoments.merge(parts)


def scanpy_genes(X, batch, flavor, n_top, stable=True):
    """What scanpy takes. Stable: with a sort that keeps the order of equal genes, which its own leaves to the processor."""
    import anndata

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        import scanpy

        names = [f"{i:06d}" for i in range(X.shape[1])]
        data = anndata.AnnData(X.astype(np.float64), var=pd.DataFrame(index=names))
        if batch is not None:
            data.obs["batch"] = pd.Categorical([f"b{code}" for code in batch])
        if flavor == "seurat":
            scanpy.pp.normalize_total(data, target_sum=1e4)
            scanpy.pp.log1p(data)
        if stable:
            patch.setattr(np, "argsort", functools.partial(np.argsort, kind="stable"))
        key = None if batch is None else "batch"
        found = scanpy.pp.highly_variable_genes(data, flavor=flavor, n_top_genes=n_top, batch_key=key, inplace=False)
    return np.flatnonzero(found["highly_variable"].loc[names]).tolist()


@pytest.mark.parametrize("n_top", [50, 1000, 2000, 20_000])
def test_seurat_v3_takes_the_genes_that_scanpy_takes(n_top):
    X, _ = demo()
    found = select_seurat_v3(seurat_v3(X), n_top)
    assert found.dtype == np.int32
    assert found.tolist() == scanpy_genes(X, None, "seurat_v3", n_top)


@pytest.mark.parametrize("n_top", [1000, 2000])
def test_seurat_v3_differs_from_an_unstable_sort_only_in_equal_genes(n_top):
    X, _ = demo()
    variance = seurat_v3(X)
    differ = set(select_seurat_v3(variance, n_top).tolist()) ^ set(
        scanpy_genes(X, None, "seurat_v3", n_top, stable=False)
    )
    last = -np.sort(-variance[0])[n_top - 1]
    assert all(variance[0, gene] == last for gene in differ)
    assert len(differ) / 2 <= 0.01 * n_top


@pytest.mark.parametrize("n_top", [20, 100, 350])
def test_seurat_v3_with_batches_and_huge_counts(n_top):
    X, batch = sampled()
    assert select_seurat_v3(seurat_v3(X, batch), n_top).tolist() == scanpy_genes(X, batch, "seurat_v3", n_top)


@pytest.mark.parametrize("n_top", [50, 1000, 2000])
@pytest.mark.parametrize("column", [None, "condition"])
def test_seurat_takes_the_genes_that_scanpy_takes(n_top, column):
    X, batch = demo(column)
    found = select_seurat(seurat(X, batch), n_top)
    assert found.dtype == np.int32
    assert found.tolist() == scanpy_genes(X, batch, "seurat", n_top)


@pytest.mark.parametrize("n_top", [1, 2, 3, 5, 8, 13, 40, 150])
def test_seurat_with_batches_and_equal_genes(n_top):
    X, batch = sampled(seed=n_top)
    X = sp.csr_matrix(sp.hstack([X[:, :60], X[:, 30:90], X[:, 40:50]]))
    assert select_seurat(seurat(X, batch), n_top).tolist() == scanpy_genes(X, batch, "seurat", n_top)


@pytest.mark.parametrize("n_top", [1000, 2000])
@pytest.mark.parametrize(
    ("name", "column", "flavors"),
    [
        ("human_pbmc_1k_v3", None, ("seurat_v3", "seurat")),
        ("human_pancreas_baron", None, ("seurat_v3", "seurat")),
        ("human_pancreas_baron", "donor_id", ("seurat",)),  # its batches are too small for scanpy's loess too
        ("human_lung_cell_lines_celseq2", "batch", ("seurat_v3", "seurat")),
        ("human_pbmc_ifnb_14k", "condition", ("seurat_v3", "seurat")),
    ],
)
def test_real_sets_give_the_genes_that_scanpy_gives(shared_data, name, column, flavors, n_top):
    X, batch = read(shared_data / f"{name}.h5ad", column)
    for flavor in flavors:
        found = (
            select_seurat_v3(seurat_v3(X, batch), n_top)
            if flavor == "seurat_v3"
            else select_seurat(seurat(X, batch), n_top)
        )
        assert found.tolist() == scanpy_genes(X, batch, flavor, n_top)


@pytest.mark.parametrize("with_batches", [True, False])
def test_order_of_cells_and_parts_changes_nothing(with_batches):
    X, batch = sampled(n_cells=300)
    batch = batch if with_batches else None
    once, again = seurat_v3(X, batch, seed=1), seurat_v3(X, batch, seed=9)
    assert once.tolist() == again.tolist()


def test_normalized_variance_as_defined():
    X, batch = sampled()
    found = seurat_v3(X, batch)
    moments = GeneMoments.merge([GeneMoments.of(*csr, X.shape[1], own) for csr, _, own in pieces(X, batch)])
    trend = VarianceTrend.fit(moments)
    for b in range(2):
        cells = X.toarray()[batch == b].astype(np.float64)
        clipped = np.minimum(cells, cells.mean(0) + trend.sd[b] * np.sqrt(len(cells)))
        expected = ((clipped - cells.mean(0)) ** 2).sum(0) / (len(cells) - 1) / trend.sd[b] ** 2
        np.testing.assert_allclose(found[b], expected, rtol=1e-9, atol=1e-12)
    assert (X.toarray() >= trend.clip[batch]).any()
    assert (found[:, 7] == 0).all()


def test_a_count_at_the_clip_counts_as_the_clip():
    trend = VarianceTrend(np.zeros(1, np.int32), np.array([4]), np.array([[3]]), np.array([[2.0]]), np.array([[1.0]]))
    assert trend.clip.tolist() == [[4.0]]
    indptr, genes, counts = np.array([0, 1, 2, 3, 3]), np.zeros(3, np.int32), np.array([3, 4, 9], np.int32)
    below = moments_below_clip(indptr, genes, counts, trend)
    assert (below.n_cells.tolist(), below.expressing.tolist(), below.total.tolist()) == ([4], [[1]], [[3]])
    # (1 + 4 + 4 + 4) / 3: 3, 4, 4 and 0 about the mean 2
    assert trend.normalized_variance(below).tolist() == [[13 / 3]]


def test_passes_over_different_cells_are_refused():
    X, _ = sampled()
    csr = X.indptr.astype(np.int64), X.indices.astype(np.int32), X.data
    trend = VarianceTrend.fit(GeneMoments.of(*csr, X.shape[1]))
    shorter = moments_below_clip(csr[0][:-1], csr[1][: csr[0][-2]], csr[2][: csr[0][-2]], trend)
    with pytest.raises(ValueError, match="699 cells in the second pass, 700 others in the first"):
        trend.normalized_variance(shorter)


@pytest.mark.parametrize("n_genes", [0, 1, 3, 15, 19, 300])
def test_too_little_for_a_local_regression_says_what_to_do(n_genes):
    # below 20 genes the fit is not tried: skmisc may crash; 300 genes of few cells have too few different means
    X = np.zeros((3, n_genes + 5), np.int32)
    X[:, :n_genes] = np.random.default_rng(0).integers(0, 2, (3, n_genes))
    X[0, :n_genes], X[1, :n_genes] = 1, 0
    X = sp.csr_matrix(X)
    with pytest.raises(
        TokenizerError, match=rf"the corpus: .* fails on its {n_genes} genes .* use flavor = \"seurat\""
    ):
        seurat_v3(X)


def test_genes_without_a_dispersion_are_not_taken():
    X = sp.csr_matrix(np.array([[1, 0, 5, 2, 0], [3, 0, 1, 2, 0], [0, 0, 0, 9, 1]], np.int32))
    assert select_seurat(seurat(X), 5).tolist() == [0, 2, 3, 4]
    nothing = sp.csr_matrix(np.zeros((3, 4), np.int32))
    assert select_seurat(seurat(nothing), 2).tolist() == []
    assert select_seurat(seurat(sp.csr_matrix((3, 0), dtype=np.int32)), 2).tolist() == []


def test_fixed_point_error():
    X, _ = demo()
    moments = seurat(X)
    values = (X / X.sum(axis=1)).toarray() * 1e4
    np.testing.assert_allclose(moments.mean()[0] * 2.0**-20, values.mean(0), rtol=0, atol=2.0**-21)
    np.testing.assert_allclose(moments.variance()[0] * 2.0**-40, values.var(0, ddof=1), rtol=1e-6, atol=1e-12)


def test_totals_that_do_not_cover_the_counts_are_refused():
    csr = np.array([0, 1]), np.zeros(1, np.int32), np.array([700], np.int32)
    assert normalized_moments(*csr, np.array([107]), 1).total.tolist() == [[round(7e6 / 107 * 2**20)]]
    with pytest.raises(TokenizerError, match="a count is 7 times the total of its cell"):
        normalized_moments(*csr, np.array([100]), 1)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40))
def test_bins_of_equal_width_are_those_of_pandas(values):
    x = np.array(values) / 1e5
    cut = pd.cut(pd.Series(x), bins=20).cat.codes.to_numpy()
    own = _equal_width_bins(x)
    if np.ptp(x):
        assert own.tolist() == cut.tolist()
    else:
        assert len(set(own)) == len(set(cut)) == 1


def test_bins_of_equal_width_are_closed_above():
    x = np.arange(21.0)
    assert _equal_width_bins(x).tolist() == pd.cut(pd.Series(x), bins=20).cat.codes.tolist() == [0, *range(20)]


def test_normalized_dispersion_by_hand():
    mean, variance = np.array([1.0, 1.0, 1.0, 500.0, 1.0]), np.array([np.e, np.e**2, np.e**6, 7.0, 0.0])
    found = _normalized_dispersion(mean, variance)
    # 1, 2 and 6 among themselves; one alone in its bin is 1; one that does not vary has none
    np.testing.assert_allclose(found, [*((np.array([1, 2, 6]) - 3) / np.sqrt(7)), 1, np.nan])


def test_selection_over_batches_by_hand():
    # ranks: gene 0: 0, 3; 1: 1, 0; 2: 2, 1; 3: 3, 2
    variance = np.array([[9.0, 8.0, 7.0, 6.0], [1.0, 4.0, 3.0, 2.0]])
    assert select_seurat_v3(variance, 1).tolist() == [0]  # 0 and 1 are both first once; the lower index
    assert select_seurat_v3(variance, 2).tolist() == [0, 1]  # 0: median 0 of one batch; 1: median 0.5
    assert select_seurat_v3(variance, 3).tolist() == [0, 1, 2]
    assert select_seurat_v3(variance, 9).tolist() == [0, 1, 2, 3]
    # gene 2 is first everywhere; 0 and 1 are second, in one batch and in two
    variance = np.array([[8.0, 1.0, 9.0], [1.0, 8.0, 9.0], [1.0, 8.0, 9.0]])
    assert select_seurat_v3(variance, 2).tolist() == [1, 2]
    ties = np.array([[1.0, 5.0, 5.0, 5.0]])
    assert select_seurat_v3(ties, 2).tolist() == [1, 2]
