"""Few labelled cells, and labels that no training cell has."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from tasks import annotation, novel_labels
from tasks.cells import Cells
from tasks.probes import knn
from tasks.representations import PARAMETER_FREE, Representation, chosen
from tasks.splits import few_shot, stratified
from tasks.table import summarize

import scdata


def test_few_cells_of_each_label_are_drawn_from_training() -> None:
    labels = np.array(["a"] * 40 + ["b"] * 10)
    split = next(stratified(labels, 5, 0))
    few = few_shot(split, labels, 5, 0)
    assert few.how == "5 labelled cells of each label"
    assert np.isin(few.taught, split.train).all()
    assert [(labels[few.taught] == name).sum() for name in "ab"] == [5, 5]
    assert few.train is split.train
    # of a label with fewer, all
    assert [(labels[few_shot(split, labels, 20, 0).taught] == name).sum() for name in "ab"] == [20, 8]
    np.testing.assert_array_equal(few.taught, few_shot(split, labels, 5, 0).taught)
    assert not np.array_equal(few.taught, few_shot(split, labels, 5, 1).taught)


def test_of_one_cell_a_label_the_nearest_decides() -> None:
    train = np.array([[0.0], [1.0], [2.0], [9.0]])
    assert knn(train, np.array(list("abcd")), np.array([[1.9], [8.0]])).tolist() == ["c", "d"]


def test_more_labelled_cells_score_more(demo: Cells) -> None:
    labels = demo.column("condition", "labels").to_numpy(str)
    splits = annotation.make_splits(demo, labels, 3, 0, [], [], [1, 20])
    scores = annotation.judge(demo, labels, [PARAMETER_FREE["pca"], PARAMETER_FREE["random"]], splits, 0)
    assert scores.groupby("how", sort=False)["n_train"].first().tolist() == [666, 2, 40]
    mean = summarize(scores, annotation.METRICS).set_index(["representation", "probe", "how"])["macro_f1"].sort_index()
    pca = mean[("pca", "linear")]
    assert pca["1 labelled cell of each label"] < pca["20 labelled cells of each label"] < pca["stratified"]
    assert abs(mean[("random", "linear", "20 labelled cells of each label")] - 0.5) < 0.06
    args = argparse.Namespace(few=[0], set=[], split=[], max_cells=1, labels="condition", splits=2)
    with pytest.raises(ValueError, match="--few 0: at least 1 cell of each label"):
        annotation.run(args, [])


@pytest.fixture
def three(demo: Cells) -> Cells:
    cells = demo.take(np.arange(300))
    cells.obs["kind"] = np.tile(["one", "two", "three"], 100)
    return cells


def test_what_stands_apart_is_novel_and_chance_is_a_half(three: Cells) -> None:
    labels = three.obs["kind"].to_numpy(str)
    corner = (labels[:, None] == np.unique(labels)).astype(np.float32)
    apart = Representation("apart", lambda cells, train, seed: corner)
    splits = novel_labels.make_splits(three, labels, 5, 0)
    assert [split.name for split in splits] == ["one", "three", "two"]
    for split in splits:
        assert split.name not in labels[split.train]
        assert [(labels[split.test] == name).sum() for name in (split.name, "one", "two", "three")].count(100) >= 1
    judged = [apart, PARAMETER_FREE["random"], PARAMETER_FREE["lognorm"]]
    scores = novel_labels.judge(three, labels, judged, splits, 0).set_index("representation")["auroc"]
    assert (scores["apart"] == 1).all()
    assert (abs(scores["random"] - 0.5) < 0.15).all()
    # it has no distance
    assert "lognorm" not in scores


def test_novel_lines_stand_apart_on_real_cells(shared_data: Path, tmp_path: Path) -> None:
    scdata.build_shards(shared_data / "tasks" / "batch_lung_lines_two_protocols.h5ad", tmp_path / "set")
    args = argparse.Namespace(
        set=[str(tmp_path / "set")], split=[], max_cells=20_000, labels="cell_type", splits=2, seed=0
    )
    outcome = novel_labels.run(args, chosen([], ["pca", "random"]))
    assert sorted(outcome.scores["split"].unique()) == ["H1975", "H2228", "HCC827"]
    table = summarize(outcome.scores, outcome.metrics).set_index("representation")["auroc"]
    assert table["pca"] > table["random"] + 0.2
    args.labels = "assay"
    with pytest.raises(ValueError, match="'assay' has 2 labels: with one left out, two are needed"):
        novel_labels.run(args, [])
