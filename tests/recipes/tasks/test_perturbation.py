"""Knock-outs whose effect follows from which genes vary together, and those of a real screen."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tasks import perturbation
from tasks.cells import Cells
from tasks.table import summarize

import scdata

GENES, OF_ONE = 90, 40


@pytest.fixture
def screen(demo: Cells) -> Cells:
    """Genes of three modules that vary together in controls; a knock-out lowers its gene's module. One has a single cell."""
    rng = np.random.default_rng(0)
    module = np.arange(GENES) % 3
    names = np.repeat(["control", *demo.feature_ids[:15], demo.feature_ids[15]], [300] + [OF_ONE] * 15 + [1])
    log_rate = 1.5 + 0.4 * rng.standard_normal((len(names), 3))[:, module]
    gene = {name: i for i, name in enumerate(demo.feature_ids[:16])}
    for row, name in enumerate(names):
        if name in gene:
            log_rate[row, module == module[gene[name]]] -= 1
    counts = sparse.csr_matrix(rng.poisson(np.exp(log_rate)).astype(np.int32))
    obs = pd.DataFrame({"cell_id": np.arange(len(names)), "set": 0, "perturbation": names})
    return Cells(counts, obs, demo.feature_ids[:GENES], demo.sources, [obs["cell_id"].to_numpy()], True)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    def judge(cells: Cells, **changes):
        monkeypatch.setattr(perturbation, "read_cells", lambda *_: cells)
        options = {"set": [], "split": [], "max_cells": 1, "splits": 5, "seed": 0, "genes": [], "prediction": []}
        return perturbation.run(
            argparse.Namespace(**options | {"perturbation": "perturbation", "control": "control"} | changes)
        )

    return judge


def table(outcome) -> pd.DataFrame:
    return summarize(outcome.scores, outcome.metrics).set_index("representation")


def profiles(cells: Cells) -> pd.DataFrame:
    found = pd.DataFrame(cells.log_normalized.toarray(), columns=cells.feature_ids)
    return found.groupby(cells.obs["perturbation"].to_numpy()).mean().reset_index(names="perturbation")


def test_genes_that_vary_together_tell_unseen_knock_outs(screen: Cells, run, tmp_path: Path) -> None:
    profiles(screen).to_parquet(tmp_path / "true.parquet")
    modules = pd.DataFrame({"gene": screen.feature_ids, "embedding": list(np.eye(3)[np.arange(GENES) % 3])})
    modules.to_parquet(tmp_path / "genes.parquet")
    files = {"genes": [str(tmp_path / "genes.parquet")], "prediction": [str(tmp_path / "true.parquet")]}
    outcome = run(screen, **files)
    assert outcome.notes[0] == f"1 perturbations of fewer than 10 cells are left out: {screen.feature_ids[15]} (1)"
    assert outcome.facts["halves_agree"] > 0.8
    assert outcome.facts["des_of_means"] > 0.7
    scores = table(outcome)
    assert scores.loc["pca of genes", "pearson_delta"] > 0.7
    assert scores.loc[f"file:{tmp_path / 'genes.parquet'}", "pearson_delta"] > 0.7
    assert scores.loc["mean effect", "pearson_delta"] < 0.3
    assert scores.loc["no change", ["pearson_delta", "mae_gain"]].tolist() == [0, 0]
    # its controls are others than those of the test
    told = scores.loc[f"file:{tmp_path / 'true.parquet'}"]
    assert told["pearson_delta"] > 0.95
    assert told["pds"] == 1
    assert told["des"] > scores.loc[["mean effect", "random"], "des"].max() + 0.05
    assert told["vcc"] > 0.5
    assert scores.loc["mean effect", "vcc"] == scores.loc["no change", "des"] == 0
    assert not told["parameter_free"]
    assert run(screen, **files).scores.equals(outcome.scores)


def test_without_effects_nothing_is_predicted(screen: Cells, run) -> None:
    cells = screen.take(np.flatnonzero(screen.obs["perturbation"] == "control"))
    cells.obs["perturbation"] = np.r_[["control"] * 100, np.repeat(cells.feature_ids[:10], 20)]
    scores = table(run(cells))
    # the same controls on both sides would share their noise, and the mean effect predict it
    assert (abs(scores["pearson_delta"]) < 0.15).all()
    assert (scores["mae_gain"] <= 0).all()


