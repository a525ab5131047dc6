"""Which cells train and which test: stratified by label, and whole groups (donors, batches) held out."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, StratifiedKFold

# more groups than this are held out several at a time
MAX_HELD_OUT = 10


@dataclass(frozen=True)
class Split:
    """`how` the cells were split (``"stratified"``, ``"donor_id held out"``), the `name` of this split among those, the indices
    of its training and test cells, int64, rising, and of the training cells those that are `labelled`; None: all."""

    how: str
    name: str
    train: np.ndarray
    test: np.ndarray
    labelled: np.ndarray | None = None

    @property
    def taught(self) -> np.ndarray:
        """The cells whose labels a probe sees."""
        return self.train if self.labelled is None else self.labelled


def stratified(labels: np.ndarray, n: int, seed: int) -> Iterator[Split]:
    """`n` disjoint tests that together are all cells, each with its share of every label, which has `n` cells or more."""
    folds = StratifiedKFold(n, shuffle=True, random_state=seed).split(labels, labels)
    for number, (train, test) in enumerate(folds):
        yield Split("stratified", str(number), train, test)


def few_shot(split: Split, labels: np.ndarray, n: int, seed: int) -> Split:
    """The split with `n` labelled cells of each label, drawn from its training cells (all of a label that has fewer). What is
    fitted without labels still sees all training cells."""
    order = np.random.default_rng([seed, int(split.name), n]).permutation(split.train)
    place = pd.Series(order).groupby(labels[order]).cumcount().to_numpy()
    how = f"{n} labelled cell{'s' if n > 1 else ''} of each label"
    return Split(how, split.name, split.train, split.test, np.sort(order[place < n]))


def held_out(column: str, groups: np.ndarray, labels: np.ndarray, skipped: list[str] | None = None) -> Iterator[Split]:
    """Every group of cells tested once, on probes that saw none of it: alone, or of more than ten groups with others.

    Cells of labels that no other group has are not tested, because nothing could name them. A group whose cells to test have
    fewer than two labels gives no split (always saying the one would score best), nor does one beside which one label is left;
    such groups are added to `skipped`.
    """
    names = np.unique(groups)
    fold = np.searchsorted(names, groups)
    if len(names) > MAX_HELD_OUT:
        for number, (_, test) in enumerate(GroupKFold(MAX_HELD_OUT).split(groups, groups=groups)):
            fold[test] = number
    for number in np.unique(fold):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        test = test[np.isin(labels[test], labels[train])]
        name = str(names[number]) if len(names) <= MAX_HELD_OUT else f"part {number}"
        if min(len(np.unique(labels[side])) for side in (train, test)) > 1:
            yield check(Split(f"{column} held out", name, train, test), groups)
        elif skipped is not None:
            skipped.append(name)


def check(split: Split, groups: np.ndarray | None = None, copies: np.ndarray | None = None) -> Split:
    """The split, or a ValueError: if a cell is in both of its sides, or with `groups` a group is, or by `copies`
    (`tasks.cells.copies`) a cell with the counts of another."""
    both = np.intersect1d(split.train, split.test)
    if len(both):
        raise ValueError(f"split {split.name} ({split.how}): {len(both):,} cells are in training and in test")
    if groups is not None and len(both := np.intersect1d(groups[split.train], groups[split.test])):
        raise ValueError(f"split {split.name} ({split.how}): {str(both[0])!r} is in training and in test")
    if copies is not None and (n := len(np.intersect1d(copies[split.train], copies[split.test]))):
        raise ValueError(f"split {split.name} ({split.how}): {n:,} cells of the test have a copy in training")
    return split


def group_columns(obs: pd.DataFrame, wanted: list[str] | None) -> list[str]:
    """The columns to hold out: those `wanted`, else of ``donor_id`` and ``batch`` those with two values or more; columns that
    part the cells alike count once."""
    names = [c for c in ("donor_id", "batch") if c in obs and obs[c].nunique() > 1] if wanted is None else wanted
    seen: list[np.ndarray] = []
    chosen = []
    for name in names:
        codes = pd.factorize(obs[name])[0]
        if not any(np.array_equal(codes, other) for other in seen):
            chosen.append(name)
            seen.append(codes)
    return chosen
