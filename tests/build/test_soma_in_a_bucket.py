"""A SOMA experiment in a bucket makes the set that its folder makes, also when it is written to meanwhile."""

import json
import shutil

import anndata
import pyarrow as pa
import pytest
import tiledbsoma
import tiledbsoma.io

import scdata
from scdata._errors import PlanChangedError, SourceError, StorageError
from scdata._storage import Storage
from scdata.build import BuildConfig, Progress, plan_build
from scdata.resources import resource
from scdata.source import SomaSource, open_source

ARGUMENTS = {"splits": ["val=0.1"], "shard_size": 1 << 16, "block_size": 128, "dataset_column": "condition"}


@pytest.fixture
def where(s3):
    return {"endpoint": s3.endpoint, "region": s3.region}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("soma") / "exp"
    demo = anndata.read_h5ad(resource("demo/demo_pbmc_ifnb_1k.h5ad"))
    tiledbsoma.io.from_anndata(str(folder), demo, measurement_name="RNA", X_layer_name="raw")
    return folder


@pytest.fixture(scope="module")
def uploaded(experiment, s3):
    return s3.upload(experiment, "soma/exp")


@pytest.fixture(scope="module")
def reference(experiment, tmp_path_factory):
    out = tmp_path_factory.mktemp("reference") / "set"
    scdata.build_shards(experiment, out, **ARGUMENTS)
    return out


def write_a_count(uri, context=None):
    with tiledbsoma.open(uri, context=context) as experiment:
        layer = experiment.ms["RNA"].X["raw"].uri
    with tiledbsoma.SparseNDArray.open(layer, "w", context=context) as x:
        more = {"soma_dim_0": [1, 999], "soma_dim_1": [1, 5], "soma_data": pa.array([60, 70], pa.float32())}
        x.write(pa.table(more))


def test_byte_for_byte(uploaded, reference, where, tree, tmp_path):
    manifest = scdata.build_shards(uploaded, tmp_path / "set", workers=2, **where, **ARGUMENTS)
    assert manifest["sources"][0]["name"] == "exp"
    assert tree(tmp_path / "set") == tree(reference)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_write_after_the_plan_is_not_seen(experiment, reference, where, s3, tree, tmp_path, kind):
    storage, context = Storage(**where), None
    if kind == "bucket":
        uri = s3.upload(experiment, f"soma-{tmp_path.name}/exp")
        context = tiledbsoma.SOMATileDBContext(tiledb_config=storage.tiledb())
    else:
        uri = str(shutil.copytree(experiment, tmp_path / "copy" / "exp"))
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in ARGUMENTS.items()}
    sources, plan = plan_build(BuildConfig(sources=(uri,), out=str(tmp_path / "set"), **where, **arguments), Progress())
    version = sources[0].version
    assert plan.table["sources"][0]["version"] == version
    write_a_count(uri, context)
    later = open_source(uri, **where, dataset_column="condition")
    assert later.version > version
    assert later.stat() != sources[0].stat()
    # the unfinished build goes on with the cells that it was planned with
    scdata.build_shards(uri, tmp_path / "set", **where, **ARGUMENTS)
    assert tree(tmp_path / "set") == tree(reference)
    manifest = scdata.build_shards(uri, tmp_path / "new", **where, **ARGUMENTS)
    assert manifest["total_counts"] == json.loads((reference / "manifest.json").read_text())["total_counts"] + 130
    assert manifest["sources"][0]["version"] == later.version


def test_what_was_deleted_meanwhile_is_named(experiment, tmp_path):
    copy = shutil.copytree(experiment, tmp_path / "exp")
    config = BuildConfig(sources=(str(copy),), out=str(tmp_path / "set"))
    plan_build(config, Progress())
    for path in (copy / "ms/RNA/X/raw").glob("*/*/d0.tdb"):
        path.unlink()
    with pytest.raises((PlanChangedError, SourceError), match=r"exp"):
        scdata.build_shards(copy, tmp_path / "set")


def test_what_is_not_there_and_what_does_not_answer(uploaded, where, s3, monkeypatch):
    with pytest.raises(SourceError, match="not a SOMA experiment"):
        open_source(f"{uploaded}/ms", **where)
    with pytest.raises(SourceError, match="a folder that holds none of them"):
        open_source(f"{uploaded}/obs", **where)
    source = SomaSource(uploaded, storage=Storage(endpoint="http://127.0.0.1:9", region=s3.region))
    with pytest.raises(StorageError, match=r"s3://cells/soma/exp: .*check the address, --endpoint"):
        _ = source.n_obs
    with pytest.raises(SourceError, match=r"s3://cells/soma/none: not found"):
        open_source(f"s3://{s3.bucket}/soma/none", **where)
