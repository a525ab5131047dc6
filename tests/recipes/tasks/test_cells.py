import numpy as np
import pytest
import scanpy
from tasks.cells import Cells, read_cells
from tasks.parameter_free import depth, pca, random, variable_genes

import scdata
from scdata.resources import resource


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory):
    """Sets whose genes are not the same, and whose ids are."""
    out = tmp_path_factory.mktemp("two")
    for name, n_genes in (("a", 60), ("b", 80)):
        scdata.build_shards(f"synthetic:cells=200,genes={n_genes}", out / name)
    return [str(out / "a"), str(out / "b")]


def test_cells_of_all_splits_are_those_of_the_set(demo: Cells, demo_set) -> None:
    assert len(demo) == 1000
    assert demo.obs["cell_id"].tolist() == list(range(1000))
    assert demo.whole
    assert demo.notes == []
    val = scdata.to_anndata(demo_set, split="val")
    np.testing.assert_array_equal(demo.counts[val.obs["cell_id"].to_numpy()].toarray(), val.X.toarray())
    assert demo.obs["obs_name"][val.obs["cell_id"].iloc[0]] == val.obs_names[0]


def test_log_normalized_as_scanpy_does(demo: Cells) -> None:
    ours = scanpy.AnnData(demo.counts.astype(np.float32))
    scanpy.pp.normalize_total(ours, target_sum=1e4)
    scanpy.pp.log1p(ours)
    np.testing.assert_allclose(demo.log_normalized.data, ours.X.data, rtol=1e-5)


def test_variable_genes_are_those_of_scanpy(demo: Cells) -> None:
    ours = scanpy.AnnData(demo.log_normalized, uns={"log1p": {"base": None}})
    scanpy.pp.highly_variable_genes(ours, n_top_genes=500, flavor="seurat")
    expected = np.flatnonzero(ours.var["highly_variable"])
    found = variable_genes(demo.log_normalized, 500)
    assert len(found) == 500
    # bins are set on all genes there, on the expressed ones here
    assert len(np.intersect1d(found, expected)) > 495


def test_what_is_fitted_sees_training_cells_only(demo: Cells) -> None:
    train = np.arange(0, 1000, 2)
    other = demo.take(np.arange(1000))
    rows = np.arange(1, 1000, 2)
    # the test cells of another data set altogether
    counts = demo.counts.tolil()
    counts[rows] = demo.counts[rows[::-1]]
    other.counts = counts.tocsr()
    one, two = pca(demo, train, 0), pca(other, train, 0)
    np.testing.assert_allclose(one[train], two[train], atol=1e-3)
    np.testing.assert_allclose(one[rows], two[rows[::-1]], atol=1e-3)


def test_depth_and_random(demo: Cells) -> None:
    np.testing.assert_allclose(np.expm1(depth(demo, None, 0)[:, 0]), demo.obs["total_counts"], rtol=1e-4)
    np.testing.assert_array_equal(random(demo, None, 3), random(demo, None, 3))
    assert not np.array_equal(random(demo, None, 3), random(demo, None, 4))


def test_several_sets_are_compared_on_the_genes_that_all_measured(two_sets: list[str]) -> None:
    cells = read_cells(two_sets)
    assert cells.notes[0] == "60 of 80 genes were measured in every dataset, and only they are used"
    assert [len(ids) for ids in cells.ids] == [scdata.ShardDataset(path).n_cells for path in two_sets]
    second = cells.obs["set"].to_numpy() == 1
    assert cells.obs["set"].is_monotonic_increasing
    assert 0 < second.sum() < len(cells)
    alone = scdata.to_anndata(two_sets[1])
    row = {cell: i for i, cell in enumerate(alone.obs["cell_id"])}
    rows = [row[cell] for cell in cells.obs["cell_id"][second]]
    expected = alone[rows, cells.feature_ids].X.toarray()
    np.testing.assert_array_equal(cells.counts[second].toarray(), expected)


def test_a_sample_is_said_and_the_same_every_time(demo_set) -> None:
    some, again = (read_cells([str(demo_set)], max_cells=200) for _ in range(2))
    assert len(some) == 200
    assert not some.whole
    assert some.notes == ["a fair sample of 200 of 1,000 cells (--max-cells)"]
    assert some.obs["cell_id"].tolist() == again.obs["cell_id"].tolist()


def test_copies_are_left_out(tmp_path) -> None:
    import anndata

    data = anndata.read_h5ad(resource("demo/demo_pbmc_ifnb_1k.h5ad"))[:50]
    twice = anndata.concat([data, data[:3]], merge="same", index_unique="-", keys=["a", "b"])
    twice.write_h5ad(tmp_path / "twice.h5ad")
    scdata.build_shards(tmp_path / "twice.h5ad", tmp_path / "set")
    cells = read_cells([str(tmp_path / "set")])
    assert len(cells) == 50
    assert cells.notes[0].startswith("3 cells with the counts of another cell are left out")


def test_what_is_no_set_is_said(demo_set, tmp_path) -> None:
    with pytest.raises(ValueError, match="no folder of a complete set: build one with scdata build"):
        read_cells([str(tmp_path)])
    with pytest.raises(ValueError, match="has no cells in split 'test': it has 'train', 'val'"):
        read_cells([str(demo_set)], ["test"])
