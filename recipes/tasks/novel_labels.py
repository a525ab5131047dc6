"""Novel labels: cells of a label that no training cell has are to stand apart. Each label is left out in turn."""

import argparse
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from .annotation import labelled
from .cells import Cells, copies, read_cells
from .outcome import Outcome
from .parameter_free import profiles_of
from .probes import N_NEIGHBORS, Features
from .progress import PROGRESS
from .representations import Representation
from .sctop import label_profiles, project
from .splits import Split, check, stratified

METRICS = ("auroc",)
HOW = "each label left out of training"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--labels", metavar="COL", default="cell_type", help="obs column; default: cell_type")


def run(args: argparse.Namespace, representations: Sequence[Representation]) -> Outcome:
    """Judge representations on the sets of `args`."""
    cells = labelled(read_cells(args.set, args.split, args.max_cells), args.labels, args.splits)
    labels = cells.column(args.labels, "labels").to_numpy(str)
    names = np.unique(labels)
    if len(names) < 3:
        raise ValueError(f"obs column {args.labels!r} has 2 labels: with one left out, two are needed to know")
    scores = judge(cells, labels, representations, make_splits(cells, labels, args.splits, args.seed), args.seed)
    facts = {"labels": args.labels, "n_labels": len(names), "n_cells": len(cells), "n_genes": len(cells.feature_ids)}
    title = (
        f"Novel values of {args.labels}: {len(cells):,} cells, {len(names)} labels, each left out of training in turn"
    )
    return Outcome(title, scores, METRICS, cells.notes, facts)


def make_splits(cells: Cells, labels: np.ndarray, n: int, seed: int) -> list[Split]:
    """A split for each label: all of its cells are tested, beside one of `n` parts of the others, which training leaves out."""
    folds, of = list(stratified(labels, n, seed)), copies(cells.counts)
    splits = []
    for number, name in enumerate(np.unique(labels)):
        fold, novel = folds[number % n], np.flatnonzero(labels == name)
        split = Split(HOW, str(name), np.setdiff1d(fold.train, novel), np.union1d(fold.test, novel))
        splits.append(check(split, copies=of))
    return splits


def judge(
    cells: Cells, labels: np.ndarray, representations: Sequence[Representation], splits: Sequence[Split], seed: int
) -> pd.DataFrame:
    """How well strangeness tells the left-out label's cells: the frame of `tasks.table`. Representations without a distance
    (those not read off by kNN) are not judged."""
    rows = []
    for split in splits:
        novel = labels[split.test] == split.name
        about = {"how": split.how, "split": split.name, "n_novel": int(novel.sum()), "n_known": int((~novel).sum())}
        for each in representations:
            if "kNN" not in each.probes:
                continue
            features = each.features(cells, split.train, seed)
            strange = {"distance": distance(features[split.train], features[split.test])}
            if "projection" in each.probes:
                _, basis = label_profiles(cells.counts[split.train], labels[split.train])
                strange["projection"] = -project(profiles_of(cells).take(split.test), basis).max(1)
            for probe, values in strange.items():
                row = {"representation": each.name, "probe": probe, "parameter_free": each.parameter_free}
                rows.append(row | about | {"auroc": float(roc_auc_score(novel, values))})
            PROGRESS.done(f"without {split.name}: {each.name}")
    return pd.DataFrame(rows)


def distance(train: Features, test: Features) -> np.ndarray:
    """Mean Euclidean distance of each test cell to the five training cells nearest to it: float64 (N,)."""
    near = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, train.shape[0])).fit(train)
    return near.kneighbors(test)[0].mean(1)
