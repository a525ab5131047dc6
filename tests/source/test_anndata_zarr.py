import pickle
import shutil
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

import scdata
from scdata import _storage
from scdata._errors import LayerNotFoundError, NotCountsError, SourceError, StorageError
from scdata.resources import resource
from scdata.source import H5adSource, SourceOptions, ZarrSource, open_sources

DEMO = Path(resource("demo/demo_pbmc_ifnb_1k.h5ad"))
COUNTS = np.array([[0, 1, 70_000, 0], [0, 0, 0, 0], [2, 0, 3, 4], [0, 0, 0, 9], [5, 0, 0, 0]], np.float32)


def write(path, adata, version=3, chunks=None, shards=None):
    """Write AnnData as zarr; `chunks` and `shards` entries of each array of X and the like."""

    def small(write, group, key, item, *, dataset_kwargs, iospec):
        more = {}
        if chunks is not None and iospec.encoding_type in ("csr_matrix", "array", "string-array"):
            rest = getattr(item, "shape", ())[1:] if iospec.encoding_type == "array" else ()
            more = {"chunks": (chunks, *rest), **({"shards": (shards, *rest)} if shards else {})}
        write(group, key, item, dataset_kwargs={**dataset_kwargs, **more})

    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=version):
        warnings.simplefilter("ignore")
        group = zarr.open_group(str(path), mode="w", zarr_format=version)
        anndata.experimental.write_dispatched(group, "/", adata, callback=small)
    return str(path)


def table(x, **more):
    obs = pd.DataFrame(index=[f"c{i}" for i in range(x.shape[0])])
    return anndata.AnnData(x, obs, pd.DataFrame(index=[f"g{i}" for i in range(x.shape[1])]), **more)


def dense(block):
    counts = (block.data.astype(np.int64), block.indices, block.indptr)
    return sp.csr_array(counts, shape=(block.n_cells, len(block.genes))).toarray()


