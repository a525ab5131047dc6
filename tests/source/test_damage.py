"""Sources that say one thing and hold another: named, or read as they are meant."""

import shutil
import warnings
from itertools import pairwise

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

import scdata
from scdata._errors import NotCountsError, SourceError

# no two rows alike, and no row empty but the fourth
X = np.arange(1, 61).reshape(12, 5) * (np.arange(60).reshape(12, 5) % 3 > 0)
X[3] = 0
MATRIX = {"h5ad": "X", "zarr2": "X", "zarr3": "X", "tenx": "matrix"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The same matrix in every kind of storage that has it as CSR."""
    folder = tmp_path_factory.mktemp("sound")
    obs = pd.DataFrame({"kind": pd.Categorical(list("abcabcabcabc"))}, index=[f"c{i}" for i in range(12)])
    var = pd.DataFrame(index=[f"g{i}" for i in range(5)])
    csr = sp.csr_matrix(X.astype(np.float32))
    adata = anndata.AnnData(csr, obs, var)
    adata.write_h5ad(folder / "h5ad")
    for version in (2, 3):
        with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=version):
            warnings.simplefilter("ignore")
            adata.write_zarr(folder / f"zarr{version}")
    with h5py.File(folder / "tenx", "w") as file:
        group = file.create_group("matrix")
        group["barcodes"], group["shape"] = obs.index.to_numpy().astype("S"), np.array([5, 12], np.int32)
        for name in ("indptr", "indices", "data"):
            group[name] = getattr(csr, name).astype(np.int64)
        features = group.create_group("features")
        features["id"] = features["name"] = var.index.to_numpy().astype("S")
        features["feature_type"] = np.full(5, b"Gene Expression")
    return folder


def consolidate(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(path))


@pytest.fixture
def damaged(sound, tmp_path):
    """A function: a copy of a kind of storage in which `change` has seen the arrays, and given others by name."""

    def make(kind, change):
        path = tmp_path / kind
        (shutil.copytree if (sound / kind).is_dir() else shutil.copyfile)(sound / kind, path)
        if kind.startswith("zarr"):
            root = zarr.open_group(str(path), mode="r+", use_consolidated=False)
            group = root["X"]
            for name, array in change({name: group[name][:] for name in ("indptr", "indices", "data")}).items():
                if name == "shape":
                    group.attrs["shape"] = array.tolist()
                else:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        group.create_array(name, data=array, overwrite=True)
            consolidate(path)
            return path
        with h5py.File(path, "r+") as file:
            group = file[MATRIX[kind]]
            for name, array in change({name: group[name][:] for name in ("indptr", "indices", "data")}).items():
                if name == "shape" and kind == "h5ad":
                    group.attrs["shape"] = array
                    continue
                del group[name]
                group[name] = array[::-1] if name == "shape" else array
        return path

    return make


def at(name, place, value):
    """Put a value into an array."""

    def change(arrays):
        array = arrays[name].astype(np.result_type(arrays[name], np.asarray(value)))
        array[place] = value
        return {name: array}

    return change


LIES = {
    "indptr falls": (at("indptr", 6, 0), r"indptr falls from \d+ to 0 at row 5"),
    "indptr leaps": (at("indptr", 6, 10_000), "indptr (of rows 4:8 runs|falls) from .*10000"),
    "indptr begins late": (at("indptr", 0, 2), "indptr runs from 2 to"),
    "indptr is negative": (at("indptr", 1, -2), "indptr falls from 0 to -2 at row 0"),
    "indptr ends early": (at("indptr", -1, 5), "indptr runs from 0 to 5, data has"),
    "indptr is short": (lambda a: {"indptr": a["indptr"][:-1]}, "indptr has 12 entries, 12 rows need 13"),
    "indptr is no integer": (lambda a: {"indptr": a["indptr"] + 0.5}, "indptr is of the type float64"),
    "a column too far": (at("indices", 13, 5), "column 5 in rows 4:8 is outside its 5 genes|feature 5 in cells 4:8"),
    "a negative column": (at("indices", 13, -1), "column -1 in rows 4:8 is outside|feature -1 in cells 4:8"),
    "columns are no integers": (lambda a: {"indices": a["indices"] + 0.5}, "indices is of the type float64"),
    "data is short": (lambda a: {"data": a["data"][:-3]}, r"indices has \d+ entries, data \d+"),
    "all is short": (
        lambda a: {"data": a["data"][:-3], "indices": a["indices"][:-3]},
        r"indptr runs from 0 to \d+, data has \d+ entries",
    ),
    "too many rows": (lambda a: {"shape": np.array([13, 5])}, r"the shape \((13, 5|5, 13)\), but"),
    "too many genes": (lambda a: {"shape": np.array([12, 6])}, r"the shape \((12, 6|6, 12)\), but"),
    "a fraction": (at("data", 13, 26.5), "26.5 in row 5 is not a whole number"),
    "no data": (lambda a: {"data": np.array([b"x"] * len(a["data"]))}, "are not counts"),
}


@pytest.mark.parametrize("kind", MATRIX)
@pytest.mark.parametrize("lie", LIES)
def test_a_matrix_that_is_not_what_it_says(damaged, kind, lie):
    change, said = LIES[lie]
    path = damaged(kind, change)
    with pytest.raises((SourceError, NotCountsError), match=said) as caught:
        read_all(path)
    assert str(path) in str(caught.value)


def read_all(path):
    source = scdata.open_source(path)
    return [source.read(slice(start, start + 4)) for start in range(0, source.n_obs, 4)]


def dense(blocks):
    out = np.zeros((12, 5), np.int64)
    for block in blocks:
        row = np.repeat(block.rows, np.diff(block.indptr))
        np.add.at(out, (row, block.indices), block.data)
    return out


def reversed_rows(arrays):
    order = np.concatenate([np.arange(b - 1, a - 1, -1) for a, b in pairwise(arrays["indptr"])])
    return {name: arrays[name][order] for name in ("indices", "data")}


def every_entry_twice(arrays):
    twice = {name: np.repeat(arrays[name], 2) for name in ("indices", "data")}
    return {"indptr": arrays["indptr"] * 2, **twice}


@pytest.mark.parametrize("kind", MATRIX)
def test_order_and_repetition_are_no_lies(damaged, kind, sound):
    assert (dense(read_all(sound / kind)) == X).all()
    assert (dense(read_all(damaged(kind, reversed_rows))) == X).all()


@pytest.mark.parametrize("kind", MATRIX)
def test_columns_that_stand_twice_add_up(damaged, kind):
    path = damaged(kind, every_entry_twice)
    assert (dense(read_all(path)) == 2 * X).all()


@pytest.mark.parametrize("kind", ["h5ad", "tenx"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_file_that_was_cut(sound, tmp_path, kind, share):
    data = (sound / kind).read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match="cut is truncated: copy it again"):
        read_all(tmp_path / "cut")


@pytest.mark.parametrize("kind", ["h5ad", "zarr3"])
@pytest.mark.parametrize(
    ("name", "said"), [("codes", "code 9 of column 'kind' in rows"), ("_index", "has 12 rows, the index 11")]
)
def test_obs_that_is_not_what_it_says(sound, tmp_path, kind, name, said):
    path = tmp_path / kind
    (shutil.copytree if kind == "zarr3" else shutil.copyfile)(sound / kind, path)
    root = zarr.open_group(str(path), mode="r+", use_consolidated=False) if kind == "zarr3" else h5py.File(path, "r+")
    if name == "codes":
        root["obs/kind/codes"][5] = 9
    else:
        attributes, index = dict(root["obs/_index"].attrs), root["obs/_index"][:11].astype(object)
        del root["obs/_index"]
        if kind == "zarr3":
            root["obs"].create_array("_index", data=index.astype(np.dtypes.StringDType()), attributes=attributes)
        else:
            root["obs"].create_dataset("_index", data=index, dtype=h5py.string_dtype())
    if kind == "zarr3":
        consolidate(path)
    else:
        root.close()
    with pytest.raises(SourceError, match=said):
        scdata.open_source(path).obs(slice(4, 8), ["kind"])
