"""Annotation: name the labels of cells from a representation, by probes that are trained on labelled cells."""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, recall_score

from .cells import Cells, copies, read_cells
from .outcome import Outcome
from .parameter_free import profiles_of
from .probes import PROBES, Features
from .progress import PROGRESS
from .representations import Representation
from .sctop import label_profiles, project
from .splits import Split, check, few_shot, group_columns, held_out, stratified

METRICS = ("macro_f1", "accuracy", "balanced_accuracy")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--labels", metavar="COL", default="cell_type", help="obs column to name; default: cell_type")
    parser.add_argument(
        "--hold-out",
        metavar="COL",
        action="append",
        help="obs column whose values are held out in turn, besides the stratified splits; may be repeated; default: "
        "donor_id and batch, where they are there",
    )
    parser.add_argument(
        "--few",
        metavar="N",
        type=int,
        nargs="+",
        default=[],
        help="also with N labelled cells of each label, such as 1 5 20",
    )


def run(args: argparse.Namespace, representations: Sequence[Representation]) -> Outcome:
    """Judge representations on the sets of `args`."""
    if min(args.few, default=1) < 1:
        raise ValueError(f"--few {min(args.few)}: at least 1 cell of each label")
    cells = labelled(read_cells(args.set, args.split, args.max_cells), args.labels, args.splits)
    labels = cells.column(args.labels, "labels").to_numpy(str)
    skipped: list[str] = []
    splits = make_splits(cells, labels, args.splits, args.seed, args.hold_out, skipped, args.few)
    scores = judge(cells, labels, representations, splits, args.seed)
    n_labels = len(np.unique(labels))
    facts = {"labels": args.labels, "n_labels": n_labels, "n_cells": len(cells), "n_genes": len(cells.feature_ids)}
    title = f"Annotation of {args.labels}: {len(cells):,} cells, {len(cells.feature_ids):,} genes, {n_labels} labels"
    tested = scores.drop_duplicates(["how", "split"]).groupby("how", sort=False)["n_test"].sum()
    notes = [
        f"{how}: {len(cells) - n:,} cells whose label no other part has are not tested"
        for how, n in tested.items()
        if n < len(cells)
    ]
    return Outcome(title, scores, METRICS, cells.notes + notes + skipped, facts)


def labelled(cells: Cells, name: str, n_splits: int) -> Cells:
    """The cells that have a label of which there are `n_splits` cells or more: so each split trains and tests on each label."""
    column = cells.column(name, "labels")
    if (n := int(column.isna().sum())) > 0:
        cells = cells.take(column.notna().to_numpy(), f"{n:,} cells without a {name} are left out")
        column = column.dropna()
    sizes = column.value_counts()
    if len(rare := sizes[sizes < n_splits].sort_index()):
        names = ", ".join(f"{label} ({n})" for label, n in rare.items())
        note = f"{rare.sum():,} cells of {len(rare)} labels with fewer cells than the {n_splits} splits are left out: {names}"
        cells = cells.take(~column.isin(rare.index).to_numpy(), note)
    if len(sizes) - len(rare) < 2:
        raise ValueError(
            f"obs column {name!r} has {len(sizes) - len(rare)} label(s) of {n_splits} cells or more, of {len(sizes)}: "
            "two are needed; take fewer --splits, or other --labels"
        )
    return cells


def make_splits(
    cells: Cells,
    labels: np.ndarray,
    n: int,
    seed: int,
    hold_out: list[str] | None,
    notes: list[str],
    few: Sequence[int] = (),
) -> Iterator[Split]:
    """Stratified splits, each followed by those with a `few` labelled cells, then those that hold out the groups of each
    column; groups that cannot be are counted in `notes`."""
    of = copies(cells.counts)
    for name in hold_out or ():
        groups = cells.column(name, "--hold-out").fillna("(null)").to_numpy(str)
        if next(held_out(name, groups, labels), None) is None:
            raise ValueError(
                f"--hold-out {name}: {len(np.unique(groups))} value(s), and no two labels are both in one of them and in the "
                "others: nothing to test; choose another column"
            )
    for split in stratified(labels, n, seed):
        yield check(split, copies=of)
        yield from (few_shot(split, labels, number, seed) for number in few)
    for name in group_columns(cells.obs, hold_out):
        groups = cells.column(name, "--hold-out").fillna("(null)").to_numpy(str)
        skipped: list[str] = []
        for split in held_out(name, groups, labels, skipped):
            yield check(split, groups, of)
        if skipped:
            few = f"{len(skipped)} with one label to test, or to learn, are skipped"
            notes.append(f"{name} held out: {few}: {', '.join(skipped)}")


def judge(
    cells: Cells, labels: np.ndarray, representations: Sequence[Representation], splits: Iterator[Split], seed: int
) -> pd.DataFrame:
    """Scores of every probe on every split: the frame of `tasks.table`, with ``n_train`` and ``n_test``."""
    rows, features = [], {}
    trained: np.ndarray | None = None
    for split in splits:
        truth = labels[split.test]
        about = {"how": split.how, "split": split.name, "n_train": len(split.taught), "n_test": len(split.test)}
        if split.train is not trained:
            features = {}
            for each in representations:
                features[each.name] = each.features(cells, split.train, seed)
                PROGRESS.done(f"{split.how}, split {split.name}: {each.name}")
            trained = split.train
        for each in representations:
            for probe in each.probes:
                named = _named(probe, cells, features[each.name], labels[split.taught], split)
                row = {"representation": each.name, "probe": probe, "parameter_free": each.parameter_free}
                rows.append(row | about | score(truth, named))
                PROGRESS.done(f"{split.how}, split {split.name}: {each.name} + {probe}")
    return pd.DataFrame(rows)


def score(truth: np.ndarray, named: np.ndarray) -> dict[str, float]:
    """Macro-F1 and balanced accuracy over the labels that are in the test, each of the same weight; accuracy."""
    present = np.unique(truth)
    options = {"labels": present, "average": "macro", "zero_division": 0.0}
    return {
        "macro_f1": float(f1_score(truth, named, **options)),
        "accuracy": float(np.mean(truth == named)),
        "balanced_accuracy": float(recall_score(truth, named, **options)),
    }


def _named(probe: str, cells: Cells, features: Features, labels: np.ndarray, split: Split) -> np.ndarray:
    """What a probe calls the test cells."""
    if probe == "projection":
        names, basis = label_profiles(cells.counts[split.taught], labels)
        return names[project(profiles_of(cells).take(split.test), basis).argmax(1)]
    return PROBES[probe](features[split.taught], labels, features[split.test])
