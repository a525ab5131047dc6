"""10x .h5 files: the same cells as from h5ad, and what is refused."""

import anndata
import h5py
import numpy as np
import pytest
import scanpy as sc

import scdata
from scdata._errors import SourceError
from scdata.resources import resource
from scdata.source import TenxSource, open_source


@pytest.fixture
def demo():
    return anndata.read_h5ad(resource("demo/demo_pbmc_ifnb_1k.h5ad"))


def write(path, demo, *, old=False, antibodies=0):
    """The demo cells in the layout of Cell Ranger 3 or, `old`, 2; antibodies come before the genes."""
    ids = np.where(demo.var["ensembl_id"] == "", demo.var_names, demo.var["ensembl_id"]).astype("S")
    names = demo.var_names.to_numpy().astype("S")
    x = demo.X.tocsr()
    other = np.arange(antibodies).astype("S")
    with h5py.File(path, "w") as file:
        group = file.create_group("GRCh38" if old else "matrix")
        group["barcodes"] = demo.obs_names.to_numpy().astype("S")
        lengths = np.diff(x.indptr) + antibodies
        group["indptr"] = np.concatenate([[0], np.cumsum(lengths)])
        first, cells = np.arange(antibodies), [x[i] for i in range(demo.n_obs)]
        rows = [np.concatenate([first, cell.indices + antibodies]) for cell in cells]
        values = [np.concatenate([np.full(antibodies, 9), cell.data]) for cell in cells]
        group["indices"] = np.concatenate(rows).astype(np.int64)
        group["data"] = np.concatenate(values).astype(np.int32)
        group["shape"] = np.array([demo.n_vars + antibodies, demo.n_obs], np.int32)
        if old:
            group["genes"], group["gene_names"] = ids, names
        else:
            features = group.create_group("features")
            features["id"], features["name"] = np.concatenate([other, ids]), np.concatenate([other, names])
            kinds = [b"Antibody Capture"] * antibodies + [b"Gene Expression"] * len(ids)
            features["feature_type"] = np.array(kinds)
            features["genome"] = np.array([b"GRCh38"] * len(kinds))
    return path


@pytest.mark.parametrize("layout", [{}, {"old": True}, {"antibodies": 3}])
def test_the_shards_are_those_of_the_h5ad(demo, tmp_path, layout):
    path = write(tmp_path / "filtered_feature_bc_matrix.h5", demo, **layout)
    source = open_source(path)
    assert isinstance(source, TenxSource)
    assert source.notes == (("3 features that are no genes are left out",) if layout.get("antibodies") else ())
    assert source.read(slice(5, 7)).obs_names.to_pylist() == demo.obs_names[5:7].tolist()
    own = scdata.build_shards(path, tmp_path / "own", obs=[], splits=["val=0.1"])
    reference = scdata.build_shards(
        resource("demo/demo_pbmc_ifnb_1k.h5ad"), tmp_path / "h5ad", obs=[], splits=["val=0.1"]
    )
    assert own["content_hash"] == reference["content_hash"]
    assert [shard["sha256"] for shard in own["shards"]] == [shard["sha256"] for shard in reference["shards"]]


def test_scanpy_reads_the_same(demo, tmp_path):
    path = write(tmp_path / "ten.h5", demo)
    expected = sc.read_10x_h5(path)
    block = open_source(path).read(slice(0, demo.n_obs))
    assert (block.data == expected.X.data).all()
    assert (block.indices == expected.X.indices).all()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("shape", [5, 5], "features and barcodes have"),
        ("indptr", None, "cannot be read"),
        ("features/feature_type", "none", "0 of 14053 features are of type 'Gene Expression'"),
    ],
)
def test_damaged_files_are_named(demo, tmp_path, key, value, message):
    path = write(tmp_path / "ten.h5", demo)
    with h5py.File(path, "r+") as file:
        n = len(file["matrix/features/id"])
        del file[f"matrix/{key}"]
        if value == "none":
            file[f"matrix/{key}"] = np.array([b"Peaks"] * n)
        elif value is not None:
            file[f"matrix/{key}"] = np.array(value)
    with pytest.raises(SourceError, match=message):
        open_source(path)


def test_a_feature_out_of_range_is_named_with_its_cells(demo, tmp_path):
    path = write(tmp_path / "ten.h5", demo)
    with h5py.File(path, "r+") as file:
        file["matrix/indices"][0] = demo.n_vars
    with pytest.raises(SourceError, match=r"feature 14053 in cells 0:10 is outside its 14053 features"):
        open_source(path).read(slice(0, 10))
    with h5py.File(path, "r+") as file:
        file.copy("matrix", "GRCm38")
    with pytest.raises(SourceError, match="2 matrices"):
        open_source(path)


def test_a_file_in_a_bucket(demo, s3, tmp_path):
    near = TenxSource(write(tmp_path / "cells.h5", demo, antibodies=3))
    uri = s3.upload(tmp_path / "cells.h5", "tenx/cells.h5")
    far = open_source(uri, endpoint=s3.endpoint, region=s3.region)
    assert isinstance(far, TenxSource)
    assert far.var.equals(near.var)
    assert far.fingerprint([]) == near.fingerprint([])
    here, there = near.read(slice(100, 300)), far.read(slice(100, 300))
    assert all(np.array_equal(getattr(here, name), getattr(there, name)) for name in ("indptr", "indices", "data"))
    assert here.obs_names.equals(there.obs_names)
