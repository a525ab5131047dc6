"""Sets that the tests of tasks share; `recipes` is found as its scripts find it."""

import sys
from pathlib import Path

import pytest

import scdata
from scdata.resources import resource

sys.path.insert(0, str(resource("recipes")))


@pytest.fixture(scope="session")
def demo_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's 1,000 cells; a tenth of them is the split val."""
    out = tmp_path_factory.mktemp("tasks") / "demo.set"
    scdata.build_shards(resource("demo/demo_pbmc_ifnb_1k.h5ad"), out, splits=["val=0.1"])
    return out


@pytest.fixture(scope="session")
def demo(demo_set: Path):
    from tasks.cells import read_cells

    return read_cells([str(demo_set)])
