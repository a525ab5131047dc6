"""Roles of obs columns in a screen: named at the build, kept by sets made of it, and shown."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from click.testing import CliRunner

import scdata
from scdata.cli.main import cli
from scdata.report.content import composition
from scdata.report.set_numbers import SetNumbers
from scdata.shard.roles import PerturbationRoles, roles_of
from scdata.shard.shard_set import ShardSet

ROLES = {"perturbation": "guide", "control": "ntc"}


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """400 cells of 2 donors and 4 lanes; one perturbation has one cell."""
    rng = np.random.default_rng(0)
    guide = np.array(["ntc", "GATA1", "SPI1", "RUNX1"])[rng.integers(4, size=400)]
    guide[7] = "MYC"
    obs = pd.DataFrame(
        {
            "guide": guide,
            "donor_id": np.where(np.arange(400) % 2, "d1", "d2"),
            "lane": rng.integers(4, size=400),
            "score": rng.random(400),
            "treated": guide != "ntc",
        },
        index=[f"c{i}" for i in range(400)],
    )
    x = sp.csr_matrix(rng.poisson(0.5, (400, 60)).astype(np.float32))
    path = tmp_path_factory.mktemp("screen") / "screen.h5ad"
    anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(60)])).write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def named(screen, tmp_path_factory):
    out = tmp_path_factory.mktemp("named") / "set"
    scdata.build_shards(screen, out, splits=["val=0.2"], **ROLES)
    return out


def roles(path):
    return roles_of(ShardSet(path).manifest)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, ("donor_id",)),
        ({"genes": "hvg:20", "batch_key": "donor_id", "tokenizer": "scgpt", "assets": "fit"}, ("donor_id",)),
        ({"control_match": ["lane", "treated"]}, ("lane", "treated")),
        ({"control_match": []}, ()),
        # what has a role is stored, whatever obs says
        ({"obs": ["score"]}, ("donor_id",)),
    ],
)
def test_the_manifest_names_the_roles(screen, tmp_path, options, match):
    scdata.build_shards(screen, tmp_path / "set", **ROLES, **options)
    assert roles(tmp_path / "set") == PerturbationRoles("guide", "ntc", match)
    assert {"guide", *match} <= {column["name"] for column in ShardSet(tmp_path / "set").manifest["obs"]}
    assert scdata.verify_shards(tmp_path / "set").ok
    assert scdata.verify_against(tmp_path / "set", [str(screen)]).ok


def test_a_perturbation_of_very_many_values_is_stored(make_h5ad, tmp_path):
    guide = [f"guide {i}" for i in range(1100)] + ["ntc"]
    obs = {"guide": guide, "barcode": [f"b{i}" for i in range(1101)]}
    path = make_h5ad("many", np.ones((1101, 3)), obs)
    manifest = scdata.build_shards(path, tmp_path / "set", **ROLES)
    assert manifest["obs_left_out"] == ["barcode"]
    assert len(ShardSet(tmp_path / "set").categories["guide"]) == 1101


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"perturbation": "guid", "control": "ntc"}, scdata.ScdataError, "no obs column 'guid': did you mean 'guide'"),
        ({"perturbation": "lane", "control": "1"}, scdata.ScdataError, "'lane' holds int64, not strings: "),
        (ROLES | {"control": "NTC"}, scdata.ScdataError, "no cell that is kept has 'NTC' in the obs column 'guide'"),
        (ROLES | {"obs_filter": "treated"}, scdata.ScdataError, "no cell that is kept has 'ntc'"),
        (ROLES | {"control_match": ["lanes"]}, scdata.ScdataError, "did you mean 'lane'"),
        (ROLES | {"control_match": ["score"]}, scdata.ScdataError, "'score' holds float64"),
        (ROLES | {"control_match": ["guide"]}, ValueError, "the perturbation itself"),
        ({"control": "ntc"}, ValueError, "control = 'ntc' without perturbation"),
        ({"perturbation": "guide"}, ValueError, "perturbation = 'guide' without control"),
        ({"control_match": ["lane"]}, ValueError, "nothing to match"),
    ],
)
def test_roles_that_do_not_fit_are_refused(screen, tmp_path, options, kind, said):
    with pytest.raises(kind, match=said):
        scdata.build_shards(screen, tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()


def test_a_set_made_of_sets_keeps_their_roles(screen, named, tmp_path):
    scdata.build_shards(named, tmp_path / "again", limit=300)
    assert roles(tmp_path / "again") == roles(named) == PerturbationRoles("guide", "ntc", ("donor_id",))
    assert scdata.verify_against(tmp_path / "again", [str(named)]).ok
    scdata.build_shards(named, tmp_path / "restated", perturbation="guide", control="SPI1", control_match=["lane"])
    assert roles(tmp_path / "restated") == PerturbationRoles("guide", "SPI1", ("lane",))
    scdata.build_shards([named, tmp_path / "again"], tmp_path / "two")
    assert roles(tmp_path / "two") == roles(named)


@pytest.mark.parametrize(
    ("with_file", "options", "said"),
    [
        (True, {}, "do not agree on the roles"),
        (False, {"obs": ["lane"]}, "--obs does not keep guide, donor_id"),
        (False, {"obs_filter": "treated"}, "no cell that is kept has 'ntc'"),
    ],
)
def test_roles_that_came_with_a_set_and_do_not_fit_go(screen, named, tmp_path, with_file, options, said):
    notes = []

    class Kept(scdata.build.Progress):
        def note(self, text):
            notes.append(text)

    sources = [named, screen] if with_file else [named]
    manifest = scdata.build_shards(sources, tmp_path / "set", progress=Kept(), **options)
    assert "perturbation" not in manifest
    assert sum(said in note for note in notes) == 1


def test_commands_show_the_roles_in_a_line(screen, named, tmp_path):
    line = "perturbation: guide, controls are 'ntc', matched within dataset, donor_id"
    run = CliRunner().invoke
    build = ["build", str(screen), "-o", str(tmp_path / "set"), "--perturbation", "guide", "--control", "ntc"]
    for command in ([*build, "--dry-run"], build, ["inspect", str(named)]):
        found = run(cli, command)
        assert found.exit_code == 0, found.output
        assert found.output.count(line) == 1
    for command in ([*build, "--dry-run"], ["inspect", str(named)]):
        found = run(cli, [*command, "--json", *(["--overwrite"] if command[0] == "build" else [])])
        last = json.loads(found.stdout.splitlines()[-1])
        assert last["perturbation"] == {"column": "guide", "control": "ntc", "match": ["donor_id"]}
    exported = ["export", str(named), str(tmp_path / "set.npz"), "--format", "npz"]
    assert line in run(cli, exported, catch_exceptions=False).output
    assert "perturbation: guide, controls are 'ntc'" in run(cli, ["card", str(named)]).output
    (tmp_path / "build.toml").write_text('perturbation = "guide"\ncontrol = "ntc"\ncontrol-match = "lane"\n')
    found = run(cli, [*build[:3], str(tmp_path / "file"), "--config", str(tmp_path / "build.toml")])
    assert found.exit_code == 0, found.output
    assert roles(tmp_path / "file").match == ("lane",)
    assert run(cli, [*build[:5], str(tmp_path / "none"), "--control", "ntc"]).exit_code != 0


def test_a_report_shows_the_roles(named):
    cells = {"n_cells": 400, "columns": [], "numbers": [], "obs_left_out": [], "splits": {}}
    numbers = SetNumbers("set", cells | {"perturbation": ShardSet(named).manifest["perturbation"]}, "", "")
    assert "perturbation: guide, controls are &#x27;ntc&#x27;" in "".join(composition(numbers, "one"))
    numbers = SetNumbers("set", cells | {"perturbation": None}, "", "")
    assert "perturbation" not in "".join(composition(numbers, "one"))


def test_a_manifest_with_roles_that_are_none_is_refused(named, tmp_path):
    table = json.loads((named / "manifest.json").read_text())
    right = {"column": "guide", "control": "ntc", "match": []}
    changes = ({"control": 1}, {"column": "none"}, {"match": ["none"]}, {"match": "lane"}, {"more": ""})
    for wrong in ("guide", {"column": "guide"}, *(right | change for change in changes)):
        (tmp_path / "manifest.json").write_text(json.dumps(table | {"perturbation": wrong}))
        with pytest.raises(scdata.ScdataError, match="perturbation"):
            ShardSet(tmp_path)
    del table["perturbation"]
    (tmp_path / "manifest.json").write_text(json.dumps(table))
    assert roles_of(ShardSet(tmp_path).manifest) is None
