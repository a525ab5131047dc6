import itertools
import multiprocessing
import os
import pickle
import tarfile
import warnings

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
import tiledbsoma
import tiledbsoma.io

from scdata import _errors, _jit
from scdata.source import H5adSource, SomaSource
from scdata.source.soma_triples import csr_of_triples

COUNTS = np.array([[0, 1, 70_000, 0], [0, 0, 0, 0], [2, 0, 3, 4], [0, 0, 0, 9], [5, 0, 0, 0]], np.float32)


def dense(block):
    return sp.csr_array(
        (block.data.astype(np.int64), block.indices, block.indptr), shape=(block.n_cells, len(block.genes))
    ).toarray()


def make(folder, adata, layer="raw"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tiledbsoma.io.from_anndata(str(folder), adata, measurement_name="RNA", X_layer_name=layer)
    return str(folder)


def small(x=COUNTS, **obs):
    return anndata.AnnData(
        sp.csr_matrix(x),
        obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(len(x))]),
        var=pd.DataFrame({"symbol": list("wxyz")}, index=[f"g{i}" for i in range(4)]),
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory, shared_data):
    """The demo cells as a SOMA experiment, and their h5ad."""
    path = shared_data / "demo_pbmc_ifnb_1k.h5ad"
    return make(tmp_path_factory.mktemp("soma") / "demo", anndata.read_h5ad(path)), path


