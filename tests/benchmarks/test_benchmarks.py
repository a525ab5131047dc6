"""Benchmarks run at tiny size; what they time is not looked at."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scdata import objectives
from scdata.resources import resource

OBJECTIVES = {cls.__name__ for cls in objectives.Objective.__subclasses__() if cls.__module__.startswith("scdata.")}
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
    assert all(way["one"] > 0 and way["two"] > 0 for way in table["threads_cells_s"].values())
    assert set(table["start"]) == {"packed", "padded", "dense", "padded, geneformer-v2+fit"}
    assert all(0 < start["first_batch_s"] < 60 for start in table["start"].values())
    assert all(-50 < start["anonymous_mb"] < 2000 for start in table["start"].values())


def test_leak():
    sizes = ("--cells=300", "--genes=50", "--mean-genes=20", "--warm-up=1", "--epochs=2")
    table = result("bench_leak", *sizes, "--ways", "a loader each", "workers")
    assert {name: way["epochs"] for name, way in table["ways"].items()} == {"a loader each": 2, "workers": 2}
    assert all(way["cells"] > 200 for way in table["ways"].values())


@pytest.mark.slow
@pytest.mark.parametrize("way", ["one loader", "two threads", "a loader each", "workers", "new workers", "mixed"])
def test_hundreds_of_epochs_leave_nothing_behind(way):
    sizes = ("--cells=1000", "--genes=500", "--mean-genes=100", "--warm-up=100", "--epochs=200", "--seconds=1e9")
    table = result("bench_leak", *sizes, "--ways", way)["ways"][way]
    assert table["epochs"] == 200
    assert table["growth_mb"] < 3
    assert table["workers_mb"] < 10
    assert table["files"] < 4  # Arrow's pool of threads may still grow by one or two
    assert table["threads"] < 4


def test_build():
    table = result("bench_build", str(resource("demo/demo_pbmc_ifnb_1k.h5ad")), "--rounds=1", "--copies=1")
    assert table["nnz"] == 707646
    assert {run["M_nnz_s"] > 0 for run in table["runs"].values()} == {True}
    assert {"read h5ad, 1 process(es)", "build h5ad, 1 worker(s)", "build soma, 1 worker(s)"} <= set(table["runs"])


@pytest.mark.slow
def test_side_by_side():
    table = result("bench_side_by_side", str(resource("demo/demo_pbmc_ifnb_1k.h5ad")), "--rounds=1", "--copies=1")
    assert {"scdata counts", "scdata ranks", "webdataset"} == set(table["runs"])
    assert table["runs"]["scdata counts"]["bytes"] < table["runs"]["webdataset"]["bytes"]


@pytest.mark.slow
def test_object_store():
    table = result("bench_object_store", str(resource("demo/demo_pbmc_ifnb_1k.h5ad")), "--rounds=1", "--copies=1")
    assert set(table["ratios"]) == {"corpus.h5ad", "corpus.soma"}
    assert table["cells"] == 1000


@pytest.mark.slow
def test_remote():
    table = result("bench_remote", "--cells=500", "--latency=0.01", "--consumer=2000")
    assert set(table["runs"]) == {"store", "store, filling copies", "copies", "copies, store gone"}
    assert all(0 <= one["waited"] < 1 for one in table["runs"].values())


def test_depth():
    table = result("bench_depth", "--data", str(resource("demo")), "--sets", "demo_pbmc_ifnb_1k")
    (measured,) = table["sets"]
    assert abs(measured["ways"]["depth_edges"]["correlation"]) < abs(measured["ways"]["edges"]["correlation"])


def test_memory():
    table = result("bench_memory", "--cells", "200", "400", "--mean-genes=50")
    assert [run["cells"] <= n for run, n in zip(table["runs"], (200, 400), strict=True)] == [True, True]
    assert table["machine"]["cores"] > 0


def test_objectives():
    table = result("bench_objectives", "--cells=4", "--length=64", "--rounds=1")
    assert all(line["whole_us"] > 0 and line["batch_us"] > 0 for line in table["objectives"])
    assert {line["objective"].split("(")[0] for line in table["objectives"]} == OBJECTIVES


def test_statistics():
    table = result("bench_statistics", "synthetic:cells=300,genes=200,mean_genes=60", "--rounds=1")
    assert len(table["kinds"]) == 7
    assert all(kind["ns_a_nonzero"] > 0 for kind in table["kinds"].values())
    assert table["kinds"]["scatter"]["of_a_scatter"] == 1
    assert table["equal_cells"] == 0
