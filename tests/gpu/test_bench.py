"""The benchmark runs at tiny size; what it times is not looked at."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_gpu.py"


@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location("bench_gpu", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_kernels_are_timed_and_compared(device, bench):
    result = bench.measure(device.cupy, lambda: None, n_cells=3, at_least=0)
    assert result["cells"]["n"] == 3
    assert set(result["kernels"]) == set(bench.CASES)
    assert all(kernel["equal"] for kernel in result["kernels"].values())
    assert {kernel["goal_cells_s"] for kernel in result["kernels"].values() if "goal_met" in kernel} == {2e6}
    assert all(moved["cells_s"] > 0 for moved in result["with_transfers"].values())


def test_a_result_that_is_not_that_of_the_cpu_is_said(device, bench, monkeypatch):
    wrong = lambda c: c.counts + (0 if isinstance(c.counts, np.ndarray) else 1)  # noqa: E731
    monkeypatch.setattr(bench, "CASES", {"wrong": (wrong, 8)})
    assert not bench.measure(device.cupy, lambda: None, n_cells=2, at_least=0)["kernels"]["wrong"]["equal"]


def test_without_a_device_it_says_so(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "device_count", lambda: 0)
    assert bench.main([]) == 1
    assert "no CUDA device" in capsys.readouterr().err


def test_the_machine_is_named(device, bench):
    if not device.real:
        pytest.skip("needs a device")
    table = bench.machine(device.cupy)
    assert table["device"]
    assert table["multiprocessors"] > 0
