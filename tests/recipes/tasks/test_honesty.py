"""What no task may do: score above chance without a reason, test what was trained on, or say nothing of what it skips."""

import argparse

import numpy as np
import pytest
from scipy import sparse
from tasks import annotation
from tasks.cells import Cells, copies
from tasks.representations import PARAMETER_FREE, Representation
from tasks.splits import Split, check
from tasks.table import summarize


@pytest.fixture(scope="module")
def planted(demo: Cells) -> Cells:
    """300 cells of three labels that leave nothing to chance: which one it is stands in the counts. Donors by turns, but for
    one whose cells are of one label."""
    labels = np.tile(["one", "two", "three"], 100)
    donors = np.repeat(["d1", "d2"], 150)
    donors[:30][labels[:30] == "one"] = "d3"
    counts = sparse.lil_matrix(demo.counts[350:650])
    for column, label in enumerate(("one", "two", "three")):
        counts[labels == label, column] = 100
    obs = demo.obs[350:650].reset_index(drop=True).assign(kind=labels, donor_id=donors)
    return Cells(counts.tocsr(), obs, demo.feature_ids, demo.sources, [obs["cell_id"].to_numpy()], False)


def judge(cells: Cells, labels: np.ndarray, *representations: Representation):
    notes: list[str] = []
    splits = annotation.make_splits(cells, labels, 3, 0, ["donor_id"], notes)
    return annotation.judge(cells, labels, representations, splits, 0), notes


@pytest.mark.parametrize("shuffled", [False, True])
def test_chance_is_a_third_of_three_labels(planted: Cells, shuffled: bool) -> None:
    labels = planted.obs["kind"].to_numpy(str)
    told = PARAMETER_FREE["pca"], PARAMETER_FREE["random"]
    scores, _ = judge(planted, np.random.default_rng(5).permutation(labels) if shuffled else labels, *told)
    table = summarize(scores, annotation.METRICS).query("how == 'stratified'").set_index(["representation", "probe"])
    chance = table if shuffled else table.loc[["random"]]
    # three standard deviations of 300 tests at one in three
    assert (abs(chance["accuracy"] - 1 / 3) < 0.082).all()
    assert (abs(chance["macro_f1"] - 1 / 3) < 0.1).all()
    if not shuffled:
        assert table.loc[("pca", "linear"), "macro_f1"] > 0.95


def test_scores_are_the_same_to_the_last_digit(planted: Cells) -> None:
    labels = planted.obs["kind"].to_numpy(str)
    told = [PARAMETER_FREE[name] for name in ("sctop", "pca", "random")]
    one, two = (judge(planted.take(np.arange(300)), labels, *told)[0] for _ in range(2))
    assert one.equals(two)


def test_groups_of_one_label_are_skipped_and_counted(planted: Cells) -> None:
    labels = planted.obs["kind"].to_numpy(str)
    scores, notes = judge(planted, labels, PARAMETER_FREE["depth"])
    assert sorted(scores.query("how == 'donor_id held out'")["split"].unique()) == ["d1", "d2"]
    assert notes == ["donor_id held out: 1 with one label to test, or to learn, are skipped: d3"]


def test_a_copy_of_a_test_cell_in_training_is_refused(planted: Cells) -> None:
    cells = planted.take(np.r_[np.arange(300), 7])
    of = copies(cells.counts)
    assert of[300] == 7
    assert of[:300].tolist() == list(range(300))
    split = Split("stratified", "0", np.arange(100), np.arange(100, 301))
    with pytest.raises(ValueError, match="1 cells of the test have a copy in training"):
        check(split, copies=of)
    assert check(Split("stratified", "0", np.arange(100), np.arange(100, 300)), copies=of)
    labels = cells.obs["kind"].to_numpy(str)
    with pytest.raises(ValueError, match="have a copy in training"):
        list(annotation.make_splits(cells, labels, 10, 0, [], []))


def test_a_donor_on_both_sides_is_refused(planted: Cells) -> None:
    donors = planted.obs["donor_id"].to_numpy(str)
    with pytest.raises(ValueError, match="'d1' is in training and in test"):
        check(Split("donor_id held out", "d1", np.arange(149), np.arange(149, 300)), donors)


def test_groups_that_are_skipped_are_said_in_the_outcome(planted: Cells, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotation, "read_cells", lambda *_: planted)
    args = argparse.Namespace(set=[], split=[], max_cells=300, labels="kind", splits=2, seed=0, hold_out=None, few=[])
    outcome = annotation.run(args, [PARAMETER_FREE["depth"]])
    assert outcome.notes[-1].endswith("are skipped: d3")
    assert any(note.endswith("are skipped: d3") for note in outcome.lines()[1:4])
