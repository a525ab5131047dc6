"""A stage imports only stages to its left, and heavy libraries only where they are used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import scdata

ROOT = Path(scdata.__file__).parent
STAGES = ["source", "counts", "normalize", "tokens", "shard", "stream", "batch"]
# these may use all stages, and what stands to their left
BESIDE = ["build", "export", "hub", "report", "cli"]
HEAVY = {
    "torch",
    "numba",
    "scipy",
    "anndata",
    "h5py",
    "tiledbsoma",
    "webdataset",
    "dask",
    "distributed",
    "skmisc",
    "pandas",
    "cupy",
    "huggingface_hub",
}


def imports(path):
    """Modules of scdata that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("scdata"):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("scdata"))


@pytest.mark.parametrize("stage", STAGES + BESIDE)
def test_a_stage_imports_only_to_its_left(stage):
    order = STAGES + BESIDE
    allowed = set(order[: order.index(stage) + 1])
    found = {
        module.split(".")[1]
        for path in (ROOT / stage).rglob("*.py")
        for module in imports(path)
        if "." in module and not module.split(".")[1].startswith("_")
    }
    assert found & set(order) <= allowed


def test_the_stages_are_all_there_is():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders == {*STAGES, *BESIDE}


def test_import_is_light():
    code = f"import sys, scdata, scdata.source, scdata.cli.main, scdata.objectives; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    for name in scdata.__all__:
        assert getattr(scdata, name).__doc__
    assert set(scdata.__all__) <= set(dir(scdata))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        scdata.nothing  # noqa: B018


def test_no_module_takes_a_name_of_the_standard_library():
    names = {path.stem for path in ROOT.rglob("*.py")} - {"__init__"}
    assert not names & set(sys.stdlib_module_names)


def test_every_folder_of_tests_is_collected():
    root = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root.parent, check=True)
    collected = {line.split("/")[1] for line in done.stdout.splitlines() if line.startswith("tests/")}
    assert collected >= {path.parent.name for path in root.glob("*/test_*.py")}
