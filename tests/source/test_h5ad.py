import multiprocessing
import pickle
import shutil

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scdata import _errors
from scdata.source import H5adSource


def make(path, x, obs=None, var=None, **more):
    """Write an h5ad of matrix x."""
    obs = pd.DataFrame(obs or {}, index=[f"c{i}" for i in range(x.shape[0])])
    var = pd.DataFrame(var or {}, index=[f"g{i}" for i in range(x.shape[1])])
    anndata.AnnData(x, obs=obs, var=var, **more).write_h5ad(path)
    return str(path)


def dense(block):
    """A block as a dense matrix, repeated columns added."""
    return sp.csr_array(
        (block.data.astype(np.int64), block.indices, block.indptr), shape=(block.n_cells, len(block.genes))
    ).toarray()


COUNTS = np.array([[0, 1, 70_000, 0], [0, 0, 0, 0], [2, 0, 3, 4], [0, 0, 0, 9], [5, 0, 0, 0]], np.float32)


@pytest.mark.parametrize(
    "name", ["demo_pbmc_ifnb_1k", "human_lung_cell_lines_celseq2", "mouse_brain_merfish_cxg_schema"]
)
def test_real_files_read_as_anndata_reads_them(shared_data, name):
    path = shared_data / f"{name}.h5ad"
    oracle = anndata.read_h5ad(path)
    source = H5adSource(path)
    assert (source.n_obs, len(source.genes)) == oracle.shape
    assert source.name == f"{name}.h5ad"
    assert source.notes == ()
    assert source.genes.feature_ids == tuple(oracle.var_names)
    assert source.var.column_names == ["var_name", *oracle.var.columns]
    assert source.obs_schema.names == list(oracle.obs.columns)
    assert (source.row_nnz(slice(10, 90)) == np.diff(oracle.X.indptr)[10:90]).all()
    for start in range(0, source.n_obs, 333):
        stop = min(start + 333, source.n_obs)
        block = source.read(slice(start, stop), source.obs_schema.names)
        expected = oracle[start:stop]
        assert (dense(block) == expected.X.toarray()).all()
        assert block.obs_names.to_pylist() == list(expected.obs_names)
        assert block.data.dtype == block.indices.dtype == block.dataset.dtype == np.int32
        assert block.indptr.dtype == block.rows.dtype == np.int64
        for column in source.obs_schema.names:
            theirs = expected.obs[column]
            ours = block.obs[column].to_pylist()
            assert ours == [None if pd.isna(v) else v for v in theirs.tolist()], column


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_shape_and_dtype(tmp_path, data):
    n, g = data.draw(st.integers(0, 6)), data.draw(st.integers(1, 5))
    values = st.sampled_from([0, 0, 0, 1, 2, 70_000, 2**24])
    rows = data.draw(st.lists(st.lists(values, min_size=g, max_size=g), min_size=n, max_size=n))
    dtype = data.draw(st.sampled_from(["float32", "float64", "int32", "int64", "uint32"]))
    x = np.array(rows, dtype).reshape(n, g)
    path = make(tmp_path / "a.h5ad", sp.csr_matrix(x) if data.draw(st.booleans()) else x)
    source = H5adSource(path)
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    block = source.read(slice(start, stop))
    assert (dense(block) == x[start:stop]).all()
    assert block.rows.tolist() == list(range(start, stop))
    assert block.obs.num_rows == stop - start
    assert block.dataset.tolist() == [0] * (stop - start)
    assert source.genes.datasets == ("a.h5ad",)
    assert len(source.fingerprint([])) == 64


def test_explicit_zeros_go_and_order_of_indices_does_not_matter(tmp_path):
    x = sp.csr_matrix((3, 4), dtype=np.float32)
    x.indptr = np.array([0, 3, 3, 5])
    x.indices, x.data = np.array([3, 0, 1, 2, 0]), np.array([1, 0, 2, 0, 7], np.float32)
    source = H5adSource(make(tmp_path / "a.h5ad", x))
    block = source.read(slice(0, 3))
    assert block.indptr.tolist() == [0, 2, 2, 3]
    assert block.indices.tolist() == [3, 1, 0]
    assert block.data.tolist() == [1, 2, 7]
    assert source.row_nnz(slice(0, 3)).tolist() == [3, 0, 2]


