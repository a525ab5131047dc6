"""What holds for each of the recipes: the result it prints, exact resume, two ranks like one, one batch by heart."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.conftest import CASES, Case, lines_of, losses

KEYS = {"recipe", "preset", "n_params", "steps", "val_loss", "baselines", "unit", "seconds", "loader_share"}
Command = Callable[..., list[str]]
pytestmark = pytest.mark.parametrize("case", CASES, ids=str, scope="module")


@pytest.fixture(scope="module")
def whole(case: Case, command_of: Command, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that nobody stops: its lines of output, and its folder."""
    out = tmp_path_factory.mktemp("run") / "whole"
    done = subprocess.run(command_of(case, out), capture_output=True, text=True, cwd=out.parent)
    return {"lines": lines_of(done), "out": out}


def test_last_line_is_the_result(case: Case, whole: dict[str, Any]) -> None:
    last = whole["lines"][-1]
    assert set(last) == KEYS
    assert last["recipe"] == case.name
    assert last["preset"].endswith(("+fit", ".toml"))
    assert last["steps"] == 24
    assert last["seconds"] > 0
    assert 0 <= last["loader_share"] <= 1
    assert last["baselines"]


def test_log_and_curve(case: Case, whole: dict[str, Any]) -> None:
    assert [step for step, _ in losses(whole["out"])] == list(range(1, 25))
    judged = [line for line in whole["lines"] if "val_loss" in line]
    assert all(line["baselines"] for line in judged)
    assert (whole["out"] / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(whole["out"].glob("checkpoint-*.pt"))) == 2


def test_resume_after_kill_is_exact(case: Case, whole: dict[str, Any], command_of: Command, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    with subprocess.Popen(command_of(case, out), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if json.loads(line).get("step") == 15:  # between two checkpoints
                os.kill(child.pid, signal.SIGKILL)
                break
    assert child.returncode == -signal.SIGKILL
    lines = lines_of(subprocess.run(command_of(case, out, "--resume"), capture_output=True, text=True))
    assert 12 <= lines[0]["step"] < 24
    assert (out / "log.jsonl").read_bytes() == (whole["out"] / "log.jsonl").read_bytes()
    assert lines[-1]["val_loss"] == whole["lines"][-1]["val_loss"]
    assert lines[-1]["baselines"] == whole["lines"][-1]["baselines"]


def test_two_ranks_equal_one(case: Case, whole: dict[str, Any], command_of: Command, tmp_path: Path) -> None:
    """Two processes are killed in the middle; a single one goes on to the losses of a single one."""
    out = tmp_path / "ranks"
    with subprocess.Popen(
        command_of(case, out, ranks=2), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if json.loads(line).get("step") == 15:
                os.killpg(child.pid, signal.SIGKILL)
                break
    lines = lines_of(subprocess.run(command_of(case, out, "--resume"), capture_output=True, text=True))
    assert 12 <= lines[0]["step"] < 24
    assert [loss for _, loss in losses(out)] == pytest.approx([loss for _, loss in losses(whole["out"])], rel=2e-4)
    assert lines[-1]["val_loss"] == pytest.approx(whole["lines"][-1]["val_loss"], rel=2e-4)
    assert lines[-1]["baselines"] == pytest.approx(whole["lines"][-1]["baselines"], rel=1e-5)


def test_one_batch_is_learned_by_heart(case: Case, command_of: Command, tmp_path: Path) -> None:
    share, steps = case.overfit
    changes = {"batch_size": 4, "steps": steps, "eval_every": steps, "checkpoint_every": steps, "learning_rate": 1e-2}
    done = subprocess.run(command_of(case, tmp_path / "out", "--overfit", **changes), capture_output=True, text=True)
    last = lines_of(done)[-1]
    assert last["val_loss"] < share * min(last["baselines"].values())
