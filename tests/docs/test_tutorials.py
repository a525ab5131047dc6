"""Tutorials run as written, each in a folder of its own; the documentation builds without a warning."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import scdata
from scdata.resources import resource

pytest.importorskip("torch")
DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(path.stem for path in (DOCS / "tutorials").glob("*.md"))
BLOCK = re.compile(r"```(bash|python)\n(.*?)```", re.DOTALL)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if BLOCK.search((DOCS / "tutorials" / f"{page}.md").read_text())]
)
def test_a_tutorial_runs_as_written(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of bash and Python, in order."""
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    space: dict[str, object] = {}
    for language, block in BLOCK.findall((DOCS / "tutorials" / f"{page}.md").read_text()):
        if language == "bash":
            command = ["bash", "-euo", "pipefail", "-c", block]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
            assert done.returncode == 0, f"{block}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
        else:
            exec(compile(block, f"{page}.md", "exec"), space)


def test_a_shard_is_read_in_javascript(tmp_path: Path) -> None:
    """The decoder of the tutorial, in Node, cell by cell."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no Node here")
    shutil.copy(DOCS / "tutorials" / "read_shards.mjs", tmp_path)
    got = subprocess.run(
        [npm, "install", "apache-arrow@21", "fzstd@0.1"], cwd=tmp_path, capture_output=True, timeout=120
    )
    if got.returncode:
        pytest.skip("no npm registry within reach")
    scdata.build_shards(resource("demo/demo_pbmc_ifnb_1k.h5ad"), tmp_path / "a.set", block_size=300)
    script = ["node", str(tmp_path / "read_shards.mjs"), "a.set"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = {
        row["cell_id"]: dict(zip(row["genes"], row["counts"], strict=True))
        for row in map(json.loads, done.stdout.splitlines())
    }
    cells = scdata.to_anndata(tmp_path / "a.set")
    code = cells.var["code"].to_numpy()
    assert len(found) == cells.n_obs == 1000
    for row, cell in enumerate(cells.obs["cell_id"]):
        own = cells.X[row]
        assert found[cell] == dict(zip(code[own.indices].tolist(), own.data.tolist(), strict=True))


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        str(DOCS),
        str(tmp_path / "html"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    api = (tmp_path / "html" / "reference" / "api.html").read_text()
    for name in scdata.__all__:
        if name not in ("objectives",):
            assert f"scdata.{name}" in api, name
    cli = (tmp_path / "html" / "reference" / "cli.html").read_text()
    from scdata.cli.main import _COMMANDS

    assert all(f"scdata {name}" in cli or f"scdata-{name}" in cli for name in _COMMANDS)
