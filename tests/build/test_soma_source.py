"""The same cells, as h5ad and as a SOMA experiment, make the same set."""

import anndata
import numpy as np
import pytest

import scdata
from scdata.resources import resource
from scdata.shard.shard_set import ShardSet

ARGUMENTS = {"splits": ["val=0.1"], "shard_size": 1 << 16, "block_size": 128, "dataset_column": "tissue"}


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("soma")
    path = resource("demo/demo_pbmc_ifnb_1k.h5ad")
    tiledbsoma_io = pytest.importorskip("tiledbsoma.io")
    adata = anndata.read_h5ad(path)
    tiledbsoma_io.from_anndata(str(folder / "exp"), adata, measurement_name="RNA", X_layer_name="raw")
    manifests = [
        scdata.build_shards(path, folder / "h5ad", **ARGUMENTS),
        scdata.build_shards(folder / "exp", folder / "soma", layer="raw", **ARGUMENTS),
    ]
    return folder, manifests


def test_content_and_obs_are_equal(two_sets):
    folder, (h5ad, soma) = two_sets
    assert soma["content_hash"] == h5ad["content_hash"]
    assert soma["obs"] == h5ad["obs"]
    assert soma["genes_sha256"] == h5ad["genes_sha256"]
    for split in ("train", "val"):
        tables = [ShardSet(folder / name).read_obs(split) for name in ("h5ad", "soma")]
        assert tables[0].to_pylist() == tables[1].to_pylist()
    assert scdata.verify_shards(folder / "soma").ok


def test_shards_are_the_same_files(two_sets):
    _, (h5ad, soma) = two_sets
    assert len(h5ad["shards"]) > 3
    assert [shard["sha256"] for shard in soma["shards"]] == [shard["sha256"] for shard in h5ad["shards"]]


def test_what_differs_is_where_the_cells_came_from(two_sets):
    folder, (h5ad, soma) = two_sets
    differing = {key for key in h5ad if h5ad[key] != soma[key]}
    assert differing <= {"config", "config_sha256", "sources", "files"}
    assert soma["config"]["layer"] == "raw"
    assert soma["sources"][0]["name"] == "exp"
    measured = [ShardSet(folder / name).measured for name in ("h5ad", "soma")]
    assert np.array_equal(*measured)
