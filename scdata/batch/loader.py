"""The batches of one rank and worker, a few at a time, in threads that read ahead."""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from scdata._blocks import I64
from scdata.stream.places import CellOrder, Parts

C = TypeVar("C", bound=Parts)

# Cells decoded at once: enough that finding their blocks costs little, few enough to stay in the cache
CHUNK_CELLS = 256
# Positions turned into cells at once
_SPAN_CELLS = 8192


@dataclass(frozen=True)
class BatchPlan:
    """Which batches a rank and worker yields.

    Parameters
    ----------
    n
        Positions of the epoch.
    start
        First position.
    batch_size
        Cells of a batch on one rank.
    rank, world_size, worker, n_workers
        Who asks; ``n_workers`` 0 means the trainer's own process.
    drop_last
        Leave out a last batch that is not full on all ranks.
    """

    n: int
    start: int
    batch_size: int
    rank: int
    world_size: int
    drop_last: bool
    worker: int = 0
    n_workers: int = 0

    @property
    def global_batch(self) -> int:
        return self.batch_size * self.world_size

    @property
    def n_batches(self) -> int:
        """Batches of this rank, over all its workers."""
        left = max(0, self.n - self.start)
        full, rest = divmod(left, self.global_batch)
        if rest == 0 or self.drop_last:
            return full
        first = self.start + full * self.global_batch
        has_cells = first + (self.rank - first) % self.world_size < self.n
        return full + has_cells

    def numbers(self) -> range:
        """Numbers of this worker's batches, counted from `start`."""
        return range(self.worker, self.n_batches, max(1, self.n_workers))

    def positions(self, number: int) -> I64:
        """Positions of a batch: those of the global batch that are ≡ rank modulo the world size."""
        first = self.start + number * self.global_batch
        stop = min(first + self.global_batch, self.n)
        return np.arange(first + (self.rank - first) % self.world_size, stop, self.world_size)

    @property
    def batches_before(self) -> int:
        """Global batches of the epoch that are done at `start`."""
        return self.start // self.global_batch

    def before(self, number: int) -> int:
        """Positions done when a batch begins."""
        return self.start + number * self.global_batch

    def after(self, number: int) -> int:
        """Positions done when a batch is done."""
        return min(self.start + (number + 1) * self.global_batch, self.n)


@dataclass(frozen=True)
class Chunk(Generic[C]):
    """A few batches that are decoded together.

    Parameters
    ----------
    numbers
        Their numbers.
    sizes
        Cells of each.
    cells
        Where their cells stand, batch after batch.
    pieces
        Where batches are cut into pieces: which piece each is, and of how many; else empty.
    """

    numbers: tuple[int, ...]
    sizes: tuple[int, ...]
    cells: C
    pieces: tuple[tuple[int, int], ...] = ()

    def parts(self) -> Iterator[tuple[int, slice]]:
        """Number of each batch, and which of the cells are its."""
        low = 0
        for number, size in zip(self.numbers, self.sizes, strict=True):
            yield number, slice(low, low + size)
            low += size


def iter_chunks(plan: BatchPlan, order: CellOrder[C]) -> Iterator[Chunk[C]]:
    """The batches of a plan, grouped, with their cells."""
    per_chunk = max(1, CHUNK_CELLS // plan.batch_size)
    for numbers, ends, cells in iter_spans(plan, order, plan.numbers()):
        for c in range(0, len(numbers), per_chunk):
            own = ends[c : c + per_chunk + 1]
            sizes = tuple(high - low for low, high in itertools.pairwise(own))
            yield Chunk(tuple(numbers[c : c + per_chunk]), sizes, cells.part(own[0], own[-1]))


def iter_spans(plan: BatchPlan, order: CellOrder[C], numbers: range) -> Iterator[tuple[range, list[int], C]]:
    """Some batches of a plan, many at a time, because that is quick: numbers, where each one's cells end (from 0), cells."""
    per_span = max(CHUNK_CELLS, _SPAN_CELLS) // plan.batch_size or 1
    for s in range(0, len(numbers), per_span):
        span = numbers[s : s + per_span]
        positions = [plan.positions(number) for number in span]
        cells = order.cells(np.concatenate(positions))
        yield span, np.cumsum([0, *map(len, positions)]).tolist(), cells


def look_ahead(chunks: Iterator[Chunk[C]], expect: Callable[[C], None], n_cells: int) -> Iterator[Chunk[C]]:
    """The chunks; what their cells need is `expect`-ed when about `n_cells` cells are still before them."""
    waiting: deque[Chunk[C]] = deque()
    n_waiting = 0
    for chunk in chunks:
        expect(chunk.cells)
        waiting.append(chunk)
        n_waiting += sum(chunk.sizes)
        while n_waiting > n_cells:
            first = waiting.popleft()
            n_waiting -= sum(first.sizes)
            yield first
    yield from waiting


def iter_batches(
    chunks: Iterator[Chunk[C]], make: Callable[[Chunk[C]], Sequence[Any]], num_threads: int
) -> Generator[tuple[int, tuple[int, int], Any], None, None]:
    """Number, piece (which, of how many) and content of each batch, in order.

    Parameters
    ----------
    chunks
        What to make.
    make
        Makes the batches of a chunk; must be safe in threads.
    num_threads
        Threads that work ahead, one chunk each and one waiting; 0: everything in the caller's thread.
    """
    if num_threads == 0:
        for chunk in chunks:
            yield from _listed(chunk, make(chunk))
        return
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="scdata")
    waiting: deque[tuple[Chunk[C], Future[Sequence[Any]]]] = deque()
    try:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(make, chunk)))
            if len(waiting) > num_threads + 1:
                done, future = waiting.popleft()
                yield from _listed(done, future.result())
        while waiting:
            done, future = waiting.popleft()
            yield from _listed(done, future.result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _listed(chunk: Chunk[C], made: Sequence[Any]) -> Iterator[tuple[int, tuple[int, int], Any]]:
    return zip(chunk.numbers, chunk.pieces or ((0, 1),) * len(made), made, strict=True)
