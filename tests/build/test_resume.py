"""Builds that are killed, and go on."""

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

import scdata


def finish(build_process, arguments):
    process = build_process(**arguments)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors


def kill_at(build_process, arguments, moment):
    """Start a build and kill it with SIGKILL as soon as `moment` says so; False if it was done before."""
    process, until = build_process(**arguments), time.monotonic() + 100
    try:
        while process.poll() is None:
            assert time.monotonic() < until, "the build hangs"
            if moment():
                process.kill()
                break
            time.sleep(0.002)
    finally:
        if time.monotonic() >= until:
            process.kill()
        process.wait(30)
        process.stdout.close()
        process.stderr.close()
    return process.returncode == -signal.SIGKILL


def files(out):
    """How many tasks have left their mark, by what they are."""
    out = Path(out)
    return {
        "lock": (out / ".build" / "lock").is_file(),
        "scatter": len(list(out.glob(".build/scratch/scatter-*.json"))),
        "gather": len(list(out.glob(".build/shards/shard-*.json"))),
        "plan": (out / ".build" / "plan.json").is_file(),
    }


def check(out, tree, reference):
    assert tree(out) == tree(reference)
    assert scdata.verify_shards(out).problems == []
    assert not (Path(out) / ".build").exists()
    assert not list(Path(out).rglob("*.tmp"))


def test_killed_in_scatter_and_in_gather(corpus, tree, build_process, tmp_path):
    arguments, reference = corpus
    arguments = {**arguments, "out": str(tmp_path / "set")}
    out = arguments["out"]
    assert kill_at(build_process, arguments, lambda: files(out)["scatter"] >= 3)
    assert not (tmp_path / "set" / "manifest.json").exists()
    with pytest.raises(scdata.ScdataError, match="holds an unfinished build"):
        scdata.verify_shards(out)
    # a build that died while it wrote leaves a file of a temporary name behind
    litter = tmp_path / "set" / "shards" / "000" / f".train-000000.tar.{'0' * 32}.tmp"
    litter.parent.mkdir(parents=True)
    litter.write_bytes(b"half a shard")
    assert kill_at(build_process, arguments, lambda: files(out)["gather"] >= 4)
    done = files(out)
    marks = {path: path.stat().st_mtime_ns for path in Path(out).glob(".build/s*/s*-*.json")}
    assert len(marks) == done["scatter"] + done["gather"]
    assert kill_at(build_process, arguments, lambda: files(out)["gather"] >= done["gather"] + 2)
    # nothing that was done was done again
    assert all(path.stat().st_mtime_ns == then for path, then in marks.items())
    finish(build_process, arguments)
    check(out, tree, reference)


