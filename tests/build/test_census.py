"""Cells of the Census, from a store of its shape."""

import json
import re
import shutil
import subprocess
import sys
from importlib.resources import files

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
import tiledbsoma

import scdata
from scdata import _storage
from scdata._errors import SourceError, StorageError
from scdata._storage import Storage
from scdata.build import BuildConfig, Progress, plan_build
from scdata.shard.shard_set import ShardSet
from scdata.source import CensusSource, SourceOptions, open_sources
from tests.census_store import DATASETS, TITLES, census_cells, write_census, write_soma


@pytest.fixture(scope="session")
def cells():
    return census_cells()


@pytest.fixture(scope="session")
def census(cells, tmp_path_factory):
    root = tmp_path_factory.mktemp("census") / "soma"
    write_census(root, cells)
    return root


@pytest.fixture(scope="session")
def built(census, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "set"
    uri = f"census:{census}/homo_sapiens+mus_musculus"
    return uri, out, scdata.build_shards(uri, out, splits=["val=0.2:dataset_id"], block_size=64)


def test_cells_that_are_not_primary_are_dropped(built, cells):
    _, out, manifest = built
    primary = cells["homo_sapiens"]["obs"]["is_primary_data"]
    drops = {(d["dataset"], d["reason"]): d["n_cells"] for d in manifest["drops"]}
    assert drops[DATASETS[0], "not primary data"] == (~primary[:400]).sum()
    assert drops[DATASETS[1], "not primary data"] == (~primary[400:]).sum()
    assert (DATASETS[2], "not primary data") not in drops
    assert manifest["n_cells"] + sum(drops.values()) == manifest["n_cells_read"] == 1000
    assert [s["default_filter"]["text"] for s in manifest["sources"]] == ["is_primary_data"] * 2
    assert [s["name"] for s in manifest["sources"]] == [
        "census:soma/homo_sapiens",
        "census:soma/mus_musculus",
    ]
    jsonschema.validate(manifest, json.loads((files("scdata.shard") / "manifest.schema.json").read_text()))
    assert scdata.verify_shards(out).ok


def test_counts_are_those_of_the_census(built, cells, read_cells):
    _, out, _ = built
    opened = ShardSet(out)
    names = dict(zip(opened.var["token_id"].to_pylist(), opened.var["feature_id"].to_pylist(), strict=True))
    found = read_cells(out)
    for first, part in ((0, cells["homo_sapiens"]), (700, cells["mus_musculus"])):
        x, ids = part["x"], part["var"]["feature_id"]
        for row in range(x.shape[0]):
            if part["obs"]["is_primary_data"][row] and x.indptr[row] < x.indptr[row + 1]:
                own = slice(x.indptr[row], x.indptr[row + 1])
                wanted = {ids[g]: int(v) for g, v in zip(x.indices[own], x.data[own], strict=True)}
                assert {names[t]: n for t, n in found[first + row]["counts"].items()} == wanted
            else:
                assert first + row not in found


def test_genes_of_both_organisms_and_what_was_measured(built, cells):
    opened = ShardSet(built[1])
    ids = opened.var["feature_id"].to_pylist()
    assert set(ids) == {*cells["homo_sapiens"]["var"]["feature_id"], *cells["mus_musculus"]["var"]["feature_id"]}
    assert opened.datasets == list(DATASETS)
    assert opened.organisms == ["Homo sapiens", "Homo sapiens", "Mus musculus"]
    human = np.array([i.startswith("ENSG") for i in ids])
    odd = np.array([int(i.lstrip("ENSGMU")) % 2 == 1 for i in ids])
    for dataset, wanted in enumerate((human, human & ~odd, ~human)):
        assert (opened.measured[dataset] == wanted).all()
    assert dict(zip(ids, opened.var["feature_length"].to_pylist(), strict=True))["ENSMUSG00000000007"] == 207


def test_datasets_in_the_manifest_and_in_inspect(built):
    _, out, manifest = built
    facts = {"collection": "IFN-β", "doi": "10.1038/nbt.4042", "citation": "Kang et al. (2018)"}
    assert manifest["sources"][0]["datasets"] == [{"id": DATASETS[i], "title": TITLES[i], **facts} for i in range(2)]
    assert "doi" not in manifest["sources"][1]["datasets"][0]
    run = subprocess.run([sys.executable, "-m", "scdata.cli.main", "inspect", str(out)], capture_output=True, text=True)
    assert "Blood, treated (10.1038/nbt.4042)" in run.stdout, run.stderr


def test_the_users_filter_and_limit(census, cells, tmp_path):
    uri = f"census:{census}/homo_sapiens"
    every = scdata.build_shards(uri, tmp_path / "all", obs_filter="is_primary_data in [True, False]")
    assert every["n_cells"] == 700
    assert "default_filter" not in every["sources"][0]
    few = scdata.build_shards(uri, tmp_path / "few", limit=100, obs_filter="cell_type == 'B cell'")
    assert few["n_cells"] == 100
    reasons = {}
    for drop in few["drops"]:
        reasons[drop["reason"]] = reasons.get(drop["reason"], 0) + drop["n_cells"]
    obs = cells["homo_sapiens"]["obs"]
    assert reasons["not primary data"] == (~obs["is_primary_data"]).sum()
    assert reasons["obs filter"] == (obs["is_primary_data"] & (obs["cell_type"] != "B cell")).sum()


def test_the_same_bytes_again_also_when_resumed_and_written_to(built, census, tmp_path, tree):
    uri, out, _ = built
    arguments = {"splits": ("val=0.2:dataset_id",), "block_size": 64}
    copy = tmp_path / "copy" / "soma"
    shutil.copytree(census, copy)
    uri = f"census:{copy}/homo_sapiens+mus_musculus"
    plan_build(BuildConfig(sources=(uri,), out=str(tmp_path / "set"), **arguments), Progress())
    plan = json.loads((tmp_path / "set" / ".build" / "plan.json").read_text())
    jsonschema.validate(plan, json.loads((files("scdata.build") / "plan.schema.json").read_text()))
    write_soma(
        tiledbsoma.SparseNDArray,
        f"{copy}/census_data/homo_sapiens/ms/RNA/X/raw",
        pa.table({"soma_dim_0": [0], "soma_dim_1": [1], "soma_data": pa.array([9], pa.float32())}),
    )
    scdata.build_shards(uri, tmp_path / "set", **arguments)
    assert tree(tmp_path / "set") == tree(out)
    with pytest.raises(SourceError, match=r"row 0 holds \d+ values, but its obs says nnz = \d+, as 1 of the rows"):
        scdata.build_shards(uri, tmp_path / "new", **arguments)


def test_from_a_bucket(built, census, s3, tree, tmp_path, monkeypatch):
    uri = s3.upload(census, "census/soma")
    where = {"endpoint": s3.endpoint, "region": s3.region}
    arguments = {"splits": ["val=0.2:dataset_id"], "block_size": 64, "workers": 2}
    scdata.build_shards(f"census:{uri}/homo_sapiens+mus_musculus", tmp_path / "set", **where, **arguments)
    assert tree(tmp_path / "set") == tree(built[1])
    monkeypatch.setattr(_storage, "_ATTEMPTS", 1)
    with pytest.raises(StorageError, match=r"s3://cells/census/soma: .*check the address"):
        open_sources(f"census:{uri}/homo_sapiens", SourceOptions(storage=Storage(endpoint="http://127.0.0.1:9")))


def test_a_set_is_verified_against_its_census(built):
    uri, out, _ = built
    report = scdata.verify_against(out, [uri])
    assert report.ok, report.problems


def test_nnz_of_rows_comes_from_obs(census, cells):
    [source] = open_sources(f"census:{census}/homo_sapiens", SourceOptions())
    assert isinstance(source, CensusSource)
    wanted = np.diff(cells["homo_sapiens"]["x"].indptr)
    assert (source.row_nnz(slice(0, 700)) == wanted).all()
    assert (source.row_nnz(slice(3, 90)) == wanted[3:90]).all()
    assert (source.row_nnz(slice(650, 700)) == wanted[650:]).all()
    assert source.var.column_names[:2] == ["var_name", "feature_id"]


def test_what_is_not_there(census, tmp_path):
    for uri, message in (
        (f"census:{census}/danio_rerio", "no organism 'danio_rerio'; there are homo_sapiens, mus_musculus"),
        (f"census:{census}/", "no organism 'soma'|no SOMA collection|no Census"),
        ("census:homo_sapiens", "write census:RELEASE/ORGANISM"),
        (f"census:{census}/homo_sapiens+homo_sapiens", "write census:RELEASE/ORGANISM"),
        (f"census:{tmp_path}/homo_sapiens", "no SOMA collection is there"),
        (f"census:{census}/census_data/homo_sapiens", "no Census|no SOMA collection"),
    ):
        with pytest.raises(SourceError, match=message):
            open_sources(uri, SourceOptions())


_DIRECTORY = {
    "stable": "2025-11-08",
    "latest": "2026-01-05",
    "2025-11-08": {"release_build": "2025-11-08", "soma": {"relative_uri": "/2025/soma/"}, "h5ads": {}},
    "2026-01-05": {"release_build": "2026-01-05", "soma": {"relative_uri": "/none/soma/"}, "h5ads": {}},
    "2024-01-01": {
        "release_build": "2024-01-01",
        "soma": {"relative_uri": "/old/soma/"},
        "h5ads": {},
        "flags": {"retracted": True},
        "retraction": {"date": "2024-02-01", "reason": "mistakes happen", "replaced_by": "stable"},
    },
}


@pytest.fixture
def directory(tmp_path, census, monkeypatch):
    """The Census's directory of releases, on a web server here; a function that ends it."""
    from cellxgene_census import _release_directory as releases

    mirrors = {"default": "here", "here": {"provider": "file", "base_uri": str(tmp_path / "mirror"), "region": None}}
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "2025").symlink_to(census.parent)
    (tmp_path / "release.json").write_text(json.dumps(_DIRECTORY))
    (tmp_path / "mirrors.json").write_text(json.dumps(mirrors))
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        root = re.search(r"http://[^/]+", server.stdout.readline()).group(0)
        monkeypatch.setattr(releases, "CELL_CENSUS_RELEASE_DIRECTORY_URL", f"{root}/release.json")
        monkeypatch.setattr(releases, "CELL_CENSUS_MIRRORS_DIRECTORY_URL", f"{root}/mirrors.json")
        yield server.kill
        server.kill()


