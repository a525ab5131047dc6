"""The benchmark of the loader on a device runs at tiny size, on the CPU; what it times is not looked at."""

import importlib.util
from pathlib import Path

import pytest

import scdata

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_gpu_loader.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_gpu_loader", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "set"
    scdata.build_shards("synthetic:cells=300,genes=60", out, block_size=32)
    scdata.fit_set(out)
    return out


def test_loaders_are_compared(bench, path):
    table = bench.loaders(path, "cpu", lambda: None, 0.01, [0], rounds=1)
    assert set(table) == set(bench.CASES)
    assert all(case["equal"] and case["0 threads"]["device_cells_s"] > 0 for case in table.values())


def test_batches_that_differ_are_said(bench, path, monkeypatch):
    # as if a device drew by another seed
    given = scdata.ShardDataset
    monkeypatch.setattr(
        scdata, "ShardDataset", lambda path, device="cpu", **o: given(path, seed=int(device != "cpu"), **o)
    )
    assert not bench.equal(path, "cuda", {"batch_size": 64})


def test_a_step_is_timed(bench, path):
    table = bench.training(path, "cpu", lambda: None, steps=1, batch_size=2, width=8, layers=1)
    assert table["kept_ms"] > 0
    assert {"device_wait", "moved_wait", "goal_met"} <= set(table)


def test_without_a_device_it_says_so(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "device_count", lambda: 0)
    assert bench.main([]) == 1
    assert "no CUDA device" in capsys.readouterr().err