# How far a build is when it is killed: by what it has left behind, not by the clock, so that a machine that is busy
# with other things sees the same moments. There are 11 tasks of scatter and 15 shards.
MOMENTS = [("lock", 1), ("plan", 1)]
MOMENTS += [("scatter", n) for n in (1, 4, 7, 10)]
MOMENTS += [("gather", n) for n in (1, 5, 9, 13)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_ten_moments(corpus, tree, build_process, tmp_path, workers):
    arguments, reference = corpus
    for what, n in MOMENTS:
        out = str(tmp_path / f"{what}-{n}")
        own = {**arguments, "workers": workers, "out": out}
        assert kill_at(build_process, own, lambda out=out, what=what, n=n: files(out)[what] >= n), (what, n)
        assert not (Path(out) / "manifest.json").exists()
        finish(build_process, own)
        check(out, tree, reference)


def children(pid):
    """Process ids of the children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def workers_of(process):
    """Process ids of the workers of a build that runs."""
    return [p for p in children(process.pid) if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]


def test_a_worker_that_dies_is_replaced(corpus, tree, build_process, tmp_path):
    arguments, reference = corpus
    out = tmp_path / "set"
    process = build_process(out=str(out), workers=2, **arguments)
    while process.poll() is None and files(out)["scatter"] < 2:
        time.sleep(0.005)
    workers = workers_of(process)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    check(out, tree, reference)


@pytest.mark.slow
def test_workers_that_die_at_ten_moments_are_replaced(corpus, tree, build_process, tmp_path):
    arguments, reference = corpus
    moments = [(what, n) for what in ("scatter", "gather") for n in (1, 3, 5, 7, 9)]
    for i, (what, n) in enumerate(moments):
        out = tmp_path / f"set-{i}"
        process = build_process(**arguments, workers=2, out=str(out))
        while process.poll() is None and files(out)[what] < n:
            time.sleep(0.002)
        workers = workers_of(process)
        assert len(workers) == 2, (what, n)
        os.kill(workers[i % 2], signal.SIGKILL)
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
        check(out, tree, reference)


# rows that no process survives
_DEADLY = """
import os, sys
from scdata.source.synthetic import SyntheticSource
_read = SyntheticSource.read
def read(self, rows, columns=()):
    if rows.start <= 9000 < rows.stop and "spawn_main" in " ".join(sys.orig_argv):
        os._exit(137)
    return _read(self, rows, columns)
SyntheticSource.read = read
"""


def test_a_task_that_kills_three_workers_is_named(corpus, tree, build_process, tmp_path):
    arguments, reference = corpus
    arguments = {**arguments, "out": str(tmp_path / "set"), "workers": 2}
    # workers are spawned: they import what stands in the folder they start in
    (tmp_path / "sitecustomize.py").write_text(_DEADLY)
    before = (
        f"import os; os.environ['PYTHONPATH'] = {str(tmp_path)!r} + os.pathsep + os.environ.get('PYTHONPATH', '')\n"
    )
    process = build_process(before=before, **arguments)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert re.search(r"BuildError: the task of rows \d+ to \d+ of synthetic:.* killed its worker three times", errors)
    start, stop = map(int, re.search(r"rows (\d+) to (\d+) of", errors).groups())
    assert start <= 9000 < stop
    finish(build_process, arguments)
    check(arguments["out"], tree, reference)


# the clock is right for two seconds, a day late for the next two, then a day early
_JUMPING = """
import time
_true, _begin = time.time, time.monotonic()
time.time = lambda: _true() + 86400 * (0, 1, -1)[min(int(time.monotonic() - _begin) // 2, 2)]
time.time_ns = lambda: int(time.time() * 1e9)
"""


def test_a_clock_that_jumps_changes_nothing(corpus, tree, build_process, tmp_path):
    arguments, reference = corpus
    arguments = {**arguments, "out": str(tmp_path / "set")}
    assert kill_at(
        lambda **a: build_process(before=_JUMPING, **a), arguments, lambda: files(arguments["out"])["scatter"] >= 3
    )
    for i, path in enumerate(sorted((tmp_path / "set").rglob("*"))):
        os.utime(path, (10**9 * (i % 3), 10**9 * (i % 3)))  # 1970, 2001, 2033
    finish(lambda **a: build_process(before=_JUMPING, **a), arguments)
    check(arguments["out"], tree, reference)


def test_workers_die_with_their_driver(corpus, build_process, tmp_path):
    arguments, out = corpus[0], tmp_path / "set"
    process = build_process(out=str(out), workers=2, **arguments)
    while process.poll() is None and files(out)["scatter"] < 1:
        time.sleep(0.005)
    workers = children(process.pid)
    process.kill()
    process.communicate(timeout=30)
    until = time.monotonic() + 20
    while time.monotonic() < until and any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_killed_after_the_manifest_the_same_command_only_clears_up(corpus, tree, tmp_path, monkeypatch):
    from scdata.build import pipeline

    arguments, reference = corpus
    out = tmp_path / "set"
    with monkeypatch.context() as patch:
        # what a kill between the manifest and the end leaves behind
        patch.setattr(pipeline, "finish_build", lambda config: None)
        scdata.build_shards(out=out, **arguments)
    assert (out / ".build" / "plan.json").exists()
    manifest = scdata.build_shards(out=out, **arguments)
    assert manifest["n_cells"] == scdata.verify_shards(out).n_cells
    check(out, tree, reference)
