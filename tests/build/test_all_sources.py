"""The same cells in every kind of source: the shards are the same bytes, the obs the same."""

import io
import json
import tarfile
import warnings

import anndata
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
import tiledbsoma.io

import scdata
from scdata.resources import resource
from scdata.shard.shard_set import ShardSet

ARGUMENTS = {"splits": ["val=0.2"], "shard_size": 1 << 16, "block_size": 64, "obs": ()}
OBS = ["condition", "is_control", "tissue"]


@pytest.fixture(scope="module")
def cells():
    """Real cells, under ids that every kind of source can hold."""
    cells = anndata.read_h5ad(resource("demo/demo_pbmc_ifnb_1k.h5ad"))[::3].copy()
    # columns of one gene are detected apart, and in a finished set together: that changes the order of codes
    other = (cells.var["ensembl_id"] == "") | cells.var["ensembl_id"].duplicated()
    ids = np.where(other, cells.var_names, cells.var["ensembl_id"])
    cells.var["ensembl_id"] = ids.astype(object)
    cells.X = sp.csr_matrix(cells.X)
    cells.obs["dataset"] = cells.obs["dataset"].astype(str)
    return cells


def h5ad_csr(path, cells):
    cells.write_h5ad(path)
    return {}


def h5ad_dense(path, cells):
    other = cells.copy()
    other.X = other.X.toarray()
    other.write_h5ad(path)
    return {}


def h5ad_raw(path, cells):
    other = cells.copy()
    other.raw = cells
    other.X = np.log1p(other.X)
    other.write_h5ad(path)
    return {}


def h5ad_layer(path, cells):
    other = cells.copy()
    other.layers["counts"] = other.X.astype(np.int64)
    other.X = np.log1p(other.X)
    other.write_h5ad(path)
    return {"layer": "counts"}


def _zarr(path, cells, version):
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=version):
        warnings.simplefilter("ignore")
        cells.write_zarr(path)
    return {}


def zarr_2(path, cells):
    return _zarr(path, cells, 2)


def zarr_3(path, cells):
    return _zarr(path, cells, 3)


def soma(path, cells):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tiledbsoma.io.from_anndata(str(path), cells, measurement_name="RNA", X_layer_name="raw")
    return {}


def tenx(path, cells):
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = cells.obs_names.to_numpy().astype("S")
        group["indptr"], group["indices"] = cells.X.indptr.astype(np.int64), cells.X.indices.astype(np.int64)
        group["data"], group["shape"] = cells.X.data.astype(np.int32), np.array(cells.shape[::-1], np.int32)
        features = group.create_group("features")
        features["id"] = cells.var["ensembl_id"].to_numpy().astype("S")
        features["name"] = cells.var_names.to_numpy().astype("S")
        features["feature_type"] = np.full(cells.n_vars, b"Gene Expression")
    return {}


def ragged_parquet(path, cells):
    path.mkdir()
    order = np.random.default_rng(0).permutation(cells.n_vars)  # of the table, and so of the columns
    genes = {
        "gene_symbol": cells.var_names[order],
        "ensembl_id": cells.var["ensembl_id"].iloc[order],
        "token_id": order,
    }
    pq.write_table(pa.table({name: values.tolist() for name, values in genes.items()}), path / "gene_metadata.parquet")
    ends = pa.array(cells.X.indptr.astype(np.int32))
    table = pa.table(
        {
            "genes": pa.ListArray.from_arrays(ends, pa.array(cells.X.indices, pa.int64())),
            "expressions": pa.ListArray.from_arrays(ends, pa.array(cells.X.data, pa.float32())),
            "obs_name": cells.obs_names.tolist(),
            **{name: cells.obs[name].tolist() for name in OBS},
        }
    )
    pq.write_table(table.slice(0, 200), path / "a.parquet", row_group_size=64)
    pq.write_table(table.slice(200), path / "b.parquet", row_group_size=64)
    return {}


def npz(path, cells):
    path.mkdir()
    sp.save_npz(path / "X.npz", cells.X)  # compressed
    cells.obs.to_parquet(path / "obs.parquet")
    cells.var.to_parquet(path / "var.parquet")
    return {}


