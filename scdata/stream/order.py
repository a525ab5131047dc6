"""The order of an epoch: a pure function of (blocks, seed, epoch), in closed form.

The blocks of a split, permuted, are dealt to K lanes: lane l gets permuted blocks l, l+K, …. A lane's cells, in stored order,
are cut into consecutive windows, each permuted by itself; nothing carries over from one window to the next. Positions of the
epoch go round the lanes that still have cells. So position p is found without walking to it, and a reader holds a few blocks
a lane.
"""

import numpy as np
import numpy.typing as npt

from scdata._blocks import I64, Array
from scdata._splitmix import permutation, stream


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
        self._permutations: dict[int, tuple[int, I64]] = {}

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

    def cells(self, positions: I64) -> tuple[I64, I64]:
        """Block and row of each position.

        Parameters
        ----------
        positions
            int64 (P,), in ``range(n)``; quick where they rise.

        Returns
        -------
        block, row
            int64 (P,): number of the block in stored order, and the cell's place in it.
        """
        block, row = np.empty(len(positions), np.int64), np.empty(len(positions), np.int64)
        lane_of, place = self._lane_places(positions)
        for lane in np.unique(lane_of):
            own = np.flatnonzero(lane_of == lane)
            cell = self._shuffled(int(lane), place[own])
            starts = self._starts[lane]
            number = np.searchsorted(starts, cell, side="right") - 1
            block[own] = self._blocks[lane][number]
            row[own] = cell - starts[number]
        return block, row

    def _lane_places(self, positions: I64) -> tuple[I64, I64]:
        """Lane of each position and the place in it, before windows are permuted."""
        segment = np.searchsorted(self._segments, positions, side="right") - 1
        lane, place = np.empty(len(positions), np.int64), np.empty(len(positions), np.int64)
        for i in np.unique(segment):
            own = segment == i
            rounds, turn = np.divmod(positions[own] - self._segments[i], len(self._active[i]))
            lane[own] = self._active[i][turn]
            place[own] = self._rounds[i] + rounds
        return lane, place

    def _shuffled(self, lane: int, place: I64) -> I64:
        if not self._shuffle:
            return place
        number = place // self._window
        cell = np.empty(len(place), np.int64)
        for window in np.unique(number):
            own = number == window
            begin = int(window) * self._window
            cell[own] = begin + self._permutation(lane, int(window))[place[own] - begin]
        return cell

    def _permutation(self, lane: int, window: int) -> npt.NDArray[np.int64]:
        known = self._permutations.get(lane)
        if known is None or known[0] != window:
            size = min(self._window, int(self._starts[lane][-1]) - window * self._window)
            found = permutation(size, stream(self._seed, "window", self._epoch, lane, window))
            known = self._permutations[lane] = (window, found)
        return known[1]