@pytest.mark.parametrize("indptr", ["int32", "int64"])
@pytest.mark.parametrize("indices", ["int32", "int64", "uint16"])
def test_widths_of_index_arrays(tmp_path, indptr, indices):
    path = make(tmp_path / "a.h5ad", sp.csr_matrix(COUNTS))
    edit(path, "X/indptr", lambda a: a.astype(indptr))
    edit(path, "X/indices", lambda a: a.astype(indices))
    assert (dense(H5adSource(path).read(slice(1, 5))) == COUNTS[1:5]).all()


def edit(path, key, change):
    """Replace one array of a file."""
    with h5py.File(path, "r+") as file:
        attrs = dict(file[key].attrs)
        values = change(file[key][...])
        del file[key]
        file[key] = values
        file[key].attrs.update(attrs)


def set_at(position, value):
    def change(a):
        a[position] = value
        return a

    return change


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("X/indptr", set_at(1, 6), r"damaged: indptr falls from 6 to 2 at row 1"),
        ("X/indptr", set_at(-1, 6), r"indptr runs from 0 to 6, data has 7 entries"),
        ("X/indptr", set_at(0, 1), r"indptr runs from 1 to 7"),
        ("X/indptr", lambda a: a[:-1], r"indptr has 5 entries, 5 rows need 6"),
        ("X/indices", set_at(2, 4), r"column 4 in rows 0:5 is outside its 4 genes"),
        ("X/indices", set_at(2, -1), r"column -1 in rows 0:5 is outside its 4 genes"),
        ("X/indices", lambda a: a[:-1], r"indices has 6 entries, data 7"),
        ("obs/kind/codes", set_at(0, 9), r"code 9 of column 'kind' in rows 0:5 is outside its 2 categories"),
        ("obs/size", lambda a: a[:-1], r"column 'size' has 4 rows, the index 5"),
        ("var/_index", lambda a: a[:-1], r"the shape \(5, 4\), but obs and var have \(5, 3\)"),
    ],
)
def test_damaged_arrays_are_named(tmp_path, key, change, message):
    obs = {"kind": pd.Categorical(list("ababa")), "size": np.arange(5)}
    path = make(tmp_path / "a.h5ad", sp.csr_matrix(COUNTS), obs)
    edit(path, key, change)
    with pytest.raises(_errors.SourceError, match=message) as caught:
        H5adSource(path).read(slice(0, 5), ["kind"])
    assert path in str(caught.value)


def test_a_truncated_file(tmp_path, shared_data):
    path = tmp_path / "cut.h5ad"
    path.write_bytes((shared_data / "human_pancreas_baron.h5ad").read_bytes()[:1_000_000])
    with pytest.raises(_errors.SourceError, match=r"cut\.h5ad is truncated: copy it again"):
        _ = H5adSource(path).n_obs


def test_damaged_chunks_are_named(tmp_path, shared_data):
    path = tmp_path / "bad.h5ad"
    shutil.copyfile(shared_data / "human_pancreas_baron.h5ad", path)
    path.chmod(0o644)
    with h5py.File(path) as file:
        chunk = file["X/data"].id.get_chunk_info(5)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * 64)
    with pytest.raises(_errors.SourceError, match=r"layer X, rows 0:175: cannot be read"):
        H5adSource(path, layer="X").read(slice(0, 175))


def test_csc_is_refused_with_the_line_that_converts(tmp_path):
    path = make(tmp_path / "a.h5ad", sp.csc_matrix(COUNTS))
    with pytest.raises(_errors.SourceError, match=r"by columns \(CSC\)") as caught:
        _ = H5adSource(path).n_obs
    line = str(caught.value).split("convert it once: ")[1].replace("NEW.h5ad", str(tmp_path / "new.h5ad"))
    exec(line)
    assert (dense(H5adSource(tmp_path / "new.h5ad").read(slice(0, 5))) == COUNTS).all()


