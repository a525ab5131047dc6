"""How often cells are drawn: a weight for each value of an obs column, found from ``obs/`` once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._blocks import I64, Array
from scdata._config import nearest
from scdata.shard.shard_set import ShardSet
from scdata.stream.obs import iter_obs
from scdata.stream.selection import Selection

_MOST_VALUES = 1 << 16


@dataclass(frozen=True)
class CellWeights:
    """Weights of the N cells of a selection: one or two bytes a cell.

    Parameters
    ----------
    column
        The obs column that decides.
    values
        Its values (None: null).
    n_cells
        int64 (V,): cells of each value.
    weights
        float64 (V,): weight of each of these cells, above 0.
    codes
        uint8 or uint16 (N,): value of each cell, in stored order.
    """

    column: str
    values: tuple[Any, ...]
    n_cells: I64
    weights: Array
    codes: Array

    def shares(self) -> Array:
        """float64 (V,): the share of draws that each value is meant to have."""
        own = self.n_cells * self.weights
        return np.asarray(own / own.sum())


def weigh_cells(
    shards: ShardSet, split: str, selection: Selection, balance: str | None, weights: str | Mapping[str, Any] | None
) -> tuple[Selection, CellWeights]:
    """Weights of the selected cells, and the selection without those of weight 0.

    Parameters
    ----------
    balance
        A column each of whose values is to be drawn equally often; null is one of them.
    weights
        A column of numbers, the weights; or a column and the weights of its values, ``{"cell_type": {"B cell": 3}}``: what is
        not named weighs 1.

    Raises
    ------
    ValueError
        If a weight is no finite number from 0, a value has no cell, no cell has a weight, or there are too many values.
    LayerNotFoundError
        If there is no such column.
    """
    column, given = _column_of(balance, weights)
    codes, values = value_codes(shards, split, selection, column)
    n_cells = np.bincount(codes, minlength=len(values))
    if balance is not None:
        found = 1.0 / np.maximum(n_cells, 1)
    elif given is None:
        found = np.array([_weight(value, f"weights={column!r}: a cell") for value in values], np.float64)
    else:
        known = [value for value, n in zip(values, n_cells.tolist(), strict=True) if n]
        for value in given:
            if value not in known:
                raise ValueError(
                    f"weights: no cell of split {split!r} of {shards.path} has the value {value!r} of {column!r}: "
                    f"{nearest(str(value), [str(one) for one in known])}"
                )
        found = np.array([_weight(given.get(value, 1), f"weights: {value!r}") for value in values], np.float64)
    if not (n_cells * found).sum():
        raise ValueError(f"weights: no cell of split {split!r} of {shards.path} has a weight above 0")
    own = CellWeights(column, tuple(values), n_cells, found, codes)
    drawn = found > 0
    return (selection, own) if drawn[n_cells > 0].all() else _without_zeros(selection, own, drawn)


def _column_of(balance: str | None, weights: str | Mapping[str, Any] | None) -> tuple[str, Mapping[Any, Any] | None]:
    if balance is not None:
        return balance, None
    if isinstance(weights, Mapping):
        [(column, given)] = weights.items()
        return column, given
    assert weights is not None  # one of the two is given
    return weights, None


def _weight(value: Any, what: str) -> float:
    if not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{what} has the weight {value!r}: expected a number from 0")
    return float(value)


def value_codes(shards: ShardSet, split: str, selection: Selection, column: str) -> tuple[Array, list[Any]]:
    """The values of a column, numbered as they come, and the number of each selected cell's."""
    numbers: dict[Any, int] = {}
    parts, start = [], 0
    kept = selection.cells()
    for table in iter_obs(shards, split, [column], column):
        own = np.flatnonzero(kept[start : start + len(table)])
        start += len(table)
        coded: Any = table[column].combine_chunks().take(pa.array(own)).dictionary_encode("encode")
        ids = [numbers.setdefault(value, len(numbers)) for value in coded.dictionary.to_pylist()]
        if len(numbers) > _MOST_VALUES:
            raise ValueError(
                f"the obs column {column!r} of {shards.path} has more than {_MOST_VALUES:,} values: group them, or round them"
            )
        parts.append(np.array(ids, np.uint16)[coded.indices.to_numpy()])
        if len(numbers) <= 256:
            parts[-1] = parts[-1].astype(np.uint8)
    return np.concatenate(parts), list(numbers)


def _without_zeros(selection: Selection, own: CellWeights, drawn: Array) -> tuple[Selection, CellWeights]:
    stays = drawn[own.codes]
    kept = selection.cells()
    np.place(kept, kept.copy(), stays)
    return Selection.of(kept, selection.starts), replace(
        own, codes=own.codes[stays], n_cells=np.where(drawn, own.n_cells, 0)
    )
