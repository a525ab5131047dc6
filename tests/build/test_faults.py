"""Signals, full scratch, a read-only output: the same command finishes with the same bytes."""

import signal
import subprocess
import sys
import time

import pytest

SOURCE = "synthetic:cells=20000,genes=300,mean_genes=60"
_CLI = """
import sys
from scdata.build import drafting
from scdata.cli.main import main
drafting.TASK_NNZ = 100_000
main(sys.argv[1:])
"""


def start(*arguments):
    command = [sys.executable, "-c", _CLI, "build", SOURCE, "--split", "val=0.1:donor_id", "--shard-size", "65536"]
    command += ["--block-size", "256", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*arguments):
    process = start(*arguments)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_says_how_to_go_on(corpus, tree, tmp_path, sent, status, workers):
    reference, out = corpus[1], tmp_path / "set"
    process = start("-o", out, "--workers", workers)
    while process.poll() is None and len(list(out.glob(".build/scratch/scatter-*.json"))) < 2:
        time.sleep(0.005)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert "stopped; the same command goes on where it was" in errors
    assert "Traceback" not in errors
    assert not (out / "manifest.json").exists()
    finish("-o", out, "--workers", workers)
    assert tree(out) == tree(reference)


@pytest.fixture
def mounted(tmp_path):
    """A function: mount a small file system in memory."""
    folders = []

    def mount(name, options):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no right to mount: {done.stderr.decode().strip()}")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        subprocess.run(["umount", "-l", folder], check=True)


def test_scratch_without_room_beside_an_output_with_room(corpus, tree, mounted, tmp_path):
    scratch, out = mounted("scratch", "size=600k"), tmp_path / "set"
    process = start("-o", out, "--scratch", scratch)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No space left on device" in errors
    assert not (out / "manifest.json").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", scratch], check=True)
    finish("-o", out, "--scratch", scratch)
    assert tree(out) == tree(corpus[1])
    assert not list(scratch.iterdir())


def test_an_output_that_cannot_be_written_to(mounted):
    out = mounted("disk", "size=1m,ro")
    process = start("-o", out / "set")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Read-only file system" in errors
    assert "Traceback" not in errors
    assert not list(out.iterdir())
