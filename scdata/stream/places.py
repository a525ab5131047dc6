"""Where cells stand, and what gives positions of an epoch their cells."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np

from scdata._blocks import I64


class Places(NamedTuple):
    """P cells.

    Parameters
    ----------
    block, row
        int64 (P,): number of the block in stored order, and the cell's place among those of it that are streamed.
    occurrence
        int64 (P,): which copy of the cell it is, from 0, where a cell may come more than once; else None.
    """

    block: I64
    row: I64
    occurrence: I64 | None = None

    def part(self, start: int, stop: int) -> Self:
        """Some of them."""
        return type(self)(*(None if own is None else own[start:stop] for own in self))  # type: ignore[arg-type]

    def joined(self, parts: Sequence[Self]) -> Self:
        """Several of the like, one after the other."""
        columns = zip(*parts, strict=True)
        return type(self)(*(None if own[0] is None else np.concatenate(own) for own in columns))  # type: ignore[arg-type]


class Parts(Protocol):
    """What stands for several cells."""

    def part(self, start: int, stop: int) -> Self:
        """Some of them."""
        ...

    def joined(self, parts: Sequence[Self]) -> Self:
        """Several of the like, one after the other."""
        ...


Found = TypeVar("Found", covariant=True, bound=Parts)


class CellOrder(Protocol[Found]):
    """Positions of an epoch → cells."""

    def cells(self, positions: I64) -> Found:
        """The cells of some positions, int64 (P,); quick where they rise."""
        ...


class EpochOrder(CellOrder[Places], Protocol):
    """Positions of an epoch of one set → cells, in closed form."""

    @property
    def n(self) -> int:
        """Positions of the epoch."""
        ...

    @property
    def blocks_held(self) -> int:
        """Blocks that a reader needs at hand."""
        ...