def test_releases_by_name(directory, cells):
    for name in ("stable", "2025-11-08"):
        [source] = open_sources(f"census:{name}/mus_musculus", SourceOptions())
        assert source.name == "census:2025-11-08/mus_musculus"
        assert source.n_obs == 300
        assert source.storage.anonymous
    with pytest.raises(
        SourceError, match=r"census:2020-02-02: no such release; there are stable, latest, 2026-01-05, 2025"
    ):
        open_sources("census:2020-02-02/homo_sapiens", SourceOptions())
    with pytest.raises(SourceError, match=r"was retracted \(mistakes happen\); use stable"):
        open_sources("census:2024-01-01/homo_sapiens", SourceOptions())
    with pytest.raises(SourceError, match=r"mirror/none/soma: not found"):
        open_sources("census:latest/homo_sapiens", SourceOptions())
    directory()
    with pytest.raises(
        StorageError, match=r"census:stable: releases are looked up .* without a network, name the store"
    ):
        open_sources("census:stable/homo_sapiens", SourceOptions())


def test_a_dry_run(census):
    command = [
        sys.executable,
        "-m",
        "scdata.cli.main",
        "build",
        f"census:{census}/homo_sapiens",
        "-o",
        "set",
        "--dry-run",
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "keep 525 of 700 cells and 400 genes" in run.stdout