def equal(a, b):
    arrays = all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("indptr", "indices", "data", "dataset", "rows"))
    return arrays and a.obs.equals(b.obs) and a.obs_names.equals(b.obs_names)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo cells in both formats, format 3 in shards."""
    folder, adata = tmp_path_factory.mktemp("zarr"), anndata.read_h5ad(DEMO)
    write(folder / "v3.zarr", adata, 3, 40_000, 120_000)
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=2):
        warnings.simplefilter("ignore")
        adata.write_zarr(folder / "v2.zarr")
    return folder


@pytest.mark.parametrize("name", ["v2.zarr", "v3.zarr"])
def test_the_demo_cells_read_as_from_h5ad(demo, name):
    oracle, source = H5adSource(DEMO), scdata.open_source(demo / name)
    assert isinstance(source, ZarrSource)
    assert (source.name, source.notes) == (name, ())
    assert source.var.equals(oracle.var)
    assert source.obs_schema.equals(oracle.obs_schema)
    columns = oracle.obs_schema.names
    for start in (*range(0, 1000, 97), 990, 0, 500, 499):
        rows = slice(start, min(start + 97, 1000))
        assert equal(source.read(rows, columns), oracle.read(rows, columns))
        assert (source.row_nnz(rows) == oracle.row_nnz(rows)).all()
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 1000
    assert copy.fingerprint(["condition"]) == source.fingerprint(["condition"])
    assert copy.stat() == source.stat()


def test_a_build_gives_the_bytes_of_the_h5ad(demo, tmp_path):
    arguments = {"splits": ["val=0.1:condition"], "shard_size": 1 << 16, "block_size": 128}
    near = scdata.build_shards(DEMO, tmp_path / "h5ad", **arguments)
    found = scdata.build_shards(demo / "v3.zarr", tmp_path / "zarr", **arguments)
    assert [shard["sha256"] for shard in found["shards"]] == [shard["sha256"] for shard in near["shards"]]


def test_a_store_in_a_bucket(demo, s3, tmp_path, monkeypatch):
    where = {"endpoint": s3.endpoint, "region": s3.region}
    uri = s3.upload(demo / "v3.zarr", "zarr/corpus/v3.zarr")
    near, far = ZarrSource(demo / "v3.zarr"), scdata.open_source(uri, **where)
    assert (far.name, far.uri) == ("v3.zarr", uri)
    assert equal(near.read(slice(300, 700), ["condition"]), far.read(slice(300, 700), ["condition"]))
    assert far.fingerprint([]) == near.fingerprint([])
    arguments = {"shard_size": 1 << 16, "block_size": 128}
    expected = scdata.build_shards(near.uri, tmp_path / "near", **arguments)
    assert scdata.build_shards(uri, tmp_path / "far", **where, **arguments)["shards"] == expected["shards"]
    assert (tmp_path / "far" / "manifest.json").read_bytes() == (tmp_path / "near" / "manifest.json").read_bytes()
    pattern = f"s3://{s3.bucket}/zarr/corpus/*.zarr"
    assert [source.uri for source in open_sources(pattern, SourceOptions(storage=far.storage))] == [uri]
    monkeypatch.setattr(_storage, "_ATTEMPTS", 1)
    with pytest.raises(StorageError, match=r"s3://cells/zarr/corpus/v3.zarr: .*check the address"):
        scdata.open_source(uri, endpoint="http://127.0.0.1:9", region="eu-west-1")


@pytest.mark.parametrize("version", [2, 3])
def test_every_kind_of_obs_column(tmp_path, version):
    obs = {
        "cat": pd.Categorical(["a", None, "b", "a", "b"]),
        "intcat": pd.Categorical([3, 1, 3, None, 1]),
        "text": ["x", "y", "", "ü", "z"],
        "flag": [True, False, True, True, False],
        "age": [1.5, 2, 3, 4, 5],
        "maybe": pd.array([1, None, 3, 4, 5], "Int64"),
        "maybe_flag": pd.array([True, None, False, True, True], "boolean"),
        "maybe_text": pd.arrays.StringArray(np.array(["p", pd.NA, "q", "r", "s"], object)),
        "n": np.arange(5, dtype=np.int16),
    }
    adata = table(sp.csr_matrix(COUNTS))
    adata.obs = pd.DataFrame(obs, index=adata.obs_names)
    with anndata.settings.override(allow_write_nullable_strings=True):
        adata.strings_to_categoricals = lambda *_: None
        near = tmp_path / "a.h5ad"
        adata.write_h5ad(near, convert_strings_to_categoricals=False)
        source = ZarrSource(write(tmp_path / "a.zarr", adata, version))
    oracle = H5adSource(near)
    assert source.obs_schema.equals(oracle.obs_schema)
    assert source.obs(slice(1, 5), list(obs)).equals(oracle.obs(slice(1, 5), list(obs)))
    assert source.obs(slice(0, 2), ["maybe_text"])["maybe_text"].to_pylist() == ["p", None]


@pytest.mark.parametrize("chunks", [None, 1, 2, 3, 7])
@pytest.mark.parametrize("kind", [sp.csr_matrix, np.asarray])
def test_any_slices_of_any_chunks(tmp_path, kind, chunks):
    source = ZarrSource(write(tmp_path / "a.zarr", table(kind(COUNTS)), 3, chunks))
    for start in (0, 2, 1, 4, 5, 3):
        for stop in range(start, 6):
            assert (dense(source.read(slice(start, stop))) == COUNTS[start:stop]).all()


def test_layers_and_raw(tmp_path):
    adata = table(sp.csr_matrix(np.log1p(COUNTS)), layers={"counts": COUNTS})
    adata.raw = table(sp.csr_matrix(COUNTS + 1))
    source = ZarrSource(write(tmp_path / "a.zarr", adata))
    assert source.notes == ("a.zarr: X is not counts; raw.X is used",)
    assert (dense(source.read(slice(1, 3))) == COUNTS[1:3] + 1).all()
    assert (dense(ZarrSource(source.uri, "counts").read(slice(0, 5))) == COUNTS).all()
    with pytest.raises(NotCountsError, match="not a whole number"):
        ZarrSource(source.uri, "X").read(slice(0, 5))
    with pytest.raises(LayerNotFoundError, match=r"no layer 'count'; there are: counts, X, raw\.X"):
        _ = ZarrSource(source.uri, "count").n_obs


def test_what_is_no_source(tmp_path):
    with pytest.raises(
        SourceError, match=r"stored by columns \(CSC\).*anndata.read_zarr\(.*a.write_zarr\('NEW.zarr'\)"
    ):
        _ = ZarrSource(write(tmp_path / "csc.zarr", table(sp.csc_matrix(COUNTS)))).n_obs
    zarr.open_group(str(tmp_path / "other.zarr"), mode="w")
    with pytest.raises(SourceError, match="a zarr store but no AnnData: it has no 'obs'"):
        scdata.open_source(tmp_path / "other.zarr")
    with pytest.raises(SourceError, match="no folder there"):
        _ = ZarrSource(tmp_path / "none.zarr").n_obs


def read_all(source):
    return [source.read(slice(start, start + 50)) for start in range(0, source.n_obs, 50)]


@pytest.mark.parametrize("name", ["data", "indices", "indptr"])
@pytest.mark.parametrize("how", ["gone", "cut", "noise"])
def test_damaged_chunks_are_named(tmp_path, demo, name, how):
    shutil.copytree(demo / "v3.zarr", tmp_path / "a.zarr")
    chunk = tmp_path / "a.zarr" / "X" / name / "c" / "0"
    data = chunk.read_bytes()
    if how == "gone":
        chunk.unlink()
    else:
        chunk.write_bytes(data[: len(data) // 2] if how == "cut" else data[:100] + bytes(200) + data[300:])
    with pytest.raises((SourceError, NotCountsError), match=r"a\.zarr"):
        read_all(ZarrSource(tmp_path / "a.zarr"))
