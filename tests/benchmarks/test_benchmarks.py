"""Benchmarks run at tiny size; what they time is not looked at."""

import json
import subprocess
import sys
from pathlib import Path

from scdata.resources import resource

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def result(name, *arguments):
    command = [sys.executable, str(FOLDER / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_stream():
    table = result("bench_stream", "--cells=300", "--genes=200", "--mean-genes=50", "--rounds=1", "--seconds=0.02")
    assert len(table["modes"]) == 6
    assert all(rate > 0 for mode in table["modes"] for rate in mode["cells_core_s"].values())
    assert all(rate > 0 for rate in table["on_the_fly_packed_64"].values())
    assert table["bytes_a_cell"]["none"] > table["bytes_a_cell"]["zstd"] > 0


def test_build():
    table = result("bench_build", str(resource("demo/demo_pbmc_ifnb_1k.h5ad")), "--rounds=1")
    assert {run["nnz_s"] > 0 for run in table["runs"].values()} == {True}
    assert set(table["runs"]) >= {"read h5ad", "read soma", "build h5ad, 1 worker(s)", "build soma, 2 worker(s)"}


def test_depth():
    table = result("bench_depth", "--data", str(resource("demo")), "--sets", "demo_pbmc_ifnb_1k")
    (measured,) = table["sets"]
    assert abs(measured["ways"]["depth_edges"]["correlation"]) < abs(measured["ways"]["edges"]["correlation"])


def test_memory():
    table = result("bench_memory", "--cells", "200", "400", "--mean-genes=50")
    assert [run["cells"] <= n for run, n in zip(table["runs"], (200, 400), strict=True)] == [True, True]
    assert table["machine"]["cores"] > 0
