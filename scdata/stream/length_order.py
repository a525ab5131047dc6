"""Batches of cells of about the same length: positions are sorted by length inside groups of 16 global batches.

Cells are sorted in classes of lanes, positions modulo C, and stay at positions of their class, so a rank still reads its own
lanes only, where the number of ranks divides C; batch b of a group has the b-th sixteenth of every class. C is the largest
divisor of the number of lanes with which a batch has 64 cells of each class: with fewer, its longest cell is far from the
others. Which batch comes when in its group is drawn, or lengths would rise and fall in a training run; a last batch that is
not full stays the last.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from scdata._blocks import I64, Array
from scdata._splitmix import permutation, stream
from scdata.stream.places import CellOrder, Parts

BATCHES = 16
_KEPT_GROUPS = 4
_OF_A_CLASS = 64

C = TypeVar("C", bound=Parts)


class LengthOrder(Generic[C]):
    """Positions of an epoch → cells, sorted by length in groups.

    Parameters
    ----------
    base
        The order without groups.
    n
        Its positions.
    length_of
        Cells → their lengths, (P,).
    global_batch
        G: positions of a batch over all ranks.
    lanes
        K: positions ≡ l modulo K are of one lane.
    seed, epoch
        What the order of batches in a group is a function of.
    """

    def __init__(
        self,
        base: CellOrder[C],
        n: int,
        length_of: Callable[[C], Array],
        *,
        global_batch: int,
        lanes: int,
        seed: int,
        epoch: int,
    ) -> None:
        self._base, self._n, self._length_of = base, n, length_of
        self._batch = global_batch
        divisors = (d for d in range(1, lanes + 1) if lanes % d == 0)
        self.classes = max(d for d in divisors if d == 1 or global_batch // d >= _OF_A_CLASS)
        self._seed, self._epoch = seed, epoch
        self._groups: OrderedDict[int, _Group] = OrderedDict()

    def cells(self, positions: I64) -> C:
        """The cells of some positions, int64 (P,); quick where they rise."""
        size = BATCHES * self._batch
        groups = positions // size
        taken = np.empty(len(positions), np.int64)
        for group in np.unique(groups).tolist():
            at = np.flatnonzero(groups == group)
            taken[at] = self._sorted_positions(group, positions[at])
        return self._base.cells(taken)

    def _sorted_positions(self, number: int, positions: I64) -> I64:
        """Positions of the base whose cells some positions of a group have."""
        start = number * BATCHES * self._batch
        stop = min(start + BATCHES * self._batch, self._n)
        n_full = (stop - start) // self._batch
        batch, place = np.divmod(positions - start, self._batch)
        order = np.append(permutation(n_full, stream(self._seed, "lengths", self._epoch, number)), n_full)
        place += order[batch] * self._batch
        group = self._groups.get(number)
        if group is None:
            group = self._groups[number] = _Group(stop - start, self.classes)
            while len(self._groups) > _KEPT_GROUPS:
                self._groups.popitem(last=False)
        needed = np.bincount((start + place) % self.classes, minlength=self.classes).astype(bool) & ~group.there
        if needed.any():
            own = np.arange(start, stop)
            own = own[needed[own % self.classes]]
            of = own % self.classes
            by_length = np.lexsort((self._length_of(self._base.cells(own)), of))
            group.taken[own[np.argsort(of, kind="stable")] - start] = own[by_length]
            group.there |= needed
        return group.taken[place]


class _Group:
    """Positions of the base in the order of a group's lengths, int64; bool: which classes are there."""

    def __init__(self, size: int, classes: int) -> None:
        self.taken = np.empty(size, np.int64)
        self.there = np.zeros(classes, bool)
