"""Groups of cells on several sides of a split: donors, and whatever column a split looks at."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from scdata._blocks import I64, Array
from scdata.build.obs_columns import ObsColumn
from scdata.build.plan import Plan

_DONOR = "donor_id"


def between_splits(table: I64) -> dict[tuple[int, int], list[int]]:
    """(split, split) → groups that both have, and the cells of these in each.

    Parameters
    ----------
    table
        int64 (groups, splits): cells.
    """
    found = {}
    for a, b in combinations(range(table.shape[1]), 2):
        both = (table[:, a] > 0) & (table[:, b] > 0)
        if both.any():
            found[a, b] = [int(both.sum()), int(table[both, a].sum()), int(table[both, b].sum())]
    return found


def named_pairs(pairs: Mapping[tuple[int, int], Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """What `between_splits` found, for a manifest."""
    return [
        {"splits": [names[a], names[b]], "groups": groups, "n_cells": n_cells}
        for (a, b), [groups, *n_cells] in sorted(pairs.items())
    ]


def checked_columns(plan: Plan) -> list[ObsColumn]:
    """obs columns whose values should not stand in two splits, and are stored as strings."""
    wanted = {_DONOR, *plan.splitter.rules.columns} if len(plan.splits) > 1 else set()
    return [column for column in plan.obs_columns if column.name in wanted and column.categories is not None]


def unchecked_columns(plan: Plan) -> list[str]:
    """The others that should not, and could: rules of one column alone keep each of its values on one side."""
    checked, rules = {column.name for column in checked_columns(plan)}, plan.splitter.rules.rules
    ruled = {rule.column for rule in rules if rule.column is not None}
    if len({rule.column for rule in rules}) == 1:
        ruled = set()
    there = {*ruled, *({_DONOR} & {*plan.fields, *plan.table["obs_left_out"]})}
    return sorted(there - checked) if len(plan.splits) > 1 else []


def sides_of(codes: Array, split: I64) -> list[list[int]]:
    """Code of a value, split, and how many cells have both, of some cells; nulls, whose code is −1, are left out."""
    pairs, n_cells = np.unique(np.stack([codes, split])[:, codes >= 0], axis=1, return_counts=True)
    return [[*pair, n] for pair, n in zip(pairs.T.tolist(), n_cells.tolist(), strict=True)]


class Sides:
    """Cells of each value of a column in each split, added up."""

    def __init__(self, column: ObsColumn, names: Sequence[str]) -> None:
        self._column, self._names = column.name, names
        self._table = np.zeros((len(column.categories or ()), len(names)), np.int64)

    def add(self, sides: Sequence[Sequence[int]]) -> None:
        """Take in what `sides_of` gave."""
        if sides:
            code, split, n_cells = np.array(sides).T
            self._table[code, split] += n_cells

    def found(self) -> dict[str, Any]:
        """For a manifest: values of the column, those in several splits, and cells of these."""
        shared = np.count_nonzero(self._table, axis=1) > 1
        return {
            "column": self._column,
            "groups": int(np.count_nonzero(self._table.any(axis=1))),
            "shared": int(shared.sum()),
            "n_cells": int(self._table[shared].sum()),
            "between_splits": named_pairs(between_splits(self._table), self._names),
        }
