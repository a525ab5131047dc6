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


# an import is quick, on whatever machine, because it loads nothing of what it depends on
_IMPORTED = """
import sys
before = set(sys.modules)
import scdata
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
"""

_WITHOUT_EXTRAS = """
import scdata
from scdata.resources import resource

cells = resource("demo/demo_pbmc_ifnb_1k.h5ad")
for call, extra in (
    (lambda: scdata.ShardDataset, "torch"),
    (lambda: scdata.mix, "torch"),
    (lambda: scdata.build_shards(cells, "a.set"), "build"),
    (lambda: scdata.build_shards("census:stable/homo_sapiens", "a.set"), "census"),
    (lambda: scdata.build_shards("s3://bucket/a.h5ad", "a.set"), "s3"),
    (lambda: scdata.to_anndata("a.set"), "build"),
):
    try:
        call()
    except scdata.ScdataError as error:
        assert f"pip install 'scdata-engine[{extra}]'" in str(error), (extra, error)
    else:
        raise AssertionError(extra)
"""


@pytest.mark.slow
def test_core_alone(tmp_path):
    """Built from the sdist, installed with its own dependencies only: small, quick to import, and it names what is missing."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    wheel = next((tmp_path / "dist").glob("*.whl"))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no package registry within reach: {done.stderr[-200:]}")
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    own = [path for path in site.iterdir() if not path.name.startswith(("pip", "setuptools"))]
    size = sum(file.stat().st_size for path in own for file in path.rglob("*") if file.is_file())
    assert size < 300e6
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    run = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([python, "-c", _IMPORTED], **run)
    assert done.stdout.split() == ["scdata"], done.stdout + done.stderr
    done = subprocess.run([python, "-c", _WITHOUT_EXTRAS], **run)
    assert done.returncode == 0, done.stderr
