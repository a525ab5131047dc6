"""Batches cut into pieces of at most so many tokens."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from scdata._blocks import Array
from scdata.batch.loader import CHUNK_CELLS, BatchPlan, Chunk, iter_spans
from scdata.stream.places import CellOrder, Parts

C = TypeVar("C", bound=Parts)


def cut_sizes(lengths: Array, max_tokens: int) -> list[int]:
    """How many cells each piece of a batch has: as many of the next cells as the budget holds, at least one."""
    ends = np.cumsum(lengths, dtype=np.int64)
    sizes, start = [], 0
    while start < len(lengths):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + max_tokens, side="right")))
        sizes.append(stop - start)
        start = stop
    return sizes


def iter_sizes(
    plan: BatchPlan, order: CellOrder[C], length_of: Callable[[C], Array], max_tokens: int
) -> Iterator[tuple[int, list[int], C]]:
    """Number, sizes of pieces and cells of all batches of a rank, whichever worker makes them."""
    for numbers, ends, cells in iter_spans(plan, order, range(plan.n_batches)):
        for number, low, high in zip(numbers, ends, ends[1:], strict=False):
            own = cells.part(low, high)
            yield number, cut_sizes(length_of(own), max_tokens), own


def iter_pieces(
    plan: BatchPlan, order: CellOrder[C], length_of: Callable[[C], Array], max_tokens: int, done: int
) -> Iterator[Chunk[C]]:
    """The pieces of a plan, grouped, with their cells.

    A DataLoader takes from its workers in turn, so piece i of the rank, whatever its batch, is worker i's modulo their number.

    Parameters
    ----------
    done
        Pieces of the first batch that are not wanted any more.
    """
    turn, n_workers = 0, max(1, plan.n_workers)
    numbers: list[int] = []
    pieces: list[tuple[int, int]] = []
    found: list[C] = []
    counts: list[int] = []
    for number, sizes, cells in iter_sizes(plan, order, length_of, max_tokens):
        low = 0
        for piece, size in enumerate(sizes):
            if number > 0 or piece >= done:
                if turn % n_workers == plan.worker:
                    numbers.append(number)
                    pieces.append((piece, len(sizes)))
                    found.append(cells.part(low, low + size))
                    counts.append(size)
                turn += 1
            low += size
        if sum(counts) >= CHUNK_CELLS:
            yield Chunk(tuple(numbers), tuple(counts), found[0].joined(found), tuple(pieces))
            numbers, pieces, found, counts = [], [], [], []
    if found:
        yield Chunk(tuple(numbers), tuple(counts), found[0].joined(found), tuple(pieces))