@pytest.fixture(scope="module", params=["soma-exp-pbmc-small", "soma-exp-pbmc-small-pre-1.15"])
def pbmc_small(request, tmp_path_factory, shared_data):
    folder = tmp_path_factory.mktemp("pbmc") / request.param
    with tarfile.open(shared_data / "soma" / f"{request.param}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_equals_the_same_cells_in_h5ad(demo):
    uri, path = demo
    soma, h5ad = SomaSource(uri), H5adSource(path)
    assert soma.n_obs == h5ad.n_obs
    assert soma.genes.feature_ids == h5ad.genes.feature_ids
    assert soma.var.select(h5ad.var.column_names).equals(h5ad.var)
    assert soma.obs_schema.equals(h5ad.obs_schema)
    for start, stop in ((0, 1000), (0, 1), (317, 401), (999, 1000), (5, 5)):
        a, b = (source.read(slice(start, stop), source.obs_schema.names) for source in (soma, h5ad))
        assert (dense(a) == dense(b)).all()
        assert a.obs.equals(b.obs)
        assert a.obs_names.equals(b.obs_names)
        assert (a.rows == b.rows).all()
        assert a.indptr.dtype == np.int64
        assert a.data.dtype == a.indices.dtype == a.dataset.dtype == np.int32


def test_sources_share_threads(pbmc_small):
    def n_threads():
        return len(os.listdir("/proc/self/task"))

    sources = [SomaSource(pbmc_small) for _ in range(9)]
    expected = dense(sources[0].read(slice(0, 80)))
    before = n_threads()
    for source in sources[1:]:
        assert (dense(source.read(slice(0, 80))) == expected).all()
    # with a context of its own each would have two pools, of a thread a core
    assert n_threads() < before + len(sources)


def test_real_experiments_of_the_r_package(pbmc_small):
    source = SomaSource(pbmc_small)
    assert source.n_obs == 80
    assert source.name == pbmc_small.name
    assert source.genes.datasets == (pbmc_small.name,)
    assert source.var.column_names[:2] == ["var_name", "vst.mean"]
    block = source.read(slice(0, 80), ["letter.idents", "nCount_RNA"])
    with tiledbsoma.open(str(pbmc_small)) as experiment:
        table = experiment.ms["RNA"].X["counts"].read().tables().concat()
        oracle = sp.coo_array(
            (table["soma_data"].to_numpy(), (table["soma_dim_0"].to_numpy(), table["soma_dim_1"].to_numpy())),
            (80, 230),
        ).toarray()
        assert source.genes.feature_ids == tuple(experiment.ms["RNA"].var.read().concat()["var_id"].to_pylist())
    assert (dense(block) == oracle).all()
    assert block.obs["nCount_RNA"].to_numpy().tolist() == oracle.sum(axis=1).tolist()
    assert block.obs["letter.idents"].type == pa.string()
    assert "obs_id" not in source.obs_schema.names
    assert block.obs_names.type == pa.string()
    assert source.row_nnz(slice(0, 80)) is None
    with pytest.raises(
        _errors.NotCountsError, match=r"layer data: the value .* in row 20 is not a whole number"
    ) as caught:
        SomaSource(pbmc_small, layer="data").read(slice(20, 40))
    assert "the layers there are: counts, data, scale_data; name one" in str(caught.value)
    with pytest.raises(_errors.NotCountsError, match="negative"):
        SomaSource(pbmc_small, layer="scale_data").read(slice(0, 80))


def test_names_that_are_not_there(pbmc_small):
    with pytest.raises(_errors.LayerNotFoundError, match="no measurement 'ADT'; there are: RNA"):
        SomaSource(pbmc_small, "ADT").read(slice(0, 1))
    with pytest.raises(_errors.LayerNotFoundError, match="no X layer 'count'; there are: counts, data, scale_data"):
        SomaSource(pbmc_small, layer="count").read(slice(0, 1))
    with pytest.raises(_errors.LayerNotFoundError, match=r"no obs column 'group'; there are: groups, orig\.ident"):
        SomaSource(pbmc_small).read(slice(0, 1), ["group"])
    with pytest.raises(_errors.LayerNotFoundError, match="no obs column 'donor'"):
        _ = SomaSource(pbmc_small, dataset_column="donor").genes
    with pytest.raises(ValueError, match="no contiguous slice of 0:80"):
        SomaSource(pbmc_small).read(slice(0, 81))
    with pytest.raises(_errors.SourceError, match=r"nothing, SOMA experiment in /.*: cannot be read \("):
        _ = SomaSource(pbmc_small / "nothing").n_obs


def test_datasets_nulls_and_a_large_count(tmp_path):
    adata = small(
        dataset_id=pd.Categorical(["d2", "d1", None, "d2", "d1"]),
        age=[1.0, np.nan, 3, 4, 5],
        lab=[7, 7, 8, 8, 8],
    )
    source = SomaSource(make(tmp_path / "e", adata))
    assert source.genes.datasets == ("d1", "d2", "null")
    block = source.read(slice(0, 5), ["dataset_id", "age"])
    assert (dense(block) == COUNTS).all()
    assert block.dataset.tolist() == [1, 0, 2, 1, 0]
    assert block.obs["dataset_id"].to_pylist() == ["d2", "d1", None, "d2", "d1"]
    # tiledbsoma.io stores the NaN of a frame as null
    assert block.obs["age"].to_pylist() == [1.0, None, 3.0, 4.0, 5.0]
    assert source.var.column_names == ["var_name", "symbol"]
    assert SomaSource(source.uri, dataset_column="lab").read(slice(1, 4)).dataset.tolist() == [0, 1, 1]


def test_the_only_layer_is_taken_and_several_are_not(tmp_path):
    one = SomaSource(make(tmp_path / "one", small(), layer="umis"))
    assert (dense(one.read(slice(0, 5))) == COUNTS).all()
    adata = small()
    adata.layers["b"] = adata.X.copy()
    several = SomaSource(make(tmp_path / "two", adata, layer="a"))
    with pytest.raises(_errors.LayerNotFoundError, match="no X layer 'raw'; there are: a, b"):
        several.read(slice(0, 1))


def test_joinids_with_a_gap_are_refused(tmp_path):
    uri = str(tmp_path / "gap")
    schema = pa.schema([("soma_joinid", pa.int64()), ("obs_id", pa.large_string())])
    rows = pa.table({"soma_joinid": [0, 1, 3], "obs_id": ["a", "b", "d"]}, schema=schema)
    with (
        tiledbsoma.Experiment.create(uri) as experiment,
        experiment.add_new_dataframe("obs", schema=schema, domain=[(0, 9)]) as obs,
    ):
        obs.write(rows)
    with pytest.raises(_errors.SourceError, match="obs has 3 rows whose joinids run from 0 to 3; all of 0 to 2"):
        _ = SomaSource(uri).n_obs


def test_later_writes_are_not_seen(tmp_path):
    uri = make(tmp_path / "e", small())
    source = SomaSource(uri)
    with tiledbsoma.open(uri) as experiment:
        layer = experiment.ms["RNA"].X["raw"].uri
    with tiledbsoma.SparseNDArray.open(layer, "w") as x:
        x.write(pa.table({"soma_dim_0": [1], "soma_dim_1": [1], "soma_data": pa.array([6], pa.float32())}))
    again = pickle.loads(pickle.dumps(source))
    assert (dense(again.read(slice(0, 5))) == COUNTS).all()
    assert SomaSource(uri).read(slice(1, 2)).data.tolist() == [6]
    assert SomaSource(uri).fingerprint([]) != SomaSource(make(tmp_path / "f", small())).fingerprint([])


def test_no_cells(tmp_path):
    uri = str(tmp_path / "none")
    schema = pa.schema([("soma_joinid", pa.int64()), ("symbol", pa.large_string())])
    with tiledbsoma.Experiment.create(uri) as experiment:
        experiment.add_new_dataframe("obs", schema=schema, domain=[(0, 9)]).close()
        measurement = experiment.add_new_collection("ms").add_new_collection("RNA", tiledbsoma.Measurement)
        with measurement.add_new_dataframe("var", schema=schema, domain=[(0, 9)]) as var:
            var.write(pa.table({"soma_joinid": [0, 1], "symbol": ["a", "b"]}, schema=schema))
        layers = measurement.add_new_collection("X")
        layers.add_new_sparse_ndarray("raw", type=pa.float32(), shape=(10, 2)).close()
        layers.close()
        measurement.close()
    source = SomaSource(uri)
    block = source.read(slice(0, 0), ["symbol"])
    assert source.n_obs == block.n_cells == block.obs.num_rows == 0
    assert source.genes.feature_ids == ("a", "b")
    assert len(source.fingerprint(["symbol"])) == 64


def read_sum(source):
    return int(source.read(slice(0, source.n_obs)).data.sum()), source.fingerprint(["is_control"])


def test_reads_in_a_spawned_process(demo):
    source = SomaSource(demo[0])
    here = read_sum(source)
    assert len(pickle.dumps(source)) < 1000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(read_sum, (source,)) == here
    assert source.fingerprint([]) != here[1]
    assert source.stat().keys() == {"size", "mtime_ns"}


def triples(rows, columns, values):
    return pa.table({"soma_dim_0": rows, "soma_dim_1": columns, "soma_data": values})


@pytest.mark.parametrize("numba", [True, False])
def test_triples_come_in_any_order(monkeypatch, numba):
    monkeypatch.setattr(_jit, "available", lambda: numba)
    tables = [triples([12, 10, 12], [1, 5, 0], [4, 2, 3]), triples([10, 13], [2, 9], [1, 5])]
    indptr, columns, values = csr_of_triples(tables, 10, 15, "x")
    assert indptr.tolist() == [0, 2, 2, 4, 5, 5]
    cells = [
        sorted(zip(columns[a:b].tolist(), values[a:b].tolist(), strict=True)) for a, b in itertools.pairwise(indptr)
    ]
    assert cells == [[(2, 1), (5, 2)], [], [(0, 3), (1, 4)], [(9, 5)], []]
    assert csr_of_triples([], 3, 5, "x")[0].tolist() == [0, 0, 0]
    with pytest.raises(_errors.SourceError, match="x: asked for rows 10:12, got 9 to 9"):
        csr_of_triples([triples([9], [0], [1])], 10, 12, "x")
    with pytest.raises(_errors.SourceError, match="columns from -1 to -1"):
        csr_of_triples([triples([10], [-1], [1])], 10, 12, "x")
    with pytest.raises(_errors.SourceError, match="columns from 2147483648 to 2147483648"):
        csr_of_triples([triples([10], [2**31], [1])], 10, 12, "x")


def test_obs_columns_of_other_types_are_named(tmp_path):
    obs = pd.DataFrame({"day": pd.to_datetime(["2020-01-01", "2020-01-02"]), "donor": ["a", "b"]}, index=["x", "y"])
    data = anndata.AnnData(np.ones((2, 3), np.float32), obs=obs)
    tiledbsoma.io.from_anndata(str(tmp_path / "soma"), data, measurement_name="RNA", X_layer_name="raw")
    source = SomaSource(tmp_path / "soma")
    assert source.notes == ("obs columns that are no strings, bools or numbers are left out: day",)
    assert source.obs_schema.names == ["donor"]
