"""Every recipe's README runs as written, from the cells that come with scdata."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scdata.resources import resource

pytest.importorskip("torch")
READMES = sorted(
    path.parent.name
    for path in resource("recipes").glob("*/README.md")
    if (path.parent / "train.py").is_file() or path.parent.name == "tasks"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", READMES)
def test_commands_of_a_readme(name: str, recipes: Path, tmp_path: Path) -> None:
    text = (recipes / name / "README.md").read_text()
    block = next(block for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) if "demo_pbmc_ifnb_1k" in block)
    (tmp_path / "recipes").symlink_to(recipes)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    begin = time.monotonic()
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, env={**os.environ, "PATH": path})
    assert done.returncode == 0
    print(f"{name}: {time.monotonic() - begin:.0f} s")
