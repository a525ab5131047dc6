"""Which set each position of a mix belongs to, and which of the set's own positions it is, in closed form.

Position p is place p // K of lane p % K. In every lane, of the first q places ⌊q · w₀⌋ are the first set's, of the r others
⌊r · w₁ / (1 − w₀)⌋ the second set's, and so on (w: shares of the sets): a count that never falls, so that a set has in every
window of 1,024 places as many as its share, in the long run to the last cell. A window's places are permuted. Place i of a set
in lane l is its own position K · i + l: a rank that reads some of the mix's lanes reads the same lanes of every set.

In the last window of an epoch lanes do not matter: own positions rise with positions, so that the epoch ends with the very
last cell of a set.
"""

from collections import OrderedDict
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from scdata._blocks import I64, Array
from scdata._cached import cached_property
from scdata._splitmix import permutation, stream

STOPS = ("exhaust", "cycle")
_PLACES = 1024  # of a lane's window
_KEPT_WINDOWS = 2
_LARGEST = 1 << 61  # positions are int64, and a state's are below 2**62


class Mixture:
    """The same in every epoch, but for the orders of the sets.

    Parameters
    ----------
    sizes
        S numbers: cells of each set, at least 1.
    weights
        S weights, above 0; as fractions, so that no rounding adds up.
    seed
        Of the permutations.
    lanes
        K: lanes of each set's order.
    stop
        ``"exhaust"``: an epoch ends with the first set that is used up; ``"cycle"``: with the last one, and sets that are
        used up before begin anew, in the next order of their own.
    places
        Places of a lane's window.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[Fraction],
        *,
        seed: int,
        lanes: int,
        stop: str = "exhaust",
        places: int = _PLACES,
    ) -> None:
        self.sizes = tuple(sizes)
        self._seed, self._lanes = seed, lanes
        self._places, self._positions = places, lanes * places  # of a window
        # the share of each set in what the sets before it leave
        self._shares = [Fraction(own) / sum(weights[i:], Fraction(0)) for i, own in enumerate(weights)]
        self._kept: OrderedDict[int, _Window] = OrderedDict()
        ends = [self._window_of(s, size - 1) for s, size in enumerate(sizes)]
        choose = min if stop == "exhaust" else max
        self._last_window = choose(ends)
        start = self._last_window * self._positions
        if start >= _LARGEST:
            raise ValueError(f"an epoch of {start} cells until the last set is used up: raise the smallest weights")
        last = self._last()
        self.n: int = 1 + choose(
            start + int(np.flatnonzero((last.set == s) & (last.own == size - 1))[0])
            for s, (size, end) in enumerate(zip(sizes, ends, strict=True))
            if end == self._last_window
        )

    def _before(self, places: int) -> list[int]:
        """How many of a lane's first places each set has."""
        found, left = [], places
        for share in self._shares:
            found.append(left * share.numerator // share.denominator)
            left -= found[-1]
        return found

    def _window_of(self, s: int, own: int) -> int:
        """The window in which a set comes to a position of its own."""
        low, high = 0, 1
        while self._lanes * self._before(self._places * high)[s] <= own:
            high *= 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._lanes * self._before(self._places * middle)[s] <= own else (low, middle)
        return low

    @cached_property
    def totals(self) -> tuple[int, ...]:
        """How many positions of an epoch are of each set."""
        start = self._last_window * self._positions
        before = self._before(self._last_window * self._places)
        last = np.bincount(self._last().set[: self.n - start], minlength=len(self.sizes)).tolist()
        return tuple(self._lanes * own + more for own, more in zip(before, last, strict=True))

    @property
    def passes(self) -> tuple[int, ...]:
        """How many epochs of its own each set begins in an epoch."""
        return tuple(-(-total // size) for total, size in zip(self.totals, self.sizes, strict=True))

    def places(self, positions: I64) -> tuple[I64, I64]:
        """Set of each position, and its number among the set's: its cell is that of position ``number % size`` there."""
        found, own = np.empty(len(positions), np.int64), np.empty(len(positions), np.int64)
        number, place = np.divmod(positions, self._positions)
        for w in np.unique(number).tolist():
            at = np.flatnonzero(number == w)
            window = self._window(w, place[at])
            found[at], own[at] = window.set[place[at]], window.own[place[at]]
        return found, own

    def _window(self, number: int, place: I64) -> "_Window":
        """A window, with the lanes of some places filled in."""
        if number == self._last_window:
            return self._last()
        window = self._kept.get(number)
        if window is None:
            window = self._kept[number] = _Window(self._lanes, self._positions)
            while len(self._kept) > _KEPT_WINDOWS:
                self._kept.popitem(last=False)
        needed = np.bincount(place % self._lanes, minlength=self._lanes).astype(bool) & ~window.there
        for lane in np.flatnonzero(needed).tolist():
            own = slice(lane, None, self._lanes)
            window.set[own], window.own[own] = self._dealt(number, 1, lane)
            window.own[own] = window.own[own] * self._lanes + lane
            window.there[lane] = True
        return window

    def _last(self) -> "_Window":
        if self._last_window not in self._kept:
            window = _Window(self._lanes, self._positions)
            window.set[:], window.own[:] = self._dealt(self._last_window, self._lanes, self._lanes)
            self._kept[self._last_window] = window
        self._kept.move_to_end(self._last_window)
        return self._kept[self._last_window]

    def _dealt(self, number: int, times: int, key: int) -> tuple[Array, Array]:
        """Sets of a window's places, permuted, and numbers that rise in each set."""
        before = [times * own for own in self._before(number * self._places)]
        after = [times * own for own in self._before((number + 1) * self._places)]
        sets = np.repeat(np.arange(len(before)), np.subtract(after, before))
        sets = sets[permutation(len(sets), stream(self._seed, "mix", number, key))]
        own = np.empty(len(sets), np.int64)
        own[np.argsort(sets, kind="stable")] = np.concatenate(
            [np.arange(*ends) for ends in zip(before, after, strict=True)]
        )
        return sets, own


class _Window:
    """Set and own number of each position of a window, int64; bool: which lanes are there."""

    def __init__(self, lanes: int, positions: int) -> None:
        self.set, self.own = np.empty(positions, np.int64), np.empty(positions, np.int64)
        self.there = np.zeros(lanes, bool)
