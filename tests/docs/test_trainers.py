"""The examples of docs/trainers: a run that was ended and one that was not have the same losses."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import scdata
from scdata.resources import resource

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "trainers"


@pytest.fixture(scope="module")
def demo_set(tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "demo"
    scdata.build_shards(resource("demo/demo_pbmc_ifnb_1k.h5ad"), out)
    return out


def losses(command, *arguments, steps):
    """Step → loss, as the example prints them."""
    command = [*command, *map(str, arguments), "--steps", str(steps)]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return {int(step): float(loss) for step, loss in re.findall(r"^step (\d+) loss ([\d.]+)$", done.stdout, re.M)}


@pytest.mark.parametrize("name", ["lightning_fit", pytest.param("hf_trainer", marks=pytest.mark.slow)])
def test_a_run_goes_on_where_it_was_ended(demo_set, tmp_path, name):
    command = [sys.executable, f"{name}.py"]
    # an epoch is 16 steps
    whole = losses(command, demo_set, tmp_path / "whole", steps=34)
    assert losses(command, demo_set, tmp_path / "parts", steps=19) == {s: whole[s] for s in range(1, 20)}
    assert losses(command, demo_set, tmp_path / "parts", steps=34) == {s: whole[s] for s in range(20, 35)}
    assert whole[15] < whole[1] / 2


def test_on_several_processes_and_then_on_one(demo_set, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    two, one = ([*torchrun, n, "plain_ddp.py"] for n in ("2", "1"))
    whole = losses(two, demo_set, tmp_path / "whole.pt", steps=24)
    losses(two, demo_set, tmp_path / "parts.pt", steps=19)
    rest = losses(one, demo_set, tmp_path / "parts.pt", steps=24)
    # the same cells and masks; two ranks average the means of their halves
    assert rest == pytest.approx({s: whole[s] for s in range(20, 25)}, rel=0.02)


@pytest.mark.slow
def test_hugging_face_on_two_processes(demo_set, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "hf_trainer.py"]
    assert losses(command, demo_set, tmp_path / "two", steps=4).keys() == {1, 2, 3, 4}
