"""One build per output."""

import os
import subprocess
import sys
import time

import pytest

import scdata
from scdata._errors import BuildLockedError
from scdata.build.lock import build_lock


def test_the_second_of_two_processes_is_refused_at_once(corpus, build_process, tree, tmp_path):
    arguments, reference = corpus
    out = tmp_path / "set"
    first = build_process(out=str(out), **arguments)
    while first.poll() is None and not list(out.glob(".build/scratch/scatter-*.json")):
        time.sleep(0.005)
    with pytest.raises(BuildLockedError, match=r"another build writes to .*set: wait for it to end, or choose another"):
        scdata.build_shards(out=out, overwrite=True, **arguments)
    assert first.poll() is None  # it did not wait for the first to end
    second = build_process(out=str(out), **arguments)
    _, errors = second.communicate(timeout=60)
    # it was refused, or came when the set was complete
    assert second.returncode == 1
    assert "BuildLockedError: another build" in errors or "OutputExistsError" in errors
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors
    assert tree(out) == tree(reference)


def test_a_lock_dies_with_its_process(tmp_path):
    folder = tmp_path / "set" / ".build"
    hold = (
        "import pathlib, sys, time\nfrom scdata.build.lock import build_lock\n"
        "with build_lock(pathlib.Path(sys.argv[1])):\n    print(flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold, str(folder)], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(BuildLockedError), build_lock(folder):
            pass
        holder.kill()
        holder.wait()
        with build_lock(folder):
            assert (folder / "lock").exists()


def test_a_lock_on_a_file_that_was_removed_is_none(tmp_path, monkeypatch):
    path = tmp_path / "set" / ".build" / "lock"
    real = os.open

    def open_then_remove(*args):
        file = real(*args)
        path.unlink()  # the holder before has finished
        return file

    monkeypatch.setattr(os, "open", open_then_remove)
    with pytest.raises(BuildLockedError, match="another build"), build_lock(path.parent):
        pass
