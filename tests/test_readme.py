"""The README's examples and commands are true."""

import re
import shutil
from pathlib import Path

import pytest

from scdata.resources import resource

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def examples():
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_examples_run(examples, tmp_path, monkeypatch):
    shutil.copy(resource("demo/demo_pbmc_ifnb_1k.h5ad"), tmp_path / "pbmc.h5ad")
    monkeypatch.chdir(tmp_path)
    steps = []
    space = {"train_step": lambda *tensors: steps.append([tuple(t.shape) for t in tensors]), "checkpoint": {}}
    for example in examples:
        exec(compile(example, "README.md", "exec"), space)
    n_train = space["ds"].n_cells
    assert sum(shapes[0][0] for shapes in steps) == 2 * n_train
    assert all(len(set(shapes)) == 1 for shapes in steps)
    assert list(space["ds"]) == []  # the state after the last batch: nothing is left
    assert len(space["cell"]["token_ids"]) == len(space["cell"]["values"])


def test_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text())) <= targets
