"""Tokens of whole blocks of cells on a device; blocks are copied there and back while another one is worked on.

At any time two blocks are on the device, one being copied and one in work, and the results of two. A block takes 8 bytes a
non-zero; its kernels and result take under 20 more (ranks, quantile bins), or about 100 (edges, lognorm), or about 150 in cells
with over 8,192 genes. Host memory: twice the largest block and its result, pinned.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from scdata._blocks import I32, I64, Array
from scdata._optional import need
from scdata.tokens.sequence import Ragged

_ALIGNED = 256  # bytes, as the device's own allocations


@dataclass(frozen=True)
class GeneCounts:
    """Counts of C cells over the genes of a vocabulary, on the CPU: what `Tokenizer.tokenize` takes.

    Parameters
    ----------
    indptr, genes, counts
        CSR: int64 (C+1,), int32 (T,) distinct within a cell, int32 (T,) ≥ 1.
    total
        int64 (C,): denominator of each cell.
    """

    indptr: I64
    genes: I32
    counts: I32
    total: I64


class _Tokenizes(Protocol):
    def tokenize(self, indptr: I64, genes: I32, counts: I32, total: I64) -> Ragged: ...


def tokenize_blocks(tokenizer: _Tokenizes, blocks: Iterable[GeneCounts]) -> Iterator[Ragged]:
    """Tokens of blocks of cells, made on the current device.

    Parameters
    ----------
    tokenizer
        A fitted tokenizer. Its rules must be deterministic: no random draws are passed.
    blocks
        Blocks of cells, taken one ahead of the one in work.

    Yields
    ------
    Ragged
        What ``tokenizer.tokenize`` gives for each block, in order, as NumPy arrays of their own.
    """
    xp = need("cupy", "make tokens on a device")
    work = xp.cuda.get_current_stream()
    # one that waits for the default stream would wait for the kernels
    up, down = xp.cuda.Stream(non_blocking=True), xp.cuda.Stream(non_blocking=True)
    uploads, downloads = (_Upload(xp, up), _Upload(xp, up)), (_Download(xp, down), _Download(xp, down))
    waiting: _Download | None = None
    try:
        source = iter(blocks)
        block = next(source, None)
        if block is not None:
            uploads[0].start(block, work)
        number = 0
        while block is not None:
            block = next(source, None)
            if block is not None:
                uploads[(number + 1) % 2].start(block, work)
            made = tokenizer.tokenize(*uploads[number % 2].arrays(work))
            uploads[number % 2].release(downloads[number % 2].start(made, work))
            if waiting is not None:
                yield waiting.result()
            waiting = downloads[number % 2]
            number += 1
        if waiting is not None:
            yield waiting.result()
    finally:
        # buffers must not go while a copy is under way
        up.synchronize()
        down.synchronize()


class _Upload:
    """Memory of one block on its way to the device: pinned here, and there."""

    def __init__(self, xp: Any, stream: Any) -> None:
        self._xp, self._stream = xp, stream
        self._pinned = np.empty(0, np.uint8)
        self._there = xp.empty(0, np.uint8)
        self._loaded: Any = None
        self._released: Any = None
        self._views: list[Any] = []

    def start(self, block: GeneCounts, work: Any) -> None:
        """Begin to copy a block."""
        arrays: list[Array] = [block.indptr, block.genes, block.counts, block.total]
        ends = np.cumsum([-(-array.nbytes // _ALIGNED) * _ALIGNED for array in arrays]).tolist()
        if self._loaded is not None:
            self._loaded.synchronize()  # the pinned memory is read until then
        if ends[-1] > len(self._pinned):
            self._pinned = _pinned(self._xp, ends[-1])
            self._there = self._xp.empty(len(self._pinned), np.uint8)
            # the pool may give memory that kernels in the queue still use
            self._released = work.record()
        if self._released is not None:
            self._stream.wait_event(self._released)
        self._views = []
        for start, array in zip([0, *ends], arrays, strict=False):
            place = slice(start, start + array.nbytes)
            self._pinned[place] = np.ascontiguousarray(array).view(np.uint8)
            self._views.append(self._there[place].view(array.dtype))
        self._there[: ends[-1]].set(self._pinned[: ends[-1]], stream=self._stream)
        self._loaded = self._stream.record()

    def arrays(self, work: Any) -> list[Array]:
        """The arrays on the device, for kernels of the stream `work`."""
        work.wait_event(self._loaded)
        return self._views

    def release(self, event: Any) -> None:
        """Nobody reads the arrays after an event."""
        self._views = []
        self._released = event


class _Download:
    """Memory of one result on its way back."""

    def __init__(self, xp: Any, stream: Any) -> None:
        self._xp, self._stream = xp, stream
        self._pinned = np.empty(0, np.uint8)
        self._fetched: Any = None
        self._kept: list[Any] = []
        self._views: list[Array | None] = []

    def start(self, made: Ragged, work: Any) -> Any:
        """Begin to copy a result, which may be views of the block; returns the event of its arrival."""
        given = (made.indptr, made.token_ids, made.values)
        arrays: list[Any] = [None if array is None else self._xp.ascontiguousarray(array) for array in given]
        sizes = [0 if array is None else array.nbytes for array in arrays]
        ends = np.cumsum([-(-size // _ALIGNED) * _ALIGNED for size in sizes]).tolist()
        if ends[-1] > len(self._pinned):
            self._pinned = _pinned(self._xp, ends[-1])
        self._stream.wait_event(work.record())
        self._views = []
        for start, size, array in zip([0, *ends], sizes, arrays, strict=False):
            view = None if array is None else self._pinned[start : start + size].view(array.dtype)
            if view is not None:
                array.get(stream=self._stream, out=view, blocking=False)
            self._views.append(view)
        self._kept = arrays  # their memory must not be given to others before it is read
        self._fetched = self._stream.record()
        return self._fetched

    def result(self) -> Ragged:
        """The result, once it is here."""
        self._fetched.synchronize()
        self._kept = []
        indptr, token_ids, values = (None if view is None else view.copy() for view in self._views)
        assert indptr is not None
        assert token_ids is not None
        return Ragged(indptr, token_ids, values)


def _pinned(xp: Any, n_bytes: int) -> Array:
    """uint8 array of pinned memory, with room for a block that is somewhat larger."""
    n_bytes += n_bytes // 4 // _ALIGNED * _ALIGNED
    return np.frombuffer(xp.cuda.alloc_pinned_memory(n_bytes), np.uint8, n_bytes)
