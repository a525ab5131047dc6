"""What an export says beside its cells: roles, datasets, species; taken over by a build, or left out with a note."""

import json

import anndata
import datasets
import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import zarr
from click.testing import CliRunner

import scdata
from scdata.build.progress import Progress
from scdata.cli.main import cli
from scdata.shard.shard_set import ShardSet
from scdata.source import open_source

ROLES = {"column": "guide", "control": "ntc", "match": ["donor_id", "lane"]}
TOLD = {"id": "a.h5ad", "title": "A screen — of 3 guides", "doi": "10.1000/a", "citation": "A. et al."}


class Notes(Progress):
    def __init__(self):
        super().__init__()
        self.said = []

    def note(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """A set of two datasets of two species, which obs of the set does not name, with roles and a title."""
    folder, rng = tmp_path_factory.mktemp("screen"), np.random.default_rng(3)
    for name, organism in (("a", "Homo sapiens"), ("b", "Mus musculus")):
        obs = {
            "guide": np.array(["ntc", "GATA1", "SPI1"])[rng.integers(3, size=150)],
            "donor_id": [f"d{i % 2}" for i in range(150)],
            "lane": rng.integers(2, size=150),
            "organism": [organism] * 150,
        }
        cells = anndata.AnnData(
            rng.poisson(0.7, (150, 30)).astype(np.float32),
            obs=pd.DataFrame(obs, index=[f"{name}{i}" for i in range(150)]),
            var=pd.DataFrame(index=[f"g{i}" for i in range(30)]),
        )
        cells.write_h5ad(folder / f"{name}.h5ad")
    options = {"perturbation": "guide", "control": "ntc", "control_match": ROLES["match"], "splits": ["val=0.2"]}
    files = [folder / "a.h5ad", folder / "b.h5ad"]
    scdata.build_shards(files, folder / "set", obs=["guide"], block_size=64, **options)
    # what a Census says of its datasets
    table = json.loads((folder / "set" / "manifest.json").read_text())
    table["sources"][0]["datasets"] = [TOLD]
    (folder / "set" / "manifest.json").write_text(json.dumps(table))
    return folder / "set"


@pytest.fixture(scope="module")
def to_export(screen):
    return screen


def pairs(path, split):
    """Name of each cell and of its control, of two epochs."""
    obs = ShardSet(path).read_obs(split)
    names = dict(zip(obs["cell_id"].to_pylist(), obs["obs_name"].to_pylist(), strict=True))
    loader = scdata.ShardDataset(path, split=split, filter="guide != 'ntc'", pair_controls="batch", batch_size=64)
    for epoch in range(2):
        loader.set_epoch(epoch)
        for batch in loader:
            ids = batch["cell_id"].tolist(), batch["controls"]["cell_id"].tolist()
            yield from ((names[cell], names[control]) for cell, control in zip(*ids, strict=True))


def whole(path):
    return anndata.concat([scdata.to_anndata(path, split=split) for split in ("train", "val")], merge="same")


def assert_same_screen(path, screen, title=True):
    """The same cells, in the same splits, with the same roles, datasets, species and controls."""
    found, expected = whole(path), whole(screen)
    names = sorted(expected.obs_names)
    frames = [cells[names].to_df().T.sort_index().T for cells in (found, expected)]
    np.testing.assert_array_equal(*(frame.to_numpy() for frame in frames))
    own, theirs = ShardSet(path), ShardSet(screen)
    assert own.manifest["perturbation"] == theirs.manifest["perturbation"] == ROLES
    assert (own.datasets, own.organisms) == (["a.h5ad", "b.h5ad"], ["Homo sapiens", "Mus musculus"])
    assert theirs.organisms == own.organisms
    assert own.manifest["sources"][0].get("datasets") == ([TOLD] if title else None)
    obs = expected.obs.astype({"dataset": str, "donor_id": str, "guide": str})
    group = obs.apply(lambda cell: (cell["dataset"], cell["donor_id"], cell["lane"]), axis=1).to_dict()
    side = {name: split for split in ("train", "val") for name in theirs.read_obs(split)["obs_name"].to_pylist()}
    controls = set(obs.index[obs["guide"] == "ntc"])
    for split in ("train", "val"):
        made = list(pairs(path, split))
        assert sorted(cell for cell, _ in made) == sorted(cell for cell, _ in pairs(screen, split))
        for cell, control in made:
            assert control in controls
            assert (group[cell], side[cell]) == (group[control], side[control])


def test_a_screen_comes_back(screen, exported, tmp_path, kind):
    notes = Notes()
    scdata.build_shards(exported(kind), tmp_path / "again", splits=["val=split:'val'"], progress=notes)
    assert_same_screen(tmp_path / "again", screen)
    assert notes.said.count(f"the roles of a perturbation come with {kind}; --perturbation names others") == 1
    assert scdata.verify_against(tmp_path / "again", [str(tmp_path / kind)]).ok


def test_cells_in_memory_and_other_tools_keep_it(screen, exported, tmp_path):
    cells = whole(screen)
    assert cells.obs["organism"].value_counts().to_dict() == {"Homo sapiens": 150, "Mus musculus": 150}
    n_cells = ShardSet(screen).manifest["splits"]
    cells.obs["split"] = [name for name in ("train", "val") for _ in range(n_cells[name]["n_cells"])]
    cells.uns = scdata.to_anndata(screen).uns
    assert cells.uns["scdata"]["perturbation"] == ROLES
    assert cells.uns["scdata"]["content_hash"] == ShardSet(screen).manifest["content_hash"]
    scdata.from_anndata(cells, tmp_path / "memory", splits=["val=split:'val'"])
    assert_same_screen(tmp_path / "memory", screen)
    # read, changed and written by AnnData
    other = anndata.read_zarr(exported("zarr"))
    other.obs["score"] = 1.0
    other[:, ::-1].copy().write_h5ad(tmp_path / "other.h5ad")
    scdata.build_shards(tmp_path / "other.h5ad", tmp_path / "other", splits=["val=split:'val'"])
    assert_same_screen(tmp_path / "other", screen)
    # a set of a set knows what that knew
    manifest = scdata.build_shards(screen, tmp_path / "set of set", limit=100)
    assert manifest["sources"][0]["datasets"] == [TOLD]


def test_folders_have_it_as_json(screen, exported):
    for kind in ("npz", "parquet-scgpt", "webdataset-cells"):
        table = json.loads((exported(kind) / "scdata.json").read_text(encoding="utf-8"))
        # of these scBank does not call genes by their ids, and JSON has no types
        for name, only in (("genes", "parquet-scgpt"), ("obs_types", "webdataset-cells")):
            assert (table.pop(name, None) is None) == (kind != only)
        assert without(table, "obs_added") == without(scdata.to_anndata(screen).uns["scdata"], "obs_added")
        obs = {"cell_id", "dataset", "n_tokens", "total_counts", "vocab_counts", "organism", "split"}
        assert set(table["obs_added"]) == obs | ({"id", "obs_name"} if kind == "parquet-scgpt" else set())
    assert table["datasets"]["title"] == [TOLD["title"]]
    assert table["tokenizer"] == "counts"
    assert table["scdata_version"] == scdata.__version__


def test_ranks_have_it_too(screen, tmp_path):
    scdata.build_shards(screen, tmp_path / "ranks", tokenizer="geneformer-v2", assets="fit", splits=["val=0.2"])
    scdata.export_set(tmp_path / "ranks", tmp_path / "hf", "hf-geneformer")
    table = json.loads((tmp_path / "hf" / "scdata.json").read_text())
    assert table["perturbation"] == ROLES
    found = datasets.load_from_disk(str(tmp_path / "hf"))
    pairs = set(zip(found["dataset"], found["organism"], strict=True))
    assert pairs == {("a.h5ad", "Homo sapiens"), ("b.h5ad", "Mus musculus")}
    with pytest.raises(scdata.ScdataError, match=r"ranks of genes .* do not tell counts"):
        scdata.build_shards(tmp_path / "hf", tmp_path / "again")


def test_obs_columns_with_names_of_the_format(tmp_path):
    """They are called obs.NAME there, and have their roles by that; a build calls them as before."""
    obs = {"genes": ["ntc", "KLF1"] * 20, "id": [f"i{i}" for i in range(40)], "length": ["l"] * 40}
    path = tmp_path / "cells.h5ad"
    anndata.AnnData(np.ones((40, 5), np.float32), pd.DataFrame(obs, index=obs["id"])).write_h5ad(path)
    own = {"perturbation": "genes", "control": "ntc", "control_match": ["length"]}
    scdata.build_shards(path, tmp_path / "set", **own)
    scdata.export_set(tmp_path / "set", tmp_path / "bank", "parquet-scgpt")
    again = scdata.build_shards(tmp_path / "bank", tmp_path / "again")
    assert again["perturbation"] == {"column": "genes", "control": "ntc", "match": ["length"]}
    roles = json.loads((tmp_path / "bank" / "scdata.json").read_text())["perturbation"]
    assert (roles["column"], roles["match"]) == ("obs.genes", ["length"])
    table = pq.read_table(tmp_path / "bank" / "cells.datatable.parquet")
    assert sorted(table["obs.id"].to_pylist()) == sorted(obs["id"])
    assert len(set(table.column_names)) == len(table.column_names)
    scdata.fit_set(tmp_path / "set")
    scdata.export_set(tmp_path / "set", tmp_path / "hf", "hf-geneformer", tokenizer="geneformer-v2+fit")
    found = datasets.load_from_disk(str(tmp_path / "hf"))
    assert found[:40]["length"] == [7] * 40
    assert found[:40]["obs.length"] == ["l"] * 40
    roles = json.loads((tmp_path / "hf" / "scdata.json").read_text())["perturbation"]
    assert (roles["column"], roles["match"]) == ("genes", ["obs.length"])


def test_options_override_what_an_export_says(exported, tmp_path):
    run = CliRunner().invoke
    build = ["build", str(exported("npz")), "-o", str(tmp_path / "set")]
    found = run(cli, build)
    assert found.exit_code == 0, found.output
    assert found.output.count("the roles of a perturbation come with npz") == 1
    assert "perturbation: guide, controls are 'ntc', matched within dataset, donor_id, lane" in found.output
    own = ["--perturbation", "donor_id", "--control", "d1", "--control-match", "", "--dataset-column", "lane"]
    found = run(cli, [*build, *own, "--organism", "rat", "--overwrite"])
    assert found.exit_code == 0, found.output
    assert "come with" not in found.output
    shards = ShardSet(tmp_path / "set")
    assert shards.manifest["perturbation"] == {"column": "donor_id", "control": "d1", "match": []}
    assert (shards.datasets, shards.organisms) == (["0", "1"], ["Rattus norvegicus"] * 2)
    assert "datasets" not in shards.manifest["sources"][0]


def without(table, *names):
    return {name: own for name, own in table.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: b"{", "scdata.json is ignored: "),
        (lambda table: b"\xff\xfe", "scdata.json is ignored: "),
        (lambda table: b"[" * 100_000, "scdata.json is ignored: "),
        (lambda table: json.dumps(table).encode() + b" " * (32 << 20), "bytes, and 33,554,432 are read at most"),
        (lambda table: b"[]", "no 'scdata_version', so it is not of scdata export"),
        (lambda table: without(table, "scdata_version"), "so it is not of scdata export"),
        (lambda table: table | {"perturbation": "guide"}, "expected column, control and match"),
        (lambda table: table | {"perturbation": ROLES | {"more": 1}}, "expected column, control and match"),
        (
            lambda table: table | {"perturbation": ROLES | {"control": 1}},
            "perturbation.control has 1, expected a string",
        ),
        (lambda table: table | {"perturbation": ROLES | {"control": "x" * 20_000}}, "at most 16,384 characters"),
        (
            lambda table: table | {"perturbation": ROLES | {"match": "lane"}},
            "perturbation.match is 'lane', expected a list",
        ),
        (
            lambda table: table | {"perturbation": ROLES | {"match": ["guide"]}},
            "names 'guide', the perturbation itself",
        ),
        (lambda table: table | {"dataset_column": 7}, "dataset_column has 7"),
        (lambda table: table | {"obs_added": "split"}, "obs_added is 'split', expected a list"),
        (lambda table: table | {"obs_renamed": ["a"]}, "expected lists 'name' and 'was'"),
        (
            lambda table: table | {"obs_renamed": {"name": ["a", "b"], "was": ["c", "c"]}},
            "2 and 2 values, or one twice",
        ),
        (lambda table: table | {"datasets": [TOLD]}, "expected lists, one of them 'dataset'"),
        (lambda table: table | {"datasets": {"dataset": ["a"], "title": []}}, "the lists of datasets have 1, 0 values"),
    ],
)
def test_what_is_no_side_file_of_ours_is_ignored_with_a_note(exported, change, said):
    path = exported("npz")
    own = change(json.loads((path / "scdata.json").read_text()))
    (path / "scdata.json").write_bytes(own if isinstance(own, bytes) else json.dumps(own).encode())
    source = open_source(path)
    [note] = source.notes
    assert note.startswith("scdata.json is ignored: ")
    assert said in note
    assert len(note) < 300
    assert source.perturbation is None
    assert source.genes.datasets == ("npz",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"column": "guides"}, "there is no obs column guides"),
        ({"match": ["lanes"]}, "there is no obs column lanes"),
        ({"column": "lane", "match": []}, "'lane' holds int64, not strings"),
        ({"control": "NTC"}, "no cell that is kept has 'NTC'"),
    ],
)
def test_roles_that_are_not_of_these_cells_go_with_a_note(exported, tmp_path, change, said):
    path = exported("npz")
    table = json.loads((path / "scdata.json").read_text()) | {"perturbation": ROLES | change}
    (path / "scdata.json").write_text(json.dumps(table))
    notes = Notes()
    manifest = scdata.build_shards(path, tmp_path / "set", limit=20, progress=notes)
    assert "perturbation" not in manifest
    assert sum(said in note for note in notes.said) == 1


