"""The script as users run it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scdata
from scdata.resources import resource


@pytest.fixture(scope="module")
def counts_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluate") / "demo.set"
    scdata.build_shards(resource("demo/demo_pbmc_ifnb_1k.h5ad"), out)
    return out


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy away from the checkout, as in a wheel: `tasks` must be found beside the script."""
    folder = tmp_path_factory.mktemp("installed") / "recipes"
    shutil.copytree(resource("recipes"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "evaluate.py"


def run(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=script.parent.parent,
    )


def test_an_embedding_is_judged_beside_what_needs_no_model(counts_set: Path, script: Path, tmp_path: Path) -> None:
    array = np.random.default_rng(0).standard_normal((1000, 4)).astype(np.float32)
    values = pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), 4)
    pq.write_table(pa.table({"cell_id": np.arange(1000), "embedding": values}), tmp_path / "emb.parquet")
    name = f"file:{tmp_path / 'emb.parquet'}"
    arguments = ["annotation", "--set", counts_set, "--labels", "condition", "--representation", name, "--splits", 2]
    told = run(script, *arguments, "--out", tmp_path / "a", "--json")
    printed = run(script, *arguments, "--out", tmp_path / "b", "--baselines", "pca", "depth")
    assert told.returncode == printed.returncode == 0, told.stderr + printed.stderr
    result = json.loads(told.stdout.splitlines()[-1])
    assert (result["task"], result["metric"], result["n_cells"], result["n_labels"]) == (
        "annotation",
        "macro_f1",
        1000,
        2,
    )
    rows = {(row["representation"], row["probe"]): row for row in result["table"]}
    free = {name for (name, _), row in rows.items() if row["parameter_free"]}
    assert free == {"sctop", "pca", "lognorm", "depth", "random"}
    assert rows[name, "kNN"]["macro_f1"] < 0.6
    assert " loses to " in result["verdicts"]["stratified"]
    # another run gives the same to the last digit
    all_scores, some = (pd.read_csv(tmp_path / out / "scores.csv") for out in "ab")
    assert all_scores[all_scores["representation"].isin([name, "pca", "depth"])].reset_index(drop=True).equals(some)
    assert (tmp_path / "b" / "table.txt").read_text().rstrip() in printed.stdout
    assert result["verdicts"]["stratified"] in (tmp_path / "a" / "table.txt").read_text()
    assert (tmp_path / "a" / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert len(all_scores) == 2 * len(rows)


def test_what_cannot_be_judged_is_said(counts_set: Path, script: Path, tmp_path: Path) -> None:
    done = run(script, "annotation", "--set", counts_set, "--out", tmp_path / "out", "--labels", "kind")
    assert done.returncode != 0
    assert done.stderr.startswith("error: the set has no obs column 'kind'")
    assert not (tmp_path / "out").exists()
