"""The script as users run it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.recipes.conftest import CASES, Case, run


def test_an_embedding_is_judged_beside_what_needs_no_model(
    counts_set: Path,
    recipes: Path,
    load: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    array = np.random.default_rng(0).standard_normal((1000, 4)).astype(np.float32)
    values = pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), 4)
    pq.write_table(pa.table({"cell_id": np.arange(1000), "embedding": values}), tmp_path / "emb.parquet")
    name = f"file:{tmp_path / 'emb.parquet'}"
    arguments = ["annotation", "--set", counts_set, "--labels", "condition", "--representation", name, "--splits", 2]
    command = [sys.executable, "-W", "error", recipes / "evaluate.py", *arguments, "--out", tmp_path / "a", "--json"]
    told = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=recipes.parent)
    assert told.returncode == 0, told.stderr
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
    evaluate = load("evaluate")
    assert run(evaluate, monkeypatch, *arguments, "--out", tmp_path / "b", "--baselines", "pca", "depth") is None
    all_scores, some = (pd.read_csv(tmp_path / out / "scores.csv") for out in "ab")
    assert all_scores[all_scores["representation"].isin([name, "pca", "depth"])].reset_index(drop=True).equals(some)
    said = capsys.readouterr()
    assert (tmp_path / "b" / "table.txt").read_text().rstrip() in said.out
    # what it is at, but not beside the result alone
    assert f"cells of {counts_set}, split train" in said.err
    assert told.stderr == ""
    assert result["verdicts"]["stratified"] in (tmp_path / "a" / "table.txt").read_text()
    assert (tmp_path / "a" / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert len(all_scores) == 2 * len(rows)


def test_help_lists_the_tasks_before_anything_large_is_imported(recipes: Path) -> None:
    command = [sys.executable, "-X", "importtime", recipes / "evaluate.py", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    said = " ".join(told.stdout.split())
    for part in (
        "annotation which label does a cell have? Needs a set",
        "batch-correction are cells",
        "drug-response how do",
        "novel-labels does a",
        "cross-species which",
        "perturbation what",
        "grn which genes",
        *("checkpoint:PATH", "file:EMB.parquet", "obsm:FILE.h5ad:KEY"),
        *("sctop normal", "pca 50", "lognorm all", "depth total", "random chance"),
    ):
        assert part in said
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.stderr.splitlines()}
    assert "scdata" in imported
    assert not imported & {"torch", "sklearn", "scipy", "pandas"}


def test_what_cannot_be_judged_is_said(
    counts_set: Path,
    load: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["annotation", "--set", counts_set, "--out", tmp_path / "out", "--labels", "kind"]
    assert run(load("evaluate"), monkeypatch, *arguments).startswith(
        "error: the set has no obs column 'kind' for labels"
    )
    assert run(load("evaluate"), monkeypatch, "anotation", "--set", counts_set) == 2
    assert "unknown task 'anotation': did you mean 'annotation'? Known: annotation, " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_judged(
    checkpoint_of: Callable[[Case], Path],
    load: Callable[[str], ModuleType],
    counts_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"checkpoint:{checkpoint_of(CASES[0])}"
    where = ["annotation", "--set", counts_set, "--labels", "condition", "--split", "val", "--out", tmp_path / "out"]
    options = ["--baselines", "depth", "--splits", "2"]
    assert run(load("evaluate"), monkeypatch, *where, *options, "--representation", name) is None
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["n_cells"] == 100
    assert {(row["representation"], row["parameter_free"]) for row in result["table"]} == {
        (name, False),
        ("depth", True),
    }
    missing = run(load("evaluate"), monkeypatch, *where, "--representation", "checkpoint:no.pt")
    assert missing == "error: there is no checkpoint no.pt"


def test_tasks_without_representations_of_cells(
    counts_set: Path, load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = load("evaluate")
    rng = np.random.default_rng(0)
    lines = [f"L{i}" for i in range(40)]
    pd.DataFrame(rng.standard_normal((8, 40)), columns=lines).to_parquet(tmp_path / "lines.parquet")
    pairs = pd.DataFrame([(line, f"d{i}", rng.random()) for line in lines for i in range(12)])
    pairs.set_axis(["line_key", "drug", "ln_ic50"], axis=1).to_parquet(tmp_path / "pairs.parquet")
    tables = ["--expression", tmp_path / "lines.parquet", "--response", tmp_path / "pairs.parquet"]
    assert run(evaluate, monkeypatch, "drug-response", *tables, "--splits", 2, "--out", tmp_path / "drugs") is None
    result = json.loads((tmp_path / "drugs" / "result.json").read_text())
    assert (result["n_lines"], result["n_drugs"], result["metric"]) == (40, 12, "spearman_by_drug")
    assert (tmp_path / "drugs" / "scores.png").read_bytes().startswith(b"\x89PNG")

    genes = ["ISG15", "B2M", "ACTB", "FTL", "FTH1", "TMSB4X", "CD74", "RPL3", "RPS6", "RPL13", "IFIT3", "RPS18"]
    edges = pd.DataFrame([(factor, gene) for factor in genes[:2] for gene in genes], columns=["source", "target"])
    edges.to_csv(tmp_path / "edges.csv")
    where = ["grn", "--set", counts_set, "--edges", tmp_path / "edges.csv", "--splits", 2, "--out", tmp_path / "grn"]
    assert run(evaluate, monkeypatch, *where) is None
    result = json.loads((tmp_path / "grn" / "result.json").read_text())
    assert (result["n_factors"], result["n_edges"], result["n_cells"]) == (2, 22, 1000)

    where = ["perturbation", "--set", counts_set, "--perturbation", "condition", "--control", "control"]
    said = run(evaluate, monkeypatch, *where, "--out", tmp_path / "none")
    assert said.startswith("error: 1 perturbations of 10 cells or more in 'condition': two for each of 5 --splits")
    assert not (tmp_path / "none").exists()
