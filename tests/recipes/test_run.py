"""What a run promises beside what every recipe is tested for: parts of a batch, dropout, fewer cells."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.recipes.conftest import CASES, lines_of, losses

pytest.importorskip("torch")
RANKS = CASES[1]
Command = Callable[..., list[str]]


def train(command: list[str]) -> None:
    lines_of(subprocess.run(command, capture_output=True, text=True))


def test_a_batch_in_parts_has_the_same_losses(command_of: Command, tmp_path: Path) -> None:
    for parts in (1, 4):
        train(command_of(RANKS, tmp_path / str(parts), accumulate=parts, steps=6))
    whole, parts_of_it = ([loss for _, loss in losses(tmp_path / str(parts))] for parts in (1, 4))
    assert len(whole) == 6
    assert parts_of_it == pytest.approx(whole, rel=1e-4)


@pytest.mark.slow
def test_dropout_is_resumed_exactly(command_of: Command, tmp_path: Path) -> None:
    """What is dropped depends on seed and step, so that the last checkpoint may be lost."""
    out = tmp_path / "out"
    command = command_of(RANKS, out, dropout=0.3)
    train(command)
    before = (out / "log.jsonl").read_bytes()
    max(out.glob("checkpoint-*.pt")).unlink()
    train([*command, "--resume"])
    assert (out / "log.jsonl").read_bytes() == before
    dropless = tmp_path / "dropless"
    train(command_of(RANKS, dropless))
    assert losses(dropless) != losses(out)


def test_fewer_cells(command_of: Command, tmp_path: Path) -> None:
    """The sample is in the identity of a run, and epochs are as long as it is."""
    out = tmp_path / "out"
    train(command_of(RANKS, out, "--cells", 40, steps=6, checkpoint_every=6))
    import torch

    saved = torch.load(max(out.glob("checkpoint-*.pt")), weights_only=True)
    assert saved["run"]["cells"] == 40
    # 40 cells are two batches of 16: six steps are three epochs
    assert (saved["loader"]["epoch"], saved["loader"]["subset"]) == (2, 40)
    stopped = subprocess.run(
        command_of(RANKS, out, "--cells", 50, "--resume", steps=6, checkpoint_every=6), capture_output=True, text=True
    )
    assert "cells was 40 and is 50" in stopped.stderr
    assert json.loads((out / "log.jsonl").read_text().splitlines()[0])["baselines"]
