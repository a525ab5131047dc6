"""A running cluster of real processes does the work: same bytes, a dead worker is no matter, and clear refusals."""

import json
import os
import subprocess
import sys
import time

import pytest

import scdata
from scdata._errors import BuildError
from scdata.build.driver import running_cluster
from scdata.build.plan import libraries


@pytest.fixture
def dask_cluster(tmp_path):
    """Address of a scheduler, and two workers as processes."""
    path = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    more = ["--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(path)]
    processes = [subprocess.Popen([*command, *more], **quiet)]
    until = time.monotonic() + 60
    while not path.is_file() and time.monotonic() < until:
        time.sleep(0.05)
    address = json.loads(path.read_text())["address"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
    local = ["--no-dashboard", "--local-directory", str(tmp_path / "dask")]
    processes += [subprocess.Popen([*worker, *local], **quiet) for _ in range(2)]
    yield address, processes
    for process in processes:
        process.kill()
        process.wait(30)


def test_the_bytes_are_those_of_one_process(corpus, build_process, tree, dask_cluster, tmp_path):
    arguments, reference = corpus
    address, processes = dask_cluster
    out = tmp_path / "set"
    build = build_process(out=str(out), scheduler=address, **arguments)
    while build.poll() is None and len(list(out.glob(".build/scratch/scatter-*.json"))) < 3:
        time.sleep(0.005)
    processes[1].kill()  # without a nanny, nobody replaces it: the other one goes on
    _, errors = build.communicate(timeout=120)
    assert build.returncode == 0, errors
    assert tree(out) == tree(reference)


def test_a_worker_must_see_the_plan_and_have_the_same_libraries(dask_cluster, tmp_path):
    address, _ = dask_cluster
    plan = tmp_path / "plan.json"
    plan.write_text("{}")
    with running_cluster(address, plan, libraries) as (client, n_workers):
        assert n_workers >= 1
        assert client.submit(sum, [1, 2]).result() == 3
    here = os.getpid()

    def other():
        return {"numpy": "1" if os.getpid() == here else "0"}

    refused = pytest.raises(BuildError, match=r"worker tcp://.* has numpy 0, this process 1")
    with refused, running_cluster(address, plan, other):
        pass


def test_a_scheduler_that_is_not_there(tmp_path, monkeypatch):
    from scdata.build import driver

    monkeypatch.setattr(driver, "_ANSWER_S", 1)
    with pytest.raises(BuildError, match="no Dask scheduler answers"):
        scdata.build_shards("synthetic:cells=300,genes=20", tmp_path / "set", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ValueError, match="tcp://HOST:PORT"):
        scdata.build_shards("synthetic:cells=300,genes=20", tmp_path / "other", scheduler="127.0.0.1:9")
