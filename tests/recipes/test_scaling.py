"""The scaling study: laws and bits by known numbers, and a study of four runs that is stopped and goes on."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("torch")

STUDY = """
preset = "bins_of_200_genes.toml+fit"
fractions = [0.25, 1.0]
seeds = [0]
[training]
steps = 4
batch_size = 16
eval_every = 2
eval_batches = 2
checkpoint_every = 4
[sizes.w2]
width = 2
layers = 1
heads = 1
[sizes.w8]
width = 8
layers = 1
heads = 2
"""


@pytest.fixture
def study(load: Callable[[str], ModuleType], recipes: Path) -> Iterator[ModuleType]:
    before = set(sys.modules)
    yield load("scaling/run")
    for name in {"law", "picture"} & (set(sys.modules) - before):
        del sys.modules[name]


def test_bits_of_known_losses(study: ModuleType) -> None:
    assert study.bits(np.log(8), "nats") == pytest.approx(3)
    # Kendiukhov's floor, and the entropy of a Gaussian of unit variance
    assert study.bits(1.42, "bins^2") == pytest.approx(2.30, abs=0.005)
    assert study.bits(1.0, "z^2") == pytest.approx(2.047, abs=0.001)
    assert study.bits(400.0, "x^2") - study.bits(4.0, "x^2") == pytest.approx(np.log2(10))
    assert "values in bins" in study.scale_of("bins^2")
    with pytest.raises(ValueError, match="no bits of a loss in '1 - cosine'"):
        study.bits(1.0, "1 - cosine")


def test_a_law_is_found_again(study: ModuleType) -> None:
    x = np.geomspace(500, 1e6, 7)
    law = study.fit_law(x, 30 * x**-0.234 + 1.44)
    assert law.alpha == pytest.approx(0.234, abs=0.01)
    assert law.c == pytest.approx(1.44, abs=0.05)
    assert law.r2 > 0.999
    assert law.at(500.0) == pytest.approx(30 * 500**-0.234 + 1.44, rel=1e-3)
    assert study.fit_law(x, 1 + 0.01 * np.log(x)) is None  # rises
    assert study.fit_law(x[:3], [3, 2, 1]) is None


def test_what_binds(study: ModuleType) -> None:
    def points(of_params: float, of_cells: float, sd: float | None = None) -> list[dict[str, object]]:
        return [
            {
                "size": size,
                "n_params": p,
                "cells": c,
                "bits": 9 - of_params * np.log2(p) - of_cells * np.log2(c),
                "sd": sd,
            }
            for size, p in (("a", 1000), ("b", 8000))
            for c in (100, 400)
        ]

    assert study.what_binds(points(0.3, 0.1)).endswith("Parameters bind.")
    assert study.what_binds(points(0.1, 0.3)).endswith("Cells bind.")
    assert "Neither is above the spread" in study.what_binds(points(0.1, 0.3, sd=0.5))


@pytest.mark.slow
def test_a_study_goes_on(recipes: Path, counts_set: Path, tmp_path: Path) -> None:
    config, out = tmp_path / "study.toml", tmp_path / "out"
    config.write_text(STUDY)
    command = [sys.executable, recipes / "scaling" / "run.py", "--set", counts_set, "--out", out, "--config", config]
    done = subprocess.run([*map(str, command), "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert [(point["size"], point["cells"]) for point in result["points"]] == [
        ("w8", 900), ("w2", 900), ("w8", 225), ("w2", 225)
    ]  # fmt: skip
    small, large = (next(p["n_params"] for p in result["points"] if p["size"] == size) for size in ("w2", "w8"))
    assert 300 < small < 600  # 200 genes of two numbers, not 14,000
    assert 1500 < large < 2600
    assert all(point["baselines"] for point in result["points"])
    assert "not beaten" in done.stdout or "beaten" in done.stdout
    assert (out / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.glob("runs/*/checkpoint-*.pt"))
    # one run is lost: the others are kept as they are
    lost, kept = out / "runs" / "w2-225-0" / "point.json", out / "runs" / "w8-225-0" / "point.json"
    before, changed = json.loads(lost.read_text()), os.stat(kept).st_mtime_ns
    for path in lost.parent.iterdir():
        path.unlink()
    again = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert json.loads(lost.read_text())["loss"] == before["loss"]
    assert os.stat(kept).st_mtime_ns == changed


def test_bad_study(recipes: Path, counts_set: Path, tmp_path: Path) -> None:
    config = tmp_path / "study.toml"
    config.write_text(STUDY.replace("[0.25, 1.0]", "[0.25, 2.0]"))
    command = [
        sys.executable,
        recipes / "scaling" / "run.py",
        "--set",
        counts_set,
        "--out",
        tmp_path,
        "--config",
        config,
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "fractions = [0.25, 2.0]: numbers above 0, up to 1" in done.stderr
