import anndata
import numpy as np
import pytest

import scdata
from scdata._errors import ScdataError
from scdata.resources import resource
from scdata.shard.cells import reserved_name

DEMO = resource("demo/demo_pbmc_ifnb_1k.h5ad")


@pytest.fixture(scope="module")
def demo_set(tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "demo"
    scdata.build_shards(DEMO, out, splits=["val=0.2"], block_size=64, shard_size=1 << 16)
    return out


@pytest.fixture(scope="module")
def source():
    return anndata.read_h5ad(DEMO)


def assert_same(found, source, names):
    """The cells called so, with the counts and obs of the source, whatever the order of genes."""
    assert found.obs_names.tolist() == names
    theirs = source[names]
    # genes of one id are summed, under the name of the first
    assert (found.X.sum(1) == theirs.X.sum(1)).all()
    names_there = theirs.var_names[theirs.var_names.isin(found.var["var_name"])]
    by_name = dict(zip(found.var["var_name"], range(found.n_vars), strict=True))
    differ = (found.X[:, [by_name[name] for name in names_there]] != theirs[:, names_there].X).nonzero()[1]
    assert len(names_there) > 0.99 * found.n_vars
    assert len(set(differ)) <= theirs.n_vars - found.n_vars
    assert found.X.dtype == np.int32
    assert found.X.has_sorted_indices
    for column, own in theirs.obs.items():
        expected = own.astype(np.uint8) if own.dtype == bool else own
        assert found.obs[reserved_name(column)].astype(str).tolist() == expected.astype(str).tolist()


def test_all_cells_come_back(demo_set, source):
    parts = [scdata.to_anndata(demo_set, split=split) for split in ("train", "val")]
    names = [name for part in parts for name in part.obs_names]
    assert sorted(names) == sorted(source.obs_names)
    for part in parts:
        assert_same(part, source, part.obs_names.tolist())
        assert part.var.loc[part.var_names[3], "token_id"] == 3


def test_some_cells(demo_set, source):
    whole = scdata.to_anndata(demo_set)
    some = scdata.to_anndata(demo_set, subset=100)
    assert_same(some, source, whole.obs_names[:100].tolist())
    column = next(name for name in source.obs if source.obs[name].nunique() == 2)
    value = str(source.obs[column].iloc[0])
    filtered = scdata.to_anndata(demo_set, filter=f"{column} == '{value}'")
    expected = whole.obs_names[whole.obs[column].astype(str) == value]
    assert_same(filtered, source, expected.tolist())


@pytest.mark.parametrize(("chunk_size", "filter"), [(1, None), (150, "n_tokens > 300"), (10**6, None)])
def test_parts_are_the_whole(demo_set, chunk_size, filter):
    whole = scdata.to_anndata(demo_set, filter=filter)
    parts = list(scdata.iter_anndata(demo_set, filter=filter, chunk_size=chunk_size))
    assert all(part.n_obs >= chunk_size for part in parts[:-1])
    joined = anndata.concat(parts, merge="same")
    assert (joined.X != whole.X).nnz == 0
    assert joined.obs.equals(whole.obs)


def test_sets_without_counts_and_wrong_arguments_are_refused(demo_set, tmp_path):
    scdata.build_shards("synthetic:cells=50,genes=30", tmp_path / "ranks", tokenizer="geneformer-v2", assets="fit")
    with pytest.raises(ScdataError, match="holds tokens, not counts"):
        scdata.to_anndata(tmp_path / "ranks")
    with pytest.raises(ValueError, match="no split 'test'"):
        scdata.to_anndata(demo_set, split="test")
    with pytest.raises(ValueError, match="chunk_size = 0"):
        scdata.iter_anndata(demo_set, chunk_size=0)


def test_names_that_are_not_distinct(tmp_path):
    scdata.build_shards([DEMO, DEMO], tmp_path / "twice", block_size=512)
    found = scdata.to_anndata(tmp_path / "twice")
    assert found.obs_names.tolist() == found.obs["cell_id"].astype(str).tolist()
    assert found.n_obs == 2 * len(anndata.read_h5ad(DEMO))