def test_discrimination_ranks_the_true_effect_among_all() -> None:
    true = np.array([[5.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    predicted = np.array([[5.0, 0, 0.9], [9, 0, 0.9], [0, 0, 1]])
    # of the second its own gene, the first one, does not count; it is nearer to the third and to the first
    own = np.array([-1, 0, -1])
    found = perturbation.score(true, predicted, own)
    assert found["pds"] == pytest.approx(1 - (0 + 2 + 0) / 3 / 3)
    assert found["mae_gain"] == pytest.approx(1 - (0.3 + 0.95 + 0) / (5 / 3 + 0.5 + 1 / 3))


@pytest.mark.filterwarnings("ignore")
def test_discrimination_is_that_of_cell_eval() -> None:
    types = pytest.importorskip("cell_eval._types", reason="cell-eval, which scdata does not need, is not installed")
    from anndata import AnnData
    from cell_eval.metrics._anndata import discrimination_score

    rng = np.random.default_rng(0)
    names, genes = [f"g{i}" for i in range(6)], [f"g{i}" for i in range(4)] + ["x", "y", "z"]
    true, predicted = rng.standard_normal((2, 6, 7))
    obs = pd.DataFrame({"target": ["control", *names]}, index=[str(i) for i in range(7)])
    pair = (AnnData(np.vstack([np.zeros(7), values]), obs, pd.DataFrame(index=genes)) for values in (true, predicted))
    expected = discrimination_score(types.PerturbationAnndataPair(*pair, pert_col="target", control_pert="control"))
    own = np.array([0, 1, 2, 3, -1, -1])
    assert perturbation.score(true, predicted, own)["pds"] == pytest.approx(np.mean(list(expected.values())))


def test_roles_come_from_the_manifests(tmp_path: Path) -> None:
    sets = {}
    for name, roles in {"plain": {}, "a": {"control": "B cell"}, "b": {"control": "T cell"}}.items():
        sets[name] = str(tmp_path / name)
        roles = {"perturbation": "cell_type"} | roles if roles else {}
        scdata.build_shards("synthetic:cells=200,genes=30", sets[name], **roles)
    found = perturbation.roles
    assert found([sets["a"], sets["a"]], None, None) == ("cell_type", "B cell")
    assert found([sets["a"]], None, "T cell") == ("cell_type", "T cell")
    assert found([sets["a"]], "cell_type", None) == ("cell_type", "B cell")
    assert found([sets["plain"]], "donor_id", "donor-1") == ("donor_id", "donor-1")
    for paths, column, why in (("plain", None, "name none"), ("plain a", None, "do not agree"), ("a b", None, "do not agree"),
                               ("a", "donor_id", "name others")):  # fmt: skip
        with pytest.raises(ValueError, match=f"Give --perturbation COL and --control VALUE: .* {why}"):
            found([sets[name] for name in paths.split()], column, None)


def test_what_does_not_fit_is_refused(screen: Cells, run, tmp_path: Path) -> None:
    found = profiles(screen)
    found.drop(columns=screen.feature_ids[3]).to_parquet(tmp_path / "gene.parquet")
    found[found["perturbation"] != screen.feature_ids[4]].to_parquet(tmp_path / "row.parquet")
    pd.DataFrame({"gene": ["strange"], "embedding": [[1.0]]}).to_parquet(tmp_path / "strange.parquet")
    for changes, said in (
        ({"control": "none"}, "0 cells are 'none', and 20 controls are needed: --control is one of "),
        ({"splits": 8}, "15 perturbations of 10 cells or more in 'perturbation': two for each of 8 --splits"),
        ({"prediction": [str(tmp_path / "no.parquet")]}, "no such file"),
        ({"prediction": [str(tmp_path / "gene.parquet")]}, f"no column '{screen.feature_ids[3]}'"),
        ({"prediction": [str(tmp_path / "row.parquet")]}, "lacks a perturbation"),
        ({"genes": [str(tmp_path / "strange.parquet")]}, "has none of the 90 genes of the set"),
        ({"genes": [str(tmp_path / "row.parquet")]}, "needs columns 'gene' and 'embedding'"),
    ):
        with pytest.raises(ValueError, match=said):
            run(screen, **changes)


def test_a_real_screen_predicts_little(shared_data: Path, tmp_path: Path) -> None:
    roles = {"perturbation": "perturbation", "control": "non-targeting"}
    scdata.build_shards(shared_data / "human_thp1_crispr_eccite.h5ad", tmp_path / "set", **roles)
    options = {"set": [str(tmp_path / "set")], "split": [], "max_cells": 30_000, "splits": 5, "seed": 0}
    names = {"perturbation": None, "control": None, "genes": [], "prediction": []}
    outcome = perturbation.run(argparse.Namespace(**options, **names))
    assert outcome.facts["n_perturbations"] == 25
    assert any("16 of 25 perturbations have no embedding of their gene" in note for note in outcome.notes)
    scores = table(outcome)["pearson_delta"]
    assert (scores < outcome.facts["halves_agree"]).all()
