"""What ``scdata export`` writes as npz and as a cell a sample, read back: in any order, from a bucket, and damaged."""

import io
import json
import pickle
import shutil
import tarfile
import zipfile

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdata
from scdata._errors import NotCountsError, SourceError
from scdata.resources import resource
from scdata.source import CellSamplesSource, H5adSource, NpzSource

KINDS = {"npz": NpzSource, "webdataset-cells": CellSamplesSource}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The demo cells as h5ad and as both kinds."""
    folder = tmp_path_factory.mktemp("exported")
    scdata.build_shards(resource("demo/demo_pbmc_ifnb_1k.h5ad"), folder / "set")
    for kind in ("h5ad", *KINDS):
        scdata.export_set(folder / "set", folder / kind, kind)
    return folder


@pytest.fixture
def copy(exported, tmp_path):
    def make(kind):
        return shutil.copytree(exported / kind, tmp_path / kind)

    return make


def equal(a, b):
    arrays = ("indptr", "indices", "data", "dataset")
    return (
        all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
        and a.obs.to_pydict() == b.obs.to_pydict()  # JSON knows no narrow integers
        and a.obs_names.equals(b.obs_names)
        and a.genes.feature_ids == b.genes.feature_ids
    )


@pytest.mark.parametrize("kind", KINDS)
def test_any_rows_in_any_order(exported, kind, s3):
    oracle, near = H5adSource(exported / "h5ad"), scdata.open_source(exported / kind)
    assert type(near) is KINDS[kind]
    assert near.n_obs == 1000
    far = scdata.open_source(s3.upload(exported / kind, f"exported/{kind}"), endpoint=s3.endpoint, region=s3.region)
    copied = pickle.loads(pickle.dumps(near))
    for rows in (slice(0, 1000), slice(900, 1000), slice(10, 30), slice(5, 5), slice(999, 1000)):
        expected = oracle.read(rows, ["condition", "is_control"])
        for source in (near, far, copied):
            assert equal(source.read(rows, ["condition", "is_control"]), expected), source
    assert far.fingerprint(["condition"]) == near.fingerprint(["condition"])
    assert far.stat()["size"] == near.stat()["size"]
    assert len(pickle.dumps(near)) < 4000


def test_a_plain_archive_and_a_count_that_changed_within(copy):
    path = copy("npz")
    matrix = sp.load_npz(path / "X.npz")
    np.savez(
        path / "X.npz",
        format=b"csr",
        shape=matrix.shape,
        indptr=matrix.indptr.astype(np.int64),
        indices=matrix.indices,
        data=matrix.data,
    )
    with zipfile.ZipFile(path / "X.npz") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert NpzSource(path).read(slice(0, 1000)).data.sum() == matrix.sum()
    before = NpzSource(path).fingerprint(["condition"])
    matrix.data[7] += 1
    rewritten(path, data=matrix.data)
    assert NpzSource(path).fingerprint(["condition"]) != before


def rewritten(path, **arrays):
    with np.load(path / "X.npz") as found:
        kept = dict(found)
    np.savez(path / "X.npz", **(kept | arrays))


LIES = {
    "columns": ({"format": np.array(b"csc")}, "the layout b'csc', and CSR is read: scipy.sparse.save_npz"),
    "another shape": ({"shape": np.array([1000, 3])}, r"the matrix has the shape \(1000, 3\), obs and var \(1000, "),
    "objects": ({"data": np.array([{}, 1], object)}, "data.npy has the shape"),
    "two axes": ({"data": np.ones((2, 2))}, r"data.npy has the shape \(2, 2\)"),
    "short": ({"data": np.ones(5)}, r"indices has \d+ entries, data 5"),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_npz_file_that_is_not_what_it_says(copy, lie):
    arrays, said = LIES[lie]
    path = copy("npz")
    rewritten(path, **arrays)
    with pytest.raises(SourceError, match=said) as caught:
        scdata.open_source(path)
    assert str(path) in str(caught.value)


def test_an_npz_folder_that_is_damaged(copy):
    path = copy("npz")
    data = (path / "X.npz").read_bytes()
    (path / "X.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=r"X\.npz: cannot be read .*damaged"):
        scdata.open_source(path)
    broken = bytearray(data)
    broken[len(data) // 3] ^= 255
    (path / "X.npz").write_bytes(broken)
    with pytest.raises((SourceError, NotCountsError)):
        scdata.open_source(path).read(slice(0, 1000))
    (path / "X.npz").write_bytes(data)
    (path / "obs.parquet").write_bytes(b"PAR1")
    with pytest.raises(SourceError, match=r"obs\.parquet: cannot be read"):
        scdata.open_source(path)
    (path / "obs.parquet").unlink()
    with pytest.raises(SourceError, match="no column 'genes' of lists"):
        scdata.open_source(path)


def test_fractions_are_no_counts(copy):
    path = copy("npz")
    with np.load(path / "X.npz") as found:
        data = found["data"].astype(np.float64)
    data[3] += 0.5
    rewritten(path, data=data)
    with pytest.raises(NotCountsError, match="is not a whole number"):
        scdata.open_source(path).read(slice(0, 10))


def test_obs_without_an_index_is_numbered(copy):
    path = copy("npz")
    obs = pd.read_parquet(path / "obs.parquet").reset_index(drop=True)
    obs.to_parquet(path / "obs.parquet")
    assert NpzSource(path).read(slice(4, 6)).obs_names.to_pylist() == ["4", "5"]


def test_tars_that_are_damaged(copy):
    path = copy("webdataset-cells")
    tar = path / "cells-000000.tar"
    data = tar.read_bytes()
    tar.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=r"cells-000000\.tar: cannot be read"):
        scdata.open_source(path)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        dropped = next(member for member in members if member.name.endswith("counts.npy"))
        start, end = dropped.offset, dropped.offset_data + -(-dropped.size // 512) * 512
        without = data[:start] + data[end:]
    tar.write_bytes(without)
    with pytest.raises(SourceError, match=r"sample '\d+' has no counts\.npy"):
        scdata.open_source(path)
    names = json.loads((path / "genes.json").read_text())
    tar.write_bytes(data)
    (path / "genes.json").write_text(json.dumps(names[:5]))
    with pytest.raises(SourceError, match="is outside its 5 genes"):
        scdata.open_source(path).read(slice(0, 1000))
    (path / "genes.json").write_text('{"a": 1}')
    with pytest.raises(SourceError, match=r"genes\.json: cannot be read"):
        scdata.open_source(path)


def test_tars_whose_obs_differ(tmp_path):
    """A column that one tar lacks is null there; whole numbers and fractions of one column are fractions."""
    (tmp_path / "genes.json").write_text(json.dumps([["g0", "A"], ["g1", "B"]]))
    for number, obs in enumerate(({"age": 3, "sex": "f"}, {"age": 3.5})):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            for part in ("genes.npy", "counts.npy", "json"):
                file = io.BytesIO()
                if part == "json":
                    file.write(json.dumps(obs).encode())
                else:
                    np.save(file, np.arange(number + 1, dtype=np.int32) + (part == "counts.npy"))
                member = tarfile.TarInfo(f"c{number}.{part}")
                member.size = file.tell()
                file.seek(0)
                tar.addfile(member, file)
    source = scdata.open_source(tmp_path)
    block = source.read(slice(0, 2), ["age", "sex"])
    assert block.obs.to_pydict() == {"age": [3.0, 3.5], "sex": ["f", None]}
    assert block.obs_names.to_pylist() == ["0", "1"]
    assert sp.csr_matrix((block.data, block.indices, block.indptr), (2, 2)).toarray().tolist() == [[1, 0], [1, 2]]


def test_no_cells(tmp_path):
    empty = anndata.AnnData(sp.csr_matrix((0, 3), dtype=np.int32))
    sp.save_npz(tmp_path / "X.npz", empty.X)
    empty.obs.to_parquet(tmp_path / "obs.parquet")
    empty.var.to_parquet(tmp_path / "var.parquet")
    assert scdata.open_source(tmp_path).read(slice(0, 0)).indptr.tolist() == [0]