@pytest.mark.parametrize("convert", [sp.csr_matrix, np.asarray])
def test_normalized_x_is_refused_at_first_use(tmp_path, convert):
    path = make(tmp_path / "a.h5ad", convert(np.log1p(COUNTS)), layers={"spliced": sp.csr_matrix(COUNTS)})
    with pytest.raises(_errors.NotCountsError) as caught:
        _ = H5adSource(path).n_obs
    message = str(caught.value)
    assert f"{path}, layer X: the value 0.693147182 in row 0" in message
    assert "looks normalized" in message
    assert "the layers there are: X, spliced; name one with raw counts by --layer (layer=)" in message
    assert (dense(H5adSource(path, layer="spliced").read(slice(0, 5))) == COUNTS).all()


@pytest.mark.parametrize(("value", "why"), [(-1, "negative"), (np.nan, "not finite"), (1.5, "not a whole number")])
def test_bad_values_name_file_row_and_remedy(tmp_path, value, why):
    x = COUNTS.copy()
    x[3, 3] = value
    path = make(tmp_path / "a.h5ad", sp.csr_matrix(x))
    with pytest.raises(_errors.NotCountsError, match=rf"in row 3 is {why}"):
        H5adSource(path, layer="X").read(slice(2, 5))
    assert (dense(H5adSource(path, layer="X").read(slice(0, 3))) == COUNTS[:3]).all()


def test_raw_is_used_and_said(tmp_path):
    full = anndata.AnnData(
        sp.csr_matrix(COUNTS),
        obs=pd.DataFrame(index=list("abcde")),
        var=pd.DataFrame({"symbol": list("wxyz")}, index=["g0", "g1", "g2", "g3"]),
    )
    part = full[:, :2].copy()
    part.X = sp.csr_matrix(np.log1p(part.X.toarray()))
    part.raw = full
    path = tmp_path / "a.h5ad"
    part.write_h5ad(path)
    source = H5adSource(path)
    assert source.notes == ("a.h5ad: X is not counts; raw.X is used",)
    assert source.genes.feature_ids == ("g0", "g1", "g2", "g3")
    assert source.var["symbol"].to_pylist() == list("wxyz")
    assert (dense(source.read(slice(0, 5))) == COUNTS).all()
    for name in ("raw", "raw.X"):
        asked = H5adSource(path, layer=name)
        assert asked.notes == ()
        assert (dense(asked.read(slice(0, 5))) == COUNTS).all()
    with pytest.raises(_errors.LayerNotFoundError, match=r"no layer 'counts'; there are: X, raw\.X"):
        _ = H5adSource(path, layer="counts").n_obs


def test_no_x_at_all(tmp_path):
    a = anndata.AnnData(obs=pd.DataFrame(index=list("abcde")), var=pd.DataFrame(index=list("wxyz")))
    a.layers["counts"] = sp.csr_matrix(COUNTS)
    a.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(_errors.LayerNotFoundError, match="no layer 'X'; there are: counts"):
        _ = H5adSource(tmp_path / "a.h5ad").n_obs
    assert (dense(H5adSource(tmp_path / "a.h5ad", layer="counts").read(slice(0, 5))) == COUNTS).all()


def test_obs_of_every_kind(tmp_path):
    obs = {
        "cat": pd.Categorical(["b", None, "a", "b", "a"]),
        "intcat": pd.Categorical([3, 1, 3, None, 1]),
        "boolcat": pd.Categorical([True, False, True, None, True]),
        "text": ["x", "y", "", "ü", "z"],
        "flag": [True, False, True, True, False],
        "age": [1.5, np.nan, 3, 4, 5],
        "maybe": pd.array([1, None, 3, 4, 5], dtype="Int64"),
        "maybe_flag": pd.array([True, None, False, True, True], dtype="boolean"),
        "maybe_text": pd.array(["p", None, "q", "r", "s"], dtype="string"),
        "n": np.arange(5, dtype=np.int16),
    }
    with anndata.settings.override(allow_write_nullable_strings=True):
        source = H5adSource(make(tmp_path / "a.h5ad", sp.csr_matrix(COUNTS), obs))
    table = source.obs(slice(1, 5), list(obs))
    assert table.schema.equals(source.obs_schema)
    assert table["cat"].to_pylist() == [None, "a", "b", "a"]
    assert table["intcat"].to_pylist() == ["1", "3", None, "1"]
    assert table["boolcat"].to_pylist() == ["False", "True", None, "True"]
    assert table["text"].to_pylist() == ["y", "", "ü", "z"]
    assert table["flag"].to_pylist() == [False, True, True, False]
    assert table["age"].null_count == 0
    assert np.isnan(table["age"][0].as_py())
    assert table["maybe"].to_pylist() == [None, 3, 4, 5]
    assert table["maybe_flag"].to_pylist() == [None, False, True, True]
    assert table["maybe_text"].to_pylist() == [None, "q", "r", "s"]
    assert table["n"].type == pa.int16()
    assert table["cat"].type == table["intcat"].type == pa.string()
    with pytest.raises(_errors.LayerNotFoundError, match="no obs column 'Cats'; there are: cat, intcat, boolcat"):
        source.read(slice(0, 1), ["Cats"])


