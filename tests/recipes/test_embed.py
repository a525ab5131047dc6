"""Embeddings by a checkpoint: aligned with cells, the same every time, refused for other genes."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import scdata
from scdata.resources import resource
from tests.recipes.conftest import CASES, Case, run

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    "case", [CASES[0], *(pytest.param(case, marks=pytest.mark.slow) for case in CASES[1:])], ids=str
)
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


@pytest.fixture(scope="module")
def as_mouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 100 of the demo's cells with the genes that they express, called mouse genes, and read as their orthologs."""
    import anndata
    import pandas as pd

    folder = tmp_path_factory.mktemp("mouse")
    cells = anndata.read_h5ad(resource("demo/demo_pbmc_ifnb_1k.h5ad"))[:100].copy()
    cells = cells[:, np.asarray(cells.X.sum(0)).ravel() > 0].copy()
    ids = [own or name for own, name in zip(cells.var["ensembl_id"], cells.var_names, strict=True)]
    pairs = pd.DataFrame({"human": ids, "mouse": [f"m{i}" for i in ids]}).drop_duplicates()
    pairs.to_csv(folder / "pairs.csv", index=False)
    cells.obs["condition"] = ["control", "IFN-beta"] * 50
    cells.var = pd.DataFrame({"ensembl_id": [f"m{i}" for i in ids]}, index=cells.var_names)
    cells.write_h5ad(folder / "mouse.h5ad")
    out = folder / "mouse.set"
    scdata.build_shards(folder / "mouse.h5ad", out, orthologs=folder / "pairs.csv", orthologs_to="human")
    return out


@pytest.mark.parametrize(
    # ranks need fitted medians: the most that a checkpoint has to bring
    "case",
    [pytest.param(case, marks=() if case.preset else pytest.mark.slow, id=str(case)) for case in CASES],
)
def test_cells_read_as_orthologs_are_embedded_with_the_genes_of_the_model(
    case: Case,
    checkpoint_of: Callable[[Case], Path],
    load: Callable[[str], ModuleType],
    counts_set: Path,
    as_mouse: Path,
    capsys: Any,
) -> None:
    embed, checkpoint = load("embed"), checkpoint_of(case)
    saved = torch.load(checkpoint, weights_only=False)
    ids, rows = embed.embed_set(str(as_mouse), checkpoint)
    assert f"read as the {len(saved['columns']):,} genes of the model" in capsys.readouterr().err
    known, expected = embed.embed_set(str(counts_set), checkpoint)
    same = np.isclose(rows[np.argsort(ids)], expected[np.argsort(known)][:100], rtol=1e-4, atol=1e-5)
    # genes that no cell has are no tokens: the cells are what they were; in a whole row they are no zeros any more
    assert same.all() == (saved["run"]["recipe"] != "masked_diffusion")


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


def test_genes_by_other_names_are_refused_for_that(
    checkpoint_of: Callable[[Case], Path], load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: Any
) -> None:
    """By symbols, to a model of Ensembl ids: a fit of the set, or orthologs, would not help."""
    import anndata

    cells = anndata.read_h5ad(resource("demo/demo_pbmc_ifnb_1k.h5ad"))[::20].copy()
    del cells.var["ensembl_id"]
    scdata.from_anndata(cells, tmp_path / "symbols.set")
    checkpoint = checkpoint_of(next(case for case in CASES if case.preset == "geneformer-v2"))
    stop = run(
        load("embed"), monkeypatch, tmp_path / "symbols.set", "--checkpoint", checkpoint, "-o", tmp_path / "x.parquet"
    )
    assert "it calls its genes by symbols or other names, such as " in stop
    assert "and the model by Ensembl ids, such as 'ENSG" in stop
    assert "`scdata build --feature-id COLUMN`" in stop
    assert "scdata fit" not in stop
    assert "orthologs" not in stop
