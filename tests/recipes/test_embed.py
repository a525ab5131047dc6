"""Embeddings by a checkpoint: aligned with cells, the same every time, refused for other genes."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import scdata
from tests.recipes.conftest import CASES, Case, run

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_embeddings_of_all_cells(
    case: Case,
    checkpoint_of: Callable[[Case], Path],
    load: Callable[[str], ModuleType],
    counts_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embed, out, checkpoint = load("embed"), tmp_path / "emb.parquet", checkpoint_of(case)
    h5ad, genes = tmp_path / "emb.h5ad", tmp_path / "genes.parquet"
    options = ["--h5ad", h5ad, "--genes", genes]
    assert run(embed, monkeypatch, counts_set, "--checkpoint", checkpoint, "-o", out, *options) is None
    saved = torch.load(checkpoint, weights_only=False)
    of_genes = pq.read_table(genes)
    weight = next(
        saved["model"][name].numpy() for name in ("gene.weight", "teacher.gene.weight") if name in saved["model"]
    )
    # a recipe may take some of a set's genes
    assert of_genes["gene"].to_pylist() == [
        gene for gene in saved["genes"] if gene in set(of_genes["gene"].to_pylist())
    ]
    special = weight.shape[0] - len(of_genes)
    # special tokens stand before the genes, or behind them
    found, behind = np.stack(of_genes["embedding"].to_numpy()), weight[: len(weight) - special]
    assert np.array_equal(found, behind) or np.array_equal(found, weight[special:])
    table = pq.read_table(out)
    assert sorted(table["cell_id"].to_pylist()) == list(range(1000))
    assert table["split"].to_pylist().count("val") == 100
    rows = np.stack(table["embedding"].to_numpy())
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert rows.std(0).max() > 0
    ids, again = embed.embed_set(str(counts_set), checkpoint)
    np.testing.assert_array_equal(ids, table["cell_id"].to_numpy())
    np.testing.assert_array_equal(again, rows)

    import anndata

    cells = anndata.read_h5ad(h5ad)
    order = np.argsort(ids)
    np.testing.assert_array_equal(cells.obsm["X_scdata"], rows[order][cells.obs["cell_id"].to_numpy()])


def test_other_genes_are_refused(
    checkpoint_of: Callable[[Case], Path], load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: Any
) -> None:
    other = tmp_path / "other.set"
    scdata.build_shards("synthetic:cells=50,genes=60", other)
    newest = checkpoint_of(CASES[0])
    stop = run(load("embed"), monkeypatch, other, "--checkpoint", newest, "-o", tmp_path / "x.parquet")
    assert "learned from tokens of 'scgpt+fit' over" in stop
    assert not (tmp_path / "x.parquet").exists()
    missing = run(load("embed"), monkeypatch, other, "--checkpoint", tmp_path / "no.pt", "-o", tmp_path / "x.parquet")
    assert "there is no checkpoint" in missing