def test_datasets(tmp_path):
    obs = {"dataset_id": pd.Categorical(["d2", "d1", None, "d2", "d1"]), "lab": [7, 7, 7, 8, 8]}
    path = make(tmp_path / "a.h5ad", sp.csr_matrix(COUNTS), obs)
    source = H5adSource(path)
    assert source.genes.datasets == ("d1", "d2", "null")
    assert source.read(slice(0, 5)).dataset.tolist() == [1, 0, 2, 1, 0]
    assert source.read(slice(0, 5)).obs.column_names == []
    labs = H5adSource(path, dataset_column="lab")
    assert labs.genes.datasets == ("7", "8")
    assert labs.read(slice(2, 5), ["lab"]).dataset.tolist() == [0, 1, 1]
    with pytest.raises(_errors.LayerNotFoundError, match="no obs column 'labs'; there are: lab, dataset_id"):
        _ = H5adSource(path, dataset_column="labs").genes


def read_sum(source):
    return int(source.read(slice(0, source.n_obs)).data.sum()), source.fingerprint([])


def test_pickle_holds_an_address_and_reads_in_a_spawned_process(shared_data):
    source = H5adSource(shared_data / "human_pancreas_baron.h5ad")
    here = read_sum(source)
    assert len(pickle.dumps(source)) < 1000
    assert read_sum(pickle.loads(pickle.dumps(source))) == here
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(read_sum, (source,)) == here


def test_fingerprint_is_of_content(tmp_path):
    obs = {"kind": list("ababa"), "size": np.arange(5)}
    path = make(tmp_path / "a.h5ad", sp.csr_matrix(COUNTS), obs)
    moved = tmp_path / "elsewhere.h5ad"
    shutil.copyfile(path, moved)
    first = H5adSource(path).fingerprint(["kind"])
    assert H5adSource(path, dataset_column="size").fingerprint(["kind"]) != first
    assert H5adSource(path).fingerprint(["kind", "size"]) != first
    for key, at, value in (
        ("X/data", 6, 6),
        ("obs/kind/codes", 0, 1),
        ("var/_index", 0, b"h0"),
        ("X/indptr", 1, 1),
    ):
        copy = tmp_path / "changed.h5ad"
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            file[key][at] = value
        assert copy.stat().st_size == moved.stat().st_size
        assert H5adSource(copy).fingerprint(["kind"]) != first
    assert H5adSource(moved).fingerprint(["kind"]) == first
    assert H5adSource(path).stat()["size"] == moved.stat().st_size


@pytest.mark.parametrize("rows", [slice(0, 6), slice(-1, 3), slice(3, 2), slice(0, 4, 2)])
def test_rows_out_of_range(tmp_path, rows):
    source = H5adSource(make(tmp_path / "a.h5ad", sp.csr_matrix(COUNTS)))
    for ask in (source.read, source.row_nnz, lambda r: source.obs(r, [])):
        with pytest.raises(ValueError, match="no contiguous slice of 0:5"):
            ask(rows)
    assert source.obs(slice(None), []).num_rows == 5


def test_an_old_layout_is_refused(tmp_path):
    path = make(tmp_path / "a.h5ad", sp.csr_matrix(COUNTS))
    with h5py.File(path, "r+") as file:
        file["obs"].create_group("__categories")
    with pytest.raises(_errors.SourceError, match=r"not a dataframe in the layout of anndata 0\.8 or later"):
        _ = H5adSource(path).n_obs
