"""Whichever format a set is exported as, the set that is built from it is the same, obs types and all."""

import json

import anndata
import numpy as np
import pyarrow as pa
import pytest

import scdata
from scdata.resources import resource
from scdata.shard.shard_set import ShardSet
from scdata.source import open_source

COUNTS = ("h5ad", "zarr", "npz", "parquet-scgpt", "webdataset-cells")


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Some of the demo's cells, which have booleans, with columns of other types."""
    folder, rng = tmp_path_factory.mktemp("types"), np.random.default_rng(0)
    cells = anndata.read_h5ad(resource("demo/demo_pbmc_ifnb_1k.h5ad"))[::4].copy()
    n = len(cells)
    # more digits than JSON of pandas has, and none for a cell
    cells.obs["score"] = (rng.normal(size=n) * 1e-7).astype(np.float32)
    cells.obs["exact"] = np.append(rng.normal(size=n - 1), np.nan)
    cells.obs["lane"] = rng.integers(9, size=n).astype(np.int16)
    cells.obs["whole"] = np.arange(n, dtype=np.float32)
    scdata.from_anndata(cells, folder / "set")
    for kind in COUNTS:
        scdata.export_set(folder / "set", folder / kind, kind)
    return folder


def test_all_formats_give_the_same_set(exports, tmp_path):
    before = ShardSet(exports / "set")
    found = {kind: scdata.build_shards(exports / kind, tmp_path / kind) for kind in COUNTS}
    assert len({own["content_hash"] for own in found.values()}) == 1
    assert {own["genes_sha256"] for own in found.values()} == {before.manifest["genes_sha256"]}
    types = {own["name"]: own["dtype"] for own in before.manifest["obs"]}
    assert types["is_control"] == "uint8"
    assert all({own["name"]: own["dtype"] for own in made["obs"]} == types for made in found.values())


@pytest.fixture
def told(exports, tmp_path):
    """The export with other types told."""
    table = json.loads((exports / "webdataset-cells" / "scdata.json").read_text())

    def make(change):
        for file in (exports / "webdataset-cells").iterdir():
            if file.name != "scdata.json":
                (tmp_path / file.name).symlink_to(file)
        change(table)
        (tmp_path / "scdata.json").write_text(json.dumps(table))
        return open_source(tmp_path)

    return make


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.update(obs_types="uint8"), "obs_types is 'uint8', expected lists 'name' and 'type'"),
        (lambda table: table["obs_types"]["type"].pop(), "values, or one twice"),
        (lambda table: table["obs_types"]["type"].__setitem__(1, "timestamp[s]"), "is 'timestamp[s]', expected one of"),
    ],
)
def test_damaged_types_are_left_out_with_a_note(told, change, said):
    source = told(change)
    [note] = source.notes
    assert note.startswith("'obs_types' of scdata.json is ignored: ")
    assert said in note
    assert source.obs_schema.field("is_control").type == pa.int64()


def test_values_that_are_of_another_type_stay_what_they_are(told):
    def change(table):
        types = table["obs_types"]
        types["type"][types["name"].index("score")] = "uint8"

    source = told(change)
    assert source.notes == ("obs columns have values that are not of the type that scdata.json tells: score",)
    kinds = source.obs_schema
    assert (kinds.field("score").type, kinds.field("lane").type) == (pa.float64(), pa.int16())
    assert source.read(slice(0, 3), ["score", "lane"]).n_cells == 3
