"""Responses that are linear in a gene, beside what knows no gene; and GDSC."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from tasks import drug_response
from tasks.ridge import ridge, scaled
from tasks.table import summarize

LINES, DRUGS, GENES = 120, 12, 30


def args(folder: Path, **changes) -> argparse.Namespace:
    options = {
        "line": "line_key",
        "drug": "drug",
        "value": "ln_ic50",
        "screen": None,
        "embedding": [],
        "representation": [],
        "structures": None,
    }
    tables = {"expression": folder / "expression.parquet", "response": folder / "response.parquet"}
    return argparse.Namespace(**(options | tables | {"splits": 4, "seed": 0} | changes))


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Every drug follows a gene of its own, but for the last two: of one all responses are equal, one has 15 lines."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((LINES, GENES))
    y = 3 * x[:, :DRUGS] + 10 * np.arange(DRUGS) + 0.3 * rng.standard_normal((LINES, DRUGS))
    y[:, DRUGS - 2] = 5
    keys = [f"L{i}" for i in range(LINES)]
    pd.DataFrame(x.T, columns=keys).assign(gene_symbol=[f"g{i}" for i in range(GENES)]).to_parquet(
        tmp_path / "expression.parquet"
    )
    pairs = pd.DataFrame([(keys[i], f"d{j:02}", y[i, j]) for i in range(LINES) for j in range(DRUGS)])
    pairs = pairs.set_axis(["line_key", "drug", "ln_ic50"], axis=1)
    few = (pairs["drug"] == f"d{DRUGS - 1}") & ~pairs["line_key"].isin(keys[:15])
    pairs = pd.concat([pairs[~few], pd.DataFrame([("nowhere", "d00", 1.0)], columns=pairs.columns)])
    pairs.to_parquet(tmp_path / "response.parquet")
    signal = pd.DataFrame({"line_key": keys[::-1], "embedding": list(x[::-1, :DRUGS])})
    signal.to_parquet(tmp_path / "signal.parquet")
    return tmp_path


def lines_left_out(outcome) -> pd.DataFrame:
    table = summarize(outcome.scores, outcome.metrics)
    return table[table["how"] == "lines left out"].set_index(["representation", "probe"]).sort_index()


def test_what_holds_the_signal_wins_and_no_variance_is_counted(tables: Path) -> None:
    outcome = drug_response.run(args(tables, embedding=[str(tables / "signal.parquet")]))
    assert outcome.notes == [
        "bulk profiles are no counts: what was read off them is linear in their values",
        "1 of 121 lines have no expression and are left out",
        "1 drugs with fewer than 20 lines are left out",
        "1 drugs are not scored in a split or more: fewer than 10 responses there, or no variance",
        "120 lines are not scored in a split or more: fewer than 10 responses there, or no variance",
    ]
    table = lines_left_out(outcome)
    signal = table.loc[f"file:{tables / 'signal.parquet'}", "ridge"]
    assert signal["spearman_by_drug"] > 0.9
    assert not signal["parameter_free"]
    assert table.loc[("expression", "ridge"), "spearman_by_drug"] > 0.8
    # what is said of all drugs alike knows nothing of the gene of one
    assert table.loc[("expression", "one ridge"), "spearman_by_drug"] < 0.5
    assert table.loc[("drug mean", ""), ["spearman_by_drug", "rmse_gain"]].tolist() == [0, 0]
    assert abs(table.loc[("random", "ridge"), "spearman_by_drug"]) < 0.15
    # drugs are told by their means, whatever a line is
    assert table.loc[("drug mean", ""), "spearman_by_line"] > 0.9
    again = drug_response.run(args(tables, embedding=[str(tables / "signal.parquet")]))
    assert outcome.scores.equals(again.scores)


def test_shuffled_lines_score_chance(tables: Path) -> None:
    table = pd.read_parquet(tables / "expression.parquet")
    keys = [f"L{i}" for i in range(LINES)]
    table[keys] = table[np.random.default_rng(3).permutation(keys)].to_numpy()
    table.to_parquet(tables / "expression.parquet")
    table = lines_left_out(drug_response.run(args(tables)))["spearman_by_drug"]
    assert len(table) == 5
    assert (abs(table) < 0.15).all()


def test_drugs_of_like_structure_are_answered_alike() -> None:
    rng = np.random.default_rng(4)
    structures = rng.standard_normal((40, 5))
    structures[7] = np.nan
    weights, potency = rng.standard_normal((5, 60)), rng.standard_normal(5)
    of_line, of_drug = structures @ weights, structures @ potency
    test = np.arange(30, 40)
    residuals, means = of_line.T.copy(), of_drug.copy()
    residuals[:, test] = np.nan
    means[test] = np.nan
    found = drug_response.by_structure(structures, residuals, means)
    assert (found[:, 7] == 0).all()
    assert np.corrcoef(found[:, test].ravel(), (of_line.T + of_drug)[:, test].ravel())[0, 1] > 0.95


def test_one_drug_of_two_names_is_on_one_side() -> None:
    bits = np.array([[1.0, 0], [0, 1], [np.nan, np.nan], [0, 1]])
    assert drug_response.alike(["Torin 2", "a", "torin2", "b"], None).tolist() == [0, 1, 0, 2]
    drugs = drug_response.alike(["Torin 2", "a", "c", "b"], bits)
    assert drugs.tolist() == [0, 1, 2, 1]
    for split in drug_response.make_splits(9, drugs, 3, 0):
        if split.how == "drugs left out":
            assert (1 in split.test) == (3 in split.test)
            assert sorted([*split.train, *split.test]) == [0, 1, 2, 3]


def test_structures_are_read(tables: Path) -> None:
    pytest.importorskip("rdkit", reason="RDKit, which scdata does not need, is not installed")
    smiles = ["CCO", "CCCO", "", None, "no molecule", *["c1ccccc1" + "C" * i for i in range(5)]]
    pd.DataFrame({"drug": [f"d{i:02}" for i in range(10)], "smiles": smiles}).to_parquet(tables / "smiles.parquet")
    outcome = drug_response.run(args(tables, structures=tables / "smiles.parquet"))
    assert "4 of 11 drugs have no structure, and get the line's mean" in outcome.notes
    own = outcome.scores.query("representation == 'structures'")
    assert set(own["how"]) == {"drugs left out"}
    assert own["parameter_free"].all()
    with pytest.raises(ValueError, match="no such file"):
        drug_response.run(args(tables, structures=tables / "no.parquet"))


def test_what_structures_need_is_said(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ValueError, match="--structures needs RDKit, which is not installed: pip install rdkit"):
        drug_response.run(args(tables, structures=tables / "smiles.parquet"))


def test_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    truth, predicted = rng.standard_normal((2, 30, 3))
    truth[:25, 2] = np.nan
    skipped: dict[str, set[int]] = {}
    places = (np.arange(30), np.array([4, 5, 6]))
    found = drug_response.score(truth, predicted, np.zeros((30, 3)), places, skipped)
    expected = [spearmanr(truth[:, i], predicted[:, i]).statistic for i in (0, 1)]
    assert found["spearman_by_drug"] == pytest.approx(np.mean(expected))
    assert skipped["drugs"] == {6}
    assert skipped["lines"] == set(range(30))
    assert np.isnan(found["spearman_by_line"])


@pytest.mark.parametrize("width", [5, 200])
def test_ridge_is_that_of_scikit_learn(width: int) -> None:
    rng = np.random.default_rng(2)
    x, y = scaled(rng.standard_normal((40, width)), np.arange(40)), rng.standard_normal((40, 3))
    y[rng.random((40, 3)) < 0.3] = np.nan
    found = ridge(x, y)
    for column in range(3):
        rows = np.isfinite(y[:, column])
        centre = y[rows, column].mean()
        expected = Ridge(1.0, fit_intercept=False).fit(x[rows], y[rows, column] - centre).predict(x) + centre
        np.testing.assert_allclose(found[:, column], expected, atol=1e-8)


def test_tables_that_do_not_fit_are_refused(tables: Path) -> None:
    pairs = pd.read_parquet(tables / "response.parquet")
    pd.concat([pairs.assign(dataset=name) for name in ("S1", "S2")]).to_parquet(tables / "two.parquet")
    pd.DataFrame({"line_key": ["L0"], "embedding": [[1.0]]}).to_parquet(tables / "one.parquet")
    for changes, said in (
        ({"response": tables / "no.parquet"}, "there is no file"),
        ({"value": "auc"}, "has no column 'auc': it has 'line_key', 'drug', 'ln_ic50'"),
        ({"response": tables / "two.parquet"}, "has responses of S1, S2: take one of them by --screen"),
        ({"embedding": [str(tables / "one.parquet")]}, "a row is needed for each of 120"),
        ({"embedding": [str(tables / "response.parquet")]}, "needs columns 'line_key' and 'embedding'"),
    ):
        with pytest.raises(ValueError, match=said):
            drug_response.run(args(tables, **changes))
    assert drug_response.run(args(tables, response=tables / "two.parquet", screen="S2")).facts["n_drugs"] == 11


def test_real_lines_answer_by_their_genes(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "tasks"
    pairs = pd.read_parquet(folder / "drug_gdsc_response.parquet")
    drugs = ["Nutlin-3a (-)", "Venetoclax", "Dabrafenib", "Afatinib", "Trametinib"]
    pairs[pairs["drug"].isin(drugs)].to_parquet(tmp_path / "response.parquet")
    tables = {"expression": folder / "drug_gdsc_expression.parquet", "response": tmp_path / "response.parquet"}
    table = lines_left_out(drug_response.run(args(tmp_path, screen="GDSC2", splits=2, **tables)))["spearman_by_drug"]
    assert table["expression", "ridge"] > 0.3
    assert abs(table["random", "ridge"]) < 0.15
