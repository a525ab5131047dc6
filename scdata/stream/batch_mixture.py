"""A mix whose every global batch is of one set: the sets are dealt batches, as `Mixture` deals them positions."""

from collections.abc import Sequence
from fractions import Fraction

from scdata._blocks import I64
from scdata.stream.mixture import Mixture

# An epoch may have few batches: of so many each set has its share, to the next whole one
_PLACES = 4


class BatchMixture:
    """The same in every epoch, but for the orders of the sets. Every batch is full.

    With ``stop="exhaust"`` an epoch ends with the last full batch of the first set that is used up: what fills no batch of it
    comes in other epochs, whose orders are others. With ``"cycle"`` the last set is filled up with the next order of its own.

    Parameters
    ----------
    sizes
        S numbers: cells of each set, at least `batch` with ``stop="exhaust"``.
    weights, seed, stop
        As of `Mixture`.
    batch
        G: cells of a batch over all ranks.
    """

    def __init__(
        self, sizes: Sequence[int], weights: Sequence[Fraction], *, seed: int, batch: int, stop: str = "exhaust"
    ) -> None:
        full = [size // batch if stop == "exhaust" else -(-size // batch) for size in sizes]
        if not all(full):
            raise ValueError(
                f"batches of one kind need {batch} cells (batch_size × world_size) of each, and there are {min(sizes)} of one: "
                "use smaller batches, or stop='cycle'"
            )
        self.sizes = tuple(sizes)
        self._batch = batch
        self._batches = Mixture(full, weights, seed=seed, lanes=1, stop=stop, places=_PLACES)
        self.n: int = self._batches.n * batch

    @property
    def totals(self) -> tuple[int, ...]:
        """How many positions of an epoch are of each set."""
        return tuple(self._batch * own for own in self._batches.totals)

    @property
    def passes(self) -> tuple[int, ...]:
        """How many epochs of its own each set begins in an epoch."""
        return tuple(-(-total // size) for total, size in zip(self.totals, self.sizes, strict=True))

    def places(self, positions: I64) -> tuple[I64, I64]:
        """Set of each position, and its number among the set's: its cell is that of position ``number % size`` there."""
        number, place = divmod(positions, self._batch)
        found, own = self._batches.places(number)
        return found, own * self._batch + place
