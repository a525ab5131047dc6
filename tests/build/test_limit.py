"""``--limit`` and bounds on cells: exact, nested, and every cell accounted for."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import scdata
from scdata._splitmix import keys, stream
from scdata.build.limit import SmallestKeys
from scdata.cli.main import cli

SOURCE = "synthetic:cells=3000,genes=60,mean_genes=20"


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=60, unique=True), st.data())
def test_the_nth_smallest_key_is_exact(numbers, data):
    n = data.draw(st.integers(1, len(numbers) - 1))
    found, parts = SmallestKeys(n), np.array_split(np.array(numbers, np.uint64), 3)
    for part in parts:
        found.count(part)
    assert found.enough
    for part in parts:
        found.collect(part)
    assert found.nth() == sorted(numbers)[n - 1]
    assert not SmallestKeys(1).enough


def test_limits_are_nested_in_every_split(read_cells, tmp_path):
    arguments = {"splits": ["val=0.2:donor_id"], "obs_filter": "not is_control", "seed": 5}
    whole = read_cells(scdata_set(tmp_path / "whole", **arguments))
    sets = {n: read_cells(scdata_set(tmp_path / str(n), limit=n, **arguments)) for n in (100, 400, 1200)}
    last = {}
    for n, cells in sets.items():
        assert last.items() <= {cell: own["split"] for cell, own in cells.items()}.items()
        last = {cell: own["split"] for cell, own in cells.items()}
        manifest = json.loads((tmp_path / str(n) / "manifest.json").read_text())
        drops = {}
        for drop in manifest["drops"]:
            drops[drop["reason"]] = drops.get(drop["reason"], 0) + drop["n_cells"]
        # exactly n are drawn; those without counts among them are counted for that
        assert manifest["n_cells"] + drops.get("no counts", 0) == n
        assert manifest["n_cells"] + sum(drops.values()) == 3000
    # the oracle: the smallest keys of those that pass, sorted in memory
    source = scdata.open_source(SOURCE)
    passes = np.flatnonzero(~source.obs(slice(0, 3000), ["is_control"])["is_control"].to_numpy())
    drawn = passes[np.argsort(keys(passes, stream(5, "limit")))][:400]
    assert set(sets[400]) == set(drawn.tolist()) & set(whole)
    assert all(whole[cell]["counts"] == own["counts"] for cell, own in sets[400].items())


def scdata_set(out, **arguments):
    scdata.build_shards(SOURCE, out, **arguments)
    return out


def test_a_limit_over_the_number_of_cells_keeps_all(tmp_path):
    whole = scdata.build_shards(SOURCE, tmp_path / "a")
    assert scdata.build_shards(SOURCE, tmp_path / "b", limit=3000)["content_hash"] == whole["content_hash"]


def test_bounds_on_counts_and_genes(read_cells, tmp_path):
    bounds = {"min_counts": 20, "max_counts": 200, "min_genes": 12, "max_genes": 25}
    cells = read_cells(scdata_set(tmp_path / "set", **bounds))
    block = scdata.open_source(SOURCE).read(slice(0, 3000))
    total = np.add.reduceat(np.append(block.data, 0), block.indptr[:-1]) * (np.diff(block.indptr) > 0)
    genes = np.diff(block.indptr)
    keep = (total >= 20) & (total <= 200) & (genes >= 12) & (genes <= 25)
    assert 0 < keep.sum() < 3000
    assert sorted(cells) == np.flatnonzero(keep).tolist()
    drops = json.loads((tmp_path / "set" / "manifest.json").read_text())["drops"]
    reasons = {"no counts", "fewer than 20 counts", "more than 200 counts", "fewer than 12 genes", "more than 25 genes"}
    assert {drop["reason"] for drop in drops} <= reasons
    shown = CliRunner().invoke(cli, ["inspect", str(tmp_path / "set"), "--drops", "--json"])
    table = json.loads(shown.stdout)
    assert table["ok"]
    assert table["n_cells_read"] == 3000
    assert [entry["read"] for entry in table["datasets"]] == [750] * 4
    assert sum(entry["kept"] for entry in table["datasets"]) == len(cells)
    text = CliRunner().invoke(cli, ["inspect", str(tmp_path / "set"), "--drops"]).stdout
    assert "3,000 cells were read: every one is accounted for" in text
    assert "fewer than 12 genes" in text


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"min_counts": -1}, {"min_genes": 5, "max_genes": 4}])
def test_wrong_bounds(wrong, tmp_path):
    with pytest.raises(ValueError, match=r"at least 1 cell|from 0 on"):
        scdata.build_shards(SOURCE, tmp_path / "set", **wrong)


def test_a_limit_is_part_of_what_a_resume_must_agree_with(tmp_path):
    scdata_set(tmp_path / "set", limit=50)
    table = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert table["config"]["limit"] == 50
    assert table["n_cells_read"] == 3000
