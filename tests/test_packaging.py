"""The wheel holds what it must, and works where the checkout is not."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from scdata import _cuda

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(out.glob("*.whl"))


def test_wheel_content(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name.split("/")[0]} == {"scdata"}
    for needed in (
        "scdata/_data/tokenizers/presets/geneformer-v2.toml",
        "scdata/_data/recipes/masked_gene_modelling/train.py",
        "scdata/_data/demo/demo_pbmc_ifnb_1k.h5ad",
        "scdata/shard/manifest.schema.json",
        "scdata/build/plan.schema.json",
        "scdata/report/style.css",
        "scdata/report/script.js",
        *(f"scdata/{source}" for source in _cuda.sources()),
    ):
        assert needed in names


def test_no_folder_beside_the_package_is_importable():
    for folder in ("tokenizers", "recipes", "benchmarks", "tests"):
        assert not list((ROOT / folder).rglob("__init__.py"))


@pytest.mark.slow
def test_installed_wheel_runs_elsewhere(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False, system_site_packages=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    # the dependencies are those of this environment; the package is the wheel's
    own = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(own))
    code = "import scdata, sys; print(scdata.__file__); from scdata.cli.main import main; main(sys.argv[1:])"
    arguments = ["demo", "--out", str(tmp_path / "demo"), "--seconds", "3"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stdout.splitlines()[0]
    assert (tmp_path / "demo" / "model" / "curve.png").is_file()