def test_a_column_of_fractions_matches_no_controls(exported, tmp_path):
    cells = anndata.read_h5ad(exported("h5ad"))
    cells.obs["lane"] = cells.obs["lane"].astype(float)
    notes = Notes()
    assert "perturbation" not in scdata.from_anndata(cells, tmp_path / "set", progress=notes)
    assert sum("'lane' holds float64" in note for note in notes.said) == 1
    # a tool that drops the column of datasets
    del cells.obs["dataset"]
    scdata.from_anndata(cells, tmp_path / "one", progress=notes)
    assert any("the obs column 'dataset', which told datasets apart, is not there" in note for note in notes.said)
    assert ShardSet(tmp_path / "one").datasets == ["cells.h5ad"]


@pytest.mark.parametrize(
    "own",
    [
        "another tool's",
        {"scdata_version": 1, "perturbation": np.arange(3)},
        {"scdata_version": "1", "perturbation": {"column": "guide", "control": "ntc", "match": np.arange(2)}},
        {"scdata_version": "1", "perturbation": {"column": {"deep": {"deeper": "guide"}}}},
        {"scdata_version": "1", "perturbation": None},
        {f"k{i}": "" for i in range(65)},
        {"scdata_version": "1", "datasets": {"dataset": np.array(["a"] * 70_000)}},
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]),
    ],
)
def test_uns_of_another_making_is_ignored_with_a_note(exported, own):
    path = exported("h5ad")
    with h5py.File(path, "r+") as file:
        del file["uns/scdata"]
        if isinstance(own, np.ndarray):
            file["uns/scdata"] = own
        else:
            anndata.io.write_elem(file["uns"], "scdata", own)
    assert_ignored(open_source(path))


@pytest.mark.parametrize("own", ["another tool's", {"scdata_version": "1", "perturbation": None}])
def test_uns_of_another_making_in_zarr(exported, own):
    path = exported("zarr")
    root = zarr.open_group(path)
    del root["uns/scdata"]
    anndata.io.write_elem(root["uns"], "scdata", own)
    assert_ignored(open_source(path))


def assert_ignored(source):
    [note] = source.notes
    assert note.startswith("uns['scdata'] is ignored: ")
    assert source.perturbation is None
    assert source.read(slice(0, 3), ["guide"]).n_cells == 3


def test_a_side_file_that_changes_is_another_source(exported):
    path = exported("npz")
    before = open_source(path)
    known, size = before.fingerprint(["guide"]), before.stat()["size"]
    (path / "scdata.json").unlink()
    after = open_source(path)
    assert after.fingerprint(["guide"]) != known
    assert after.stat()["size"] < size
    assert after.genes.datasets == ("npz",)