def cell_samples(path, cells):
    path.mkdir()
    names = [[feature, name] for feature, name in zip(cells.var["ensembl_id"], cells.var_names, strict=True)]
    (path / "genes.json").write_text(json.dumps(names))
    obs = json.loads(cells.obs[OBS].to_json(orient="records"))
    for number, own in enumerate((range(200), range(200, cells.n_obs))):
        with tarfile.open(path / f"cells-{number}.tar", "w") as tar:
            for row in own:
                start, stop = cells.X.indptr[row : row + 2]
                parts = {
                    "genes.npy": npy(cells.X.indices[start:stop]),
                    "counts.npy": npy(cells.X.data[start:stop]),
                    "json": json.dumps({"obs_name": cells.obs_names[row], **obs[row]}).encode(),
                }
                for part, data in parts.items():
                    member = tarfile.TarInfo(f"{row:06d}.{part}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return {}


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


KINDS = {
    h5ad_dense: "dense.h5ad",
    h5ad_raw: "raw.h5ad",
    h5ad_layer: "layer.h5ad",
    zarr_2: "2.zarr",
    zarr_3: "3.zarr",
    soma: "soma",
    tenx: "tenx.h5",
    ragged_parquet: "ragged",
    npz: "npz",
    cell_samples: "samples",
}


def tars(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.glob("shards/*/*.tar"))}


@pytest.fixture(scope="module")
def expected(cells, tmp_path_factory):
    """The cells as h5ad in CSR, and the set of them."""
    folder = tmp_path_factory.mktemp("expected")
    h5ad_csr(folder / "a.h5ad", cells)
    scdata.build_shards(folder / "a.h5ad", folder / "a.set", **ARGUMENTS)
    assert len(tars(folder / "a.set")) > 3
    return folder


@pytest.mark.parametrize("write", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_every_kind_of_source_gives_the_same_bytes(write, cells, expected, tmp_path):
    path = tmp_path / KINDS[write]
    options = write(path, cells)
    scdata.build_shards(path, tmp_path / "b.set", **options, **ARGUMENTS)
    assert tars(tmp_path / "b.set") == tars(expected / "a.set")
    a, b = ShardSet(expected / "a.set"), ShardSet(tmp_path / "b.set")
    for name in ("token_id", "code", "feature_id", "feature_name", "sample_counts"):
        assert a.var[name].equals(b.var[name]), name
    for split in a.splits:
        assert a.read_obs(split)["obs_name"].equals(b.read_obs(split)["obs_name"])
    near, source = scdata.open_source(expected / "a.h5ad"), scdata.open_source(path, **options)
    if write is not tenx:  # which has no obs
        assert source.obs(slice(5, 300), OBS).equals(near.obs(slice(5, 300), OBS))


def test_a_finished_set_gives_the_bytes_of_its_cells_in_its_order(cells, expected, tmp_path):
    stored = ShardSet(expected / "a.set")
    names = [name for split in sorted(stored.splits) for name in stored.read_obs(split)["obs_name"].to_pylist()]
    cells[names].copy().write_h5ad(tmp_path / "ordered.h5ad")
    scdata.build_shards(expected / "a.set", tmp_path / "a.set", **ARGUMENTS)
    scdata.build_shards(tmp_path / "ordered.h5ad", tmp_path / "b.set", **ARGUMENTS)
    assert tars(tmp_path / "a.set") == tars(tmp_path / "b.set")


@pytest.mark.slow
def test_other_processes_open_every_kind_and_a_check_against_it(cells, expected, tmp_path):
    sources = [expected / "a.set"]
    for write in (zarr_3, ragged_parquet, npz, cell_samples):
        sources.append(tmp_path / KINDS[write])
        write(sources[-1], cells)
    one = scdata.build_shards(sources, tmp_path / "one.set", **ARGUMENTS)
    two = scdata.build_shards(sources, tmp_path / "two.set", workers=2, **ARGUMENTS)
    assert one["n_cells"] == 5 * cells.n_obs
    assert two["shards"] == one["shards"]
    assert scdata.verify_against(tmp_path / "one.set", [str(path) for path in sources]).ok
