"""The order of an epoch: a pure function of (blocks, seed, epoch), in closed form.

The blocks of a split, permuted, are dealt to K lanes: lane l gets permuted blocks l, l+K, …. A lane's cells, in stored order,
are cut into consecutive windows, each permuted by itself; nothing carries over from one window to the next. Positions of the
epoch go round the lanes that still have cells. So position p is found without walking to it, and a reader holds a few blocks
a lane.
"""

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from scdata._blocks import I64, Array
from scdata._splitmix import permutation, stream
from scdata.stream.places import Places

_KEPT_WINDOWS = 2  # of all lanes: where positions rise, those that a few thousand of them touch


class Order:
    """Positions of an epoch → cells.

    Parameters
    ----------
    n_cells
        Cells of each block, in stored order.
    seed, epoch
        What the order is a function of.
    shuffle
        False: the stored order, one lane.
    lanes
        K.
    window
        Cells of all lanes' windows together; a lane's window holds ``max(1, window // lanes)``.
    """

    def __init__(
        self,
        n_cells: Array,
        *,
        seed: int,
        epoch: int,
        shuffle: bool = True,
        lanes: int = 16,
        window: int = 16384,
    ) -> None:
        self.n = int(n_cells.sum())
        self._shuffle = shuffle
        self._lanes = lanes if shuffle else 1
        self._seed, self._epoch = seed, epoch
        self._window = max(1, window // self._lanes)
        blocks = np.arange(len(n_cells))
        if shuffle:
            blocks = permutation(len(n_cells), stream(seed, "blocks", epoch))
        self._blocks = [blocks[lane :: self._lanes] for lane in range(self._lanes)]
        self._starts = [np.concatenate(([0], np.cumsum(n_cells[own]))).astype(np.int64) for own in self._blocks]
        lengths = np.array([starts[-1] for starts in self._starts])
        # while `round` is below rounds[i+1], the lanes in active[i] have cells
        self._rounds = np.unique(np.concatenate(([0], lengths)))
        self._active = [np.flatnonzero(lengths > round_) for round_ in self._rounds[:-1]]
        sizes = [len(a) * int(r) for a, r in zip(self._active, np.diff(self._rounds), strict=True)]
        self._segments = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        self._kept: OrderedDict[int, _Window] = OrderedDict()

    @property
    def blocks_held(self) -> int:
        """Blocks that a window of every lane and the one after it touch, at most: what a reader needs at hand."""
        held = 0
        for starts in self._starts:
            first = np.arange(0, starts[-1], self._window)
            last = np.minimum(first + 2 * self._window, starts[-1]) - 1
            touched = np.searchsorted(starts, last, side="right") - np.searchsorted(starts, first, side="right") + 1
            held += int(touched.max(initial=0))
        return held

    def cells(self, positions: I64) -> Places:
        """Block and row of each position.

        Parameters
        ----------
        positions
            int64 (P,), in ``range(n)``; quick where they rise.
        """
        lane, place = self._lane_places(positions)
        if not self._shuffle:
            return Places(*self._stored(0, place))
        block, row = np.empty(len(positions), np.int64), np.empty(len(positions), np.int64)
        number = place // self._window
        place -= number * self._window
        for window, own in _groups(number):
            block[own], row[own] = self._in_window(window, lane[own], place[own])
        return Places(block, row)

    def _lane_places(self, positions: I64) -> tuple[I64, I64]:
        """Lane of each position and the place in it, before windows are permuted."""
        segment = np.searchsorted(self._segments, positions, side="right") - 1
        lane, place = np.empty(len(positions), np.int64), np.empty(len(positions), np.int64)
        for i, own in _groups(segment):
            rounds, turn = np.divmod(positions[own] - self._segments[i], len(self._active[i]))
            lane[own] = self._active[i][turn]
            place[own] = self._rounds[i] + rounds
        return lane, place

    def _stored(self, lane: int, cell: I64) -> tuple[I64, I64]:
        """Block and row of the cells of a lane, counted in stored order."""
        starts = self._starts[lane]
        number = np.searchsorted(starts, cell, side="right") - 1
        return self._blocks[lane][number], cell - starts[number]

    def _in_window(self, number: int, lane: I64, place: I64) -> tuple[I64, I64]:
        """Block and row of places in one window of their lanes; what is found is kept, because positions rise."""
        window = self._kept.get(number)
        if window is None:
            size = min(self._window, int(self._rounds[-1]) - number * self._window)
            window = self._kept[number] = _Window(self._lanes, size)
            while len(self._kept) > _KEPT_WINDOWS:
                self._kept.popitem(last=False)
        # a rank may need but a few of the lanes
        for one in np.flatnonzero(np.bincount(lane, minlength=self._lanes).astype(bool) & ~window.there).tolist():
            start = number * self._window
            stop = min(start + self._window, int(self._starts[one][-1]))
            block, row = self._stored(one, np.arange(start, stop))
            order = permutation(stop - start, stream(self._seed, "window", self._epoch, one, number))
            window.block[one, : stop - start], window.row[one, : stop - start] = block[order], row[order]
            window.there[one] = True
        at = lane * window.block.shape[1] + place
        return window.block.reshape(-1)[at], window.row.reshape(-1)[at]


class _Window:
    """Blocks and rows of one window of every lane, int64 (K, cells of a window), and which lanes are there."""

    def __init__(self, lanes: int, size: int) -> None:
        self.block, self.row = np.empty((lanes, size), np.int64), np.empty((lanes, size), np.int64)
        self.there = np.zeros(lanes, bool)


def _groups(number: I64) -> Iterator[tuple[int, Array | slice]]:
    """Each number there is, and where it stands; most often there is but one."""
    if len(number) == 0:
        return
    low, high = int(number.min()), int(number.max())
    if low == high:
        yield low, slice(None)
        return
    for one in np.unique(number).tolist():
        yield one, np.flatnonzero(number == one)
