import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scdata
from scdata.build import reading
from scdata.build.reading import _runs
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
