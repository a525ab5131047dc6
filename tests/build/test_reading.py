import json
from importlib.resources import files

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scdata
from scdata._errors import BuildError
from scdata.build import reading
from scdata.build.reading import _runs
from scdata.source import DefaultFilter
from scdata.source.synthetic import SyntheticSource

SOURCE = "synthetic:cells=6000,genes=60,mean_genes=15"


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=30), st.integers(1, 20))
def test_runs_hold_all_that_is_wanted_and_no_long_run_of_others(lengths, gap):
    wanted = np.array([value for value, n in lengths for _ in range(n)], bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_GAP_ROWS", gap)
        runs = _runs(wanted)
    read = np.zeros(len(wanted), bool)
    for begin, end in runs:
        assert not read[begin:end].any()
        read[begin:end] = True
        assert wanted[begin]
        assert wanted[end - 1]
    assert read[wanted].all()
    unwanted = "".join("x" if r and not w else " " for r, w in zip(read, wanted, strict=True)).split()
    assert all(len(run) <= gap for run in unwanted)


@pytest.fixture
def rows_read(monkeypatch):
    rows, read = [], SyntheticSource.read
    monkeypatch.setattr(SyntheticSource, "read", lambda self, part, *a: (rows.append(part), read(self, part, *a))[1])
    return rows


def test_counts_of_cells_that_obs_leaves_out_are_not_read(tmp_path, rows_read):
    manifest = scdata.build_shards(SOURCE, tmp_path / "set", obs_filter="dataset_id == 'synthetic-0003'", workers=1)
    sampled, read = rows_read[:2], rows_read[2:]  # the plan looks at two slices of 4096
    assert sum(part.stop - part.start for part in sampled) == 6000
    assert [(part.start, part.stop) for part in read] == [(4500, 6000)]
    assert manifest["n_cells_read"] == 6000
    assert {drop["dataset"]: drop["n_cells"] for drop in manifest["drops"] if drop["reason"] == "obs filter"} == {
        f"synthetic-000{i}": 1500 for i in range(3)
    }


@pytest.mark.parametrize(
    "options", [{"obs_filter": "batch == 1 and is_control"}, {"limit": 700, "obs_filter": "age > 40"}]
)
def test_skipping_changes_no_byte(tmp_path, monkeypatch, tree, options):
    monkeypatch.setattr(reading, "_GAP_ROWS", 1)
    monkeypatch.setattr(reading, "_OBS_ROWS", 777)
    scdata.build_shards(SOURCE, tmp_path / "skipping", **options)
    monkeypatch.setattr(reading, "_GAP_ROWS", 10**9)
    monkeypatch.setattr(reading, "_OBS_ROWS", 10**9)
    scdata.build_shards(SOURCE, tmp_path / "whole", **options)
    assert tree(tmp_path / "skipping") == tree(tmp_path / "whole")


@pytest.fixture
def defaulted(monkeypatch):
    """Synthetic sources come with a filter of their own."""
    own = DefaultFilter(text="not is_control", reason="not a treated cell")
    monkeypatch.setattr(SyntheticSource, "default_filter", own, raising=False)


def test_a_default_filter_is_one_of_the_users_with_another_reason(tmp_path, tree, defaulted, monkeypatch):
    options = {"splits": ["val=0.2:donor_id"], "limit": 900}
    more = "batch == 1"
    scdata.build_shards(SOURCE, tmp_path / "default", obs_filter=more, **options)
    monkeypatch.delattr(SyntheticSource, "default_filter")
    scdata.build_shards(SOURCE, tmp_path / "asked", obs_filter=f"{more} and not is_control", **options)
    own, asked = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("default", "asked"))
    assert own["shards"] == asked["shards"]
    assert own["n_cells"] < 900
    assert own["sources"][0]["default_filter"] == {"text": "not is_control", "reason": "not a treated cell"}
    assert "default_filter" not in asked["sources"][0]
    assert {d["reason"] for d in own["drops"]} == {*(d["reason"] for d in asked["drops"]), "not a treated cell"}
    assert [sum(d["n_cells"] for d in table["drops"]) for table in (own, asked)] == [6000 - own["n_cells"]] * 2
    schema = json.loads((files("scdata.shard") / "manifest.schema.json").read_text())
    jsonschema.validate(own, schema)


def test_a_default_filter_is_void_where_the_user_filters_by_its_column(tmp_path, defaulted):
    manifest = scdata.build_shards(SOURCE, tmp_path / "set", obs_filter="is_control in [True, False]")
    assert {drop["reason"] for drop in manifest["drops"]} == {"no counts"}
    assert "default_filter" not in manifest["sources"][0]
    with pytest.raises(
        BuildError,
        match=r"no cells: --obs-filter 'age < 0' with the source's own filter 'not is_control' keeps none of the 6000 cells",
    ):
        scdata.build_shards(SOURCE, tmp_path / "none", obs_filter="age < 0")


def test_a_build_with_a_default_filter_is_verified_against_its_source(tmp_path, defaulted):
    scdata.build_shards(SOURCE, tmp_path / "set", obs=["batch"])
    assert scdata.verify_against(tmp_path / "set", [SOURCE]).ok
