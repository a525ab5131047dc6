"""Weighted draws: every window of an order emits as many cells as it has, some several times, others not at all.

A window is one of positions, over all lanes: a rare value may have no cell in a single lane's window. Its cells are drawn by
systematic resampling: the weights are laid end to end, and a comb with one tooth for each position, moved by a random
offset, says how often each cell is drawn. So each cell, and in a window each value, is drawn its expected number of times,
rounded up or down, where independent draws would scatter. (Kitagawa, "Monte Carlo filter and smoother", J. Comput. Graph.
Stat. 5(1), 1996.)
"""

from collections import OrderedDict

import numpy as np

from scdata._blocks import I64, Array
from scdata._splitmix import mix, permutation, stream
from scdata.stream.places import EpochOrder, Places
from scdata.stream.weights import CellWeights

_KEPT_WINDOWS = 2
_SCALE = 1 << 40  # weights of a window are whole numbers up to this, so that their sums are exact


class WeightedOrder:
    """Positions of an epoch → drawn cells.

    Parameters
    ----------
    base
        The order of the cells without weights.
    weights
        Weight of each cell.
    first
        int64 (blocks + 1,): cells of the selection before each block.
    seed, epoch
        What the draws are a function of.
    window
        Positions of a window.
    max_repeat
        Most copies of a cell in a window.
    """

    def __init__(
        self,
        base: EpochOrder,
        weights: CellWeights,
        first: I64,
        *,
        seed: int,
        epoch: int,
        window: int,
        max_repeat: int,
    ) -> None:
        self._base, self._weights, self._first = base, weights, first
        self._seed, self._epoch = seed, epoch
        self._window, self._max_repeat = window, max_repeat
        self._kept: OrderedDict[int, tuple[Places, Array]] = OrderedDict()

    @property
    def n(self) -> int:
        """Positions of the epoch: one for each cell of the base."""
        return self._base.n

    @property
    def blocks_held(self) -> int:
        """As the base's: a window's draws come from its own cells."""
        return self._base.blocks_held

    def cells(self, positions: I64) -> Places:
        """The drawn cell of each position, and which of its copies it is."""
        found = Places(*(np.empty(len(positions), np.int64) for _ in range(3)))
        number = positions // self._window
        for window in np.unique(number).tolist():
            own = number == window
            places, _ = self._draws(window)
            for out, drawn in zip(found, places, strict=True):
                assert out is not None  # made above
                assert drawn is not None  # draws have all three
                out[own] = drawn[positions[own] - window * self._window]
        return found

    def shares(self, n_windows: int) -> Array:
        """float64 (V,): the share of each value among the draws of the epoch's first windows."""
        windows = range(min(n_windows, -(-self.n // self._window)))
        drawn = sum(
            (np.bincount(self._draws(window)[1], minlength=len(self._weights.values)) for window in windows),
            np.zeros(len(self._weights.values), np.int64),
        )
        return np.asarray(drawn / max(1, drawn.sum()))

    def _draws(self, window: int) -> tuple[Places, Array]:
        """The cells that a window emits, in their order, and the code of each."""
        known = self._kept.get(window)
        if known is not None:
            return known
        start = window * self._window
        base = self._base.cells(np.arange(start, min(start + self._window, self.n)))
        codes = self._weights.codes[self._first[base.block] + base.row]
        offset = mix(stream(self._seed, "draws", self._epoch, window, 0)) / 2**64
        together = np.argsort(codes, kind="stable")  # cells of a value side by side: it has its share within one draw
        copies = np.empty(len(codes), np.int64)
        copies[together] = copies_of(self._weights.weights[codes[together]], self._max_repeat, offset)
        cell = np.repeat(np.arange(len(codes)), copies)
        occurrence = np.arange(len(cell)) - np.repeat(np.cumsum(copies) - copies, copies)
        order = permutation(len(cell), stream(self._seed, "draws", self._epoch, window, 1))
        cell = cell[order]
        found = Places(base.block[cell], base.row[cell], occurrence[order]), codes[cell]
        self._kept[window] = found
        while len(self._kept) > _KEPT_WINDOWS:
            self._kept.popitem(last=False)
        return found


def copies_of(weights: Array, most: int, offset: float) -> I64:
    """How often each of n cells is drawn in n draws.

    Parameters
    ----------
    weights
        float64 (n,), above 0.
    most
        Most copies of a cell, at least 1; what it takes from heavy cells the others share in proportion to their weights.
    offset
        In [0, 1): where the comb begins.

    Returns
    -------
    int64 (n,) of sum n: the expected number of each cell, rounded up or down.
    """
    n = len(weights)
    whole = np.maximum(np.rint(weights / weights.max() * _SCALE), 1).astype(np.int64)
    heavy = _heavy(whole, most)
    copies = np.where(heavy, most, 0)
    left = n - int(copies.sum())
    if left:
        ends = np.cumsum(np.where(heavy, 0, whole))
        teeth = np.floor(ends * (left / ends[-1]) + offset).astype(np.int64)
        # a rounding of the last end must neither lose a draw nor add one
        teeth = np.minimum(teeth, left)
        teeth[ends == ends[-1]] = left
        copies += np.diff(teeth, prepend=0)
    return copies


def _heavy(whole: I64, most: int) -> Array:
    """bool (n,): the cells that would be drawn more than `most` times, even after heavier ones were cut to that."""
    falling = np.sort(whole)[::-1]
    rest = np.cumsum(falling[::-1])[::-1]  # of this cell and all lighter ones
    left = len(whole) - most * np.arange(len(whole))
    over = (left > 0) & (falling.astype(np.float64) * left >= float(most) * rest)
    n_heavy = len(whole) if over.all() else int(np.argmin(over))
    # by weight, so that cells of equal weight are cut alike
    return np.asarray(whole >= falling[n_heavy - 1]) if n_heavy else np.zeros(len(whole), bool)
