"""Positions of a mix's epoch → cells of its sets."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np

from scdata._blocks import I64
from scdata.stream.batch_mixture import BatchMixture
from scdata.stream.mixture import Mixture
from scdata.stream.places import EpochOrder, Places

_KEPT_ORDERS = 2  # of each set: where one epoch of its own ends and the next begins


class MixedPlaces(NamedTuple):
    """P cells of several sets: set, epoch of the set's own, and as in `Places`; int64 (P,) each."""

    set: I64
    epoch: I64
    block: I64
    row: I64
    occurrence: I64

    def part(self, start: int, stop: int) -> Self:
        """Some of them."""
        return type(self)(*(own[start:stop] for own in self))

    def joined(self, parts: Sequence[Self]) -> Self:
        """Several of the like, one after the other."""
        return type(self)(*(np.concatenate(own) for own in zip(*parts, strict=True)))

    def of(self, s: int, epoch: int) -> tuple[I64, Places]:
        """Which of the cells are of a set and an epoch of its own, and where they stand."""
        at = np.flatnonzero((self.set == s) & (self.epoch == epoch))
        return at, Places(self.block[at], self.row[at], self.occurrence[at])


class MixOrder:
    """Positions of an epoch of a mix → cells.

    Parameters
    ----------
    mixture
        Which set each position is of.
    order_of
        Number of a set, and an epoch of its own → its order.
    epoch
        The mix's.
    """

    def __init__(self, mixture: Mixture | BatchMixture, order_of: Callable[[int, int], EpochOrder], epoch: int) -> None:
        self._mixture, self._order_of = mixture, order_of
        self.first_epochs = tuple(epoch * max(1, passes) for passes in mixture.passes)
        self._orders: list[dict[int, EpochOrder]] = [{} for _ in mixture.sizes]

    def order(self, s: int, epoch: int) -> EpochOrder:
        """The order of a set in an epoch of its own."""
        known = self._orders[s]
        if epoch not in known:
            known[epoch] = self._order_of(s, epoch)
            while len(known) > _KEPT_ORDERS:
                del known[next(iter(known))]  # the one that is there for longest
        return known[epoch]

    def cells(self, positions: I64) -> MixedPlaces:
        """The cells of some positions, int64 (P,); quick where they rise."""
        sets, own = self._mixture.places(positions)
        found = MixedPlaces(sets, *(np.zeros(len(positions), np.int64) for _ in range(4)))
        for s, size in enumerate(self._mixture.sizes):
            at = np.flatnonzero(sets == s)
            passes, place = np.divmod(own[at], size)
            found.epoch[at] = self.first_epochs[s] + passes
            for one in np.unique(passes).tolist():
                part = passes == one
                places = self.order(s, self.first_epochs[s] + one).cells(place[part])
                found.block[at[part]], found.row[at[part]] = places.block, places.row
                if places.occurrence is not None:
                    found.occurrence[at[part]] = places.occurrence
        return found
