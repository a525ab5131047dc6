"""What annotation scores: certainty, chance, and what lies between on real cells."""

import argparse

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score
from tasks import annotation
from tasks.cells import Cells
from tasks.representations import PARAMETER_FREE, Representation, chosen
from tasks.table import summarize

import scdata


def judge(cells: Cells, labels: np.ndarray, *representations: Representation, n: int = 3):
    splits = annotation.make_splits(cells, labels, n, 0, [], [])
    scores = annotation.judge(cells, labels, representations, splits, 0)
    return summarize(scores, annotation.METRICS).set_index(["representation", "probe"])


@pytest.fixture(scope="module")
def labels(demo: Cells) -> np.ndarray:
    return demo.column("condition", "labels").to_numpy(str)


def test_real_labels_are_found_without_a_model(demo: Cells, labels: np.ndarray) -> None:
    table = judge(demo, labels, *PARAMETER_FREE.values())
    for row in (("sctop", "linear"), ("sctop", "projection"), ("pca", "linear"), ("lognorm", "linear")):
        assert table.loc[row, "macro_f1"] > 0.95
    assert abs(table.loc[("random", "linear"), "macro_f1"] - 0.5) < 0.06
    assert table["parameter_free"].all()


def test_shuffled_labels_score_chance(demo: Cells, labels: np.ndarray) -> None:
    shuffled = np.random.default_rng(7).permutation(labels)
    table = judge(demo, shuffled, *chosen([], ["sctop", "pca", "lognorm", "depth", "random"]))
    # of 1,000 tests of a coin, three standard deviations
    assert (abs(table["accuracy"] - 0.5) < 0.05).all()


def test_a_representation_that_is_the_label_scores_one(demo: Cells, labels: np.ndarray) -> None:
    label = Representation("label", lambda cells, train, seed: (labels == labels[0])[:, None].astype(np.float32))
    table = judge(demo, labels, label, PARAMETER_FREE["depth"])
    assert table.loc["label", "macro_f1"].tolist() == [1.0, 1.0]
    assert not table.loc["label", "parameter_free"].any()


def test_scores_are_those_of_scikit_learn() -> None:
    truth, named = np.array(list("aaabbc")), np.array(list("aabbbb"))
    found = annotation.score(truth, named)
    assert found["macro_f1"] == pytest.approx(f1_score(truth, named, average="macro", zero_division=0.0))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, named))
    assert found["accuracy"] == pytest.approx(4 / 6)


def test_rare_and_missing_labels_are_left_out_and_said(demo: Cells) -> None:
    cells = demo.take(np.arange(450, 550))
    cells.obs["type"] = ["one"] * 60 + ["two"] * 30 + ["rare"] * 2 + ["lone"] + [None] * 7
    left = annotation.labelled(cells, "type", 5)
    assert len(left) == 90
    assert left.notes == [
        "7 cells without a type are left out",
        "3 cells of 2 labels with fewer cells than the 5 splits are left out: lone (1), rare (2)",
    ]
    with pytest.raises(ValueError, match=r"'type' has 1 label\(s\) of 40 cells or more, of 4: two are needed"):
        annotation.labelled(cells, "type", 40)
    with pytest.raises(
        ValueError, match=r"no obs column 'conditon' for labels: did you mean 'condition'\? Known: .*condition"
    ):
        annotation.labelled(cells, "conditon", 5)


def test_a_column_that_nothing_can_be_held_out_of_is_refused(demo: Cells, labels: np.ndarray) -> None:
    for name, said in (
        ("plate", "no obs column 'plate' for --hold-out"),
        ("tissue", "1 value"),
        ("condition", "2 value"),
    ):
        with pytest.raises(ValueError, match=said):
            list(annotation.make_splits(demo, labels, 2, 0, [name], []))


def test_names_of_representations() -> None:
    assert [each.name for each in chosen(["file:emb.parquet", "pca"], ["depth"])] == [
        "file:emb.parquet",
        "pca",
        "depth",
    ]
    assert [each.name for each in chosen([], None)] == list(PARAMETER_FREE)
    for names, baselines in (
        (["emb.parquet"], None),
        (["obsm:file.h5ad"], None),
        (["checkpoint:"], None),
        ([], ["file:x"]),
        ([], []),
    ):
        with pytest.raises(ValueError, match=r"unknown representation|--baselines"):
            chosen(names, baselines)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("emb.parquet", "file:emb.parquet"),
        ("runs/a.pt", "checkpoint:runs/a.pt"),
        ("obsm:a.h5ad", "obsm:a.h5ad:KEY"),
        ("flie:emb", "file:emb"),
        ("lognrom", "lognorm"),
    ],
)
def test_a_misspelt_representation(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"unknown representation '{name}': did you mean '{meant}'"):
        chosen([name], None)


def test_batches_of_real_cells_are_held_out(shared_data, tmp_path) -> None:
    scdata.build_shards(shared_data / "human_lung_cell_lines_celseq2.h5ad", tmp_path / "set")
    options = {"set": [str(tmp_path / "set")], "split": [], "max_cells": 20_000, "hold_out": None, "few": []}
    args = argparse.Namespace(**options, labels="cell_line", splits=2, seed=0)
    outcome = annotation.run(args, chosen([], ["pca", "depth"]))
    assert list(outcome.scores["how"].unique()) == ["stratified", "batch held out"]
    assert outcome.scores.query("how == 'batch held out'")["split"].nunique() == 3
    table = summarize(outcome.scores, outcome.metrics).set_index(["how", "representation", "probe"])
    assert table.loc[("batch held out", "pca", "linear"), "macro_f1"] > 0.97
    assert table.loc[("batch held out", "depth", "linear"), "macro_f1"] < 0.6
