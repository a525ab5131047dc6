"""Cells that are exact copies of others, and those whose copy stands in another split."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from scdata._blocks import I64, Array
from scdata.build.sides import between_splits


@dataclass
class Duplicates:
    """Groups of equal cells, added up.

    Parameters
    ----------
    copies
        Cells that equal one with a smaller cell_id.
    groups
        Groups of cells that are equal.
    across_datasets
        Groups with cells of several datasets.
    leaked
        Copies in another split than the cell with the smallest cell_id of their group.
    pairs
        (split, split), by number → groups with cells in both, and how many cells these have in each.
    """

    copies: int = 0
    groups: int = 0
    across_datasets: int = 0
    leaked: int = 0
    pairs: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    @staticmethod
    def of(cells: Array, first: I64) -> "Duplicates":
        """Of cells (`HASHED`) that stand group after group by rising cell_id, groups beginning at `first`."""
        group = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(cells))))
        found = Duplicates(len(cells) - len(first), len(first))
        if not len(first):
            return found
        dataset, split = cells["dataset"], cells["split"].astype(np.int64)
        found.across_datasets = int(np.count_nonzero(_differs(dataset, first)))
        found.leaked = int(np.count_nonzero(split != split[first][group]))
        n_splits = int(split.max()) + 1
        mixed = np.flatnonzero(_differs(split, first)[group])
        rows, row = np.unique(group[mixed], return_inverse=True)
        table = np.zeros((len(rows), n_splits), np.int64)
        np.add.at(table, (row, split[mixed]), 1)
        found.pairs = between_splits(table)
        return found

    @staticmethod
    def merge(parts: Iterable["Duplicates"]) -> "Duplicates":
        """All of all parts."""
        out = Duplicates()
        for part in parts:
            for name in ("copies", "groups", "across_datasets", "leaked"):
                setattr(out, name, getattr(out, name) + getattr(part, name))
            for pair, numbers in part.pairs.items():
                own = out.pairs.get(pair, [0, 0, 0])
                out.pairs[pair] = [a + b for a, b in zip(own, numbers, strict=True)]
        return out


def _differs(column: Array, first: I64) -> Array:
    """bool (groups,): those in which the column has several values."""
    return np.asarray(np.minimum.reduceat(column, first) != np.maximum.reduceat(column, first))


def equal_cells(cells: Array) -> tuple[Array, I64]:
    """Those of some cells (`HASHED`) that equal another one, group after group by rising cell_id, and where groups begin."""
    order = np.argsort(cells["high"], kind="stable")
    high = cells["high"][order]
    same = np.zeros(len(cells) + 1, bool)
    same[1:-1] = high[1:] == high[:-1]
    cells = cells[order[same[1:] | same[:-1]]]  # few, so that they are sorted by all that matters
    cells = cells[np.lexsort((cells["cell_id"], cells["low"], cells["high"]))]
    begins = _begins(cells)
    cells = cells[~(begins[1:] & begins[:-1])]
    return cells, np.flatnonzero(_begins(cells)[:-1])


def _begins(cells: Array) -> Array:
    """bool (C+1,): cells that are not equal to the one before, and the end."""
    out = np.ones(len(cells) + 1, bool)
    out[1:-1] = (cells["high"][1:] != cells["high"][:-1]) | (cells["low"][1:] != cells["low"][:-1])
    return out
