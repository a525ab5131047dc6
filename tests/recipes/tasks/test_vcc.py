"""DES, PDS and MAE are cell-eval's: on numbers that it gave once, and on new ones where it is installed."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from scipy.stats import mannwhitneyu
from tasks.perturbation import score
from tasks.vcc import RankSums, changed, des, over_baseline, overlap

NAMES = [f"p{i}" for i in range(5)]
GENES = ["p0", "p1", *(f"g{i}" for i in range(38))]
SIZES = np.array([30, 40, 25, 35, 12])
# of `screen(7, 0.7, 0.15)`: MetricsEvaluator(...).compute(profile="vcc"), cell-eval 0.8.2, pdex 0.3.0, NumPy 2.4.6
GIVEN = {
    "des": [0.375, 0.2857142857142857, 0.2, 0.6, 0.0],
    "pds": [1.0] * 5,
    "mae": [0.12539694912696175, 0.1518532417548369, 0.12475168694278124, 0.12071612842592923, 0.09953487136913024],
}


def screen(seed, share, noise):
    """Labels, log-normalized cells (C, G), and predicted means (P, G), no gene of which is as in controls."""
    rng = np.random.default_rng(seed)
    rate = np.exp(rng.normal(0, 1.2, 40))
    effect = rng.normal(0, 0.9, (5, 40)) * (rng.random((5, 40)) < 0.4)
    labels = np.repeat(["control", *NAMES], [80, *SIZES])
    own = np.vstack([np.zeros((80, 40)), *(np.tile(e, (n, 1)) for e, n in zip(effect, SIZES, strict=True))])
    cells = np.log1p(rng.poisson(np.exp(np.log(rate) + own)).astype(float))
    mean = np.vstack([cells[labels == name].mean(0) for name in NAMES])
    base = cells[labels == "control"].mean(0)
    return labels, cells, np.maximum(base + share * (mean - base) + rng.normal(0, noise, (5, 40)), 0.01)


def ours(labels, cells, predicted):
    """The three of each perturbation."""
    matrix = sparse.csr_matrix(cells)
    reference = RankSums(matrix[labels == "control"])
    mean = np.vstack([cells[labels == name].mean(0) for name in NAMES])
    changes = [
        changed(reference.of_cells(matrix[labels == name]), own, reference.mean)
        for name, own in zip(NAMES, mean, strict=True)
    ]
    one = [np.array([i]) for i in range(5)]
    own = np.array([GENES.index(name) if name in GENES else -1 for name in NAMES])
    true, effect = mean - reference.mean, predicted - reference.mean
    # PDS of one perturbation: what it adds to the mean over all
    ranks = [score(true, np.where(np.arange(5)[:, None] == i, effect, true), own)["pds"] for i in range(5)]
    return {
        "des": [des([changes[i]], predicted[at], SIZES[at], reference) for i, at in enumerate(one)],
        "pds": [1 + 5 * (rank - 1) for rank in ranks],
        "mae": np.abs(predicted - mean).mean(1).tolist(),
    }


def test_numbers_that_cell_eval_gave():
    found = ours(*screen(7, 0.7, 0.15))
    for name, values in GIVEN.items():
        assert found[name] == pytest.approx(values, abs=1e-12), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("seed", "share", "noise"), [(7, 0.7, 0.15), (1, 0.2, 0.4), (2, 1.0, 0.0)])
def test_numbers_of_cell_eval_where_it_is_installed(tmp_path, seed, share, noise):
    cell_eval = pytest.importorskip("cell_eval", reason="cell-eval, which scdata does not need, is not installed")
    labels, cells, predicted = screen(seed, share, noise)
    copies = cells.copy()
    for name, own in zip(NAMES, predicted, strict=True):
        copies[labels == name] = own
    obs = pd.DataFrame({"target": labels}, index=[str(i) for i in range(len(labels))])
    made = (AnnData(x, obs.copy(), pd.DataFrame(index=GENES)) for x in (copies, cells))
    judged = cell_eval.MetricsEvaluator(*made, control_pert="control", num_threads=1, outdir=str(tmp_path))
    table, _ = judged.compute(profile="vcc", write_csv=False)
    found, columns = (
        ours(labels, cells, predicted),
        {"overlap_at_N": "des", "discrimination_score_l1": "pds", "mae": "mae"},
    )
    for theirs, name in columns.items():
        assert found[name] == pytest.approx(table.sort("perturbation")[theirs].to_list(), abs=1e-6), name


def test_rank_sums_are_those_of_scipy():
    labels, cells, predicted = screen(3, 0.5, 0.3)
    cells[:, 5] = 0
    cells[labels == "p1", 6] = 0
    predicted[:, 7] = 0
    matrix = sparse.csr_matrix(cells)
    controls = cells[labels == "control"]
    reference = RankSums(matrix[labels == "control"])
    for i, name in enumerate(NAMES):
        own = cells[labels == name]
        expected = np.nan_to_num(mannwhitneyu(own, controls, method="asymptotic").pvalue, nan=1)
        np.testing.assert_allclose(reference.of_cells(matrix[labels == name]), expected, rtol=1e-9)
        copies = np.tile(predicted[i], (SIZES[i], 1))
        expected = np.nan_to_num(mannwhitneyu(copies, controls, method="asymptotic").pvalue, nan=1)
        np.testing.assert_allclose(reference.of_copies(predicted, SIZES)[i], expected, rtol=1e-9)


def test_the_first_genes_are_those_of_the_largest_change():
    p, base = np.array([1e-6, 1e-6, 0.9, 1e-6, 1e-6]), np.log1p([1.0, 1.0, 1.0, 1.0, 0.0])
    mean = np.log1p([2.0, 0.25, 9.0, 1.0, 1.0])
    # from nothing to something is the largest; what is not significant, or the same, does not change
    assert changed(p, mean, base).tolist() == [4, 1, 0]
    assert overlap(np.array([4, 1, 0]), np.array([1, 2, 4, 0])) == pytest.approx(2 / 3)
    assert overlap(np.array([], int), np.array([1])) == 0
    assert overlap(np.array([3]), np.array([], int)) == 0


def test_the_score_is_over_the_baseline():
    base = {"des": 0.2, "pds": 0.6, "mae": 0.5}
    assert over_baseline(base, base) == 0
    assert over_baseline({"des": 0.6, "pds": 0.4, "mae": 0.25}, base) == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert over_baseline({"des": 1, "pds": 1, "mae": 0}, base) == 1
    assert over_baseline({"des": 1, "pds": 1, "mae": 0}, {"des": 1, "pds": 1, "mae": 0}) == 0
