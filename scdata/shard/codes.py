"""One byte a non-zero: counts of cells as bytes of gap and count, exceptions aside (encoding ``gap-count-1``).

A cell is a rising sequence of gene codes with counts ≥ 1. Entry i has ``gap`` = code_i − code_(i−1) (code_0 + 1 for the
first) and ``count``. Its byte holds min(gap − 1, 2^g − 1) in the low g bits and min(count − 1, 2^(8−g) − 1) in the high
8 − g bits. Where a field is full and something remains, the exception lists of the cell say what:

- ``gap_at``, ``count_at``: positions of the exceptions in the cell, rising, each as the difference from the one before
  (the first: from 0), in bytes that add up: 255 means that the next byte belongs to the same difference;
- ``gap_more``, ``count_more``: what to add to the field, unsigned LEB128, one number an exception.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scdata import _jit
from scdata._blocks import I32, I64, Array
from scdata._cached import cached_property
from scdata._errors import CorruptShardError

U8 = npt.NDArray[np.uint8]
GAP_BITS = (4, 5, 6, 7)
_MOST = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Bytes:
    """C byte strings one after the other: `offsets` int32 (C+1,), `data` uint8; both contiguous."""

    offsets: I32
    data: U8


@dataclass(frozen=True)
class CodedCounts:
    """C cells as `codes` (a byte a non-zero) and exceptions; `gap_bits` is g."""

    gap_bits: int
    codes: Bytes
    gap_at: Bytes
    gap_more: Bytes
    count_at: Bytes
    count_more: Bytes

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Offsets and data of the five columns, in order."""
        columns = (self.codes, self.gap_at, self.gap_more, self.count_at, self.count_more)
        return tuple(array for column in columns for array in (column.offsets, column.data))

    @cached_property
    def addresses(self) -> tuple[int, ...]:
        """Where `arrays` are in memory: what the compiled decoder takes, for as long as this object is held."""
        return tuple(array.ctypes.data for array in self.arrays)


# -- encode ----------------------------------------------------------------


def encode_counts(indptr: I64, codes: I32, counts: I32) -> CodedCounts:
    """Encode cells.

    Parameters
    ----------
    indptr
        int64 (C+1,), from 0.
    codes
        int32 (T,): gene codes ≥ 0, rising within a cell.
    counts
        int32 (T,), ≥ 1.
    """
    if _jit.available():
        return _encode_jit(indptr, codes, counts)
    return _encode_numpy(indptr, codes, counts)


def _encode_jit(indptr: I64, codes: I32, counts: I32) -> CodedCounts:
    from scdata.shard.codes_encode_jit import count_exceptions_jit, encode_rows_jit

    found = count_exceptions_jit(indptr, codes, counts)
    best = int(np.argmin(found.sum(axis=0)))
    n_cells, body = len(indptr) - 1, np.empty(len(codes), np.uint8)
    lists = []
    for n in found[:, best].tolist():
        # a step of 255 places takes one byte more; a number of 31 bits takes five
        lists += [np.zeros(n_cells + 1, np.int32), np.empty(n + len(codes) // 255, np.uint8)]
        lists += [np.zeros(n_cells + 1, np.int32), np.empty(5 * n, np.uint8)]
    encode_rows_jit(GAP_BITS[best], indptr, codes, counts, body, *lists)
    exceptions = [Bytes(lists[i], lists[i + 1][: lists[i][-1]]) for i in range(0, 8, 2)]
    return CodedCounts(GAP_BITS[best], Bytes(indptr.astype(np.int32), body), *exceptions)


def _encode_numpy(indptr: I64, codes: I32, counts: I32) -> CodedCounts:
    """`encode_counts` without numba: equal results."""
    gaps = np.empty(len(codes), np.int64)
    if len(codes):
        gaps[0] = codes[0] + 1
        np.subtract(codes[1:], codes[:-1], out=gaps[1:])
        first = indptr[:-1][np.diff(indptr) > 0]
        gaps[first] = codes[first].astype(np.int64) + 1
    gaps -= 1
    extra = counts.astype(np.int64) - 1
    gap_bits = _fewest_exceptions(gaps, extra)
    gap_full, count_full = (1 << gap_bits) - 1, (1 << (8 - gap_bits)) - 1
    body = np.minimum(gaps, gap_full).astype(np.uint8)
    body |= (np.minimum(extra, count_full) << gap_bits).astype(np.uint8)
    gap_at, gap_more = _exceptions(indptr, gaps, gap_full)
    count_at, count_more = _exceptions(indptr, extra, count_full)
    return CodedCounts(gap_bits, Bytes(indptr.astype(np.int32), body), gap_at, gap_more, count_at, count_more)


def _fewest_exceptions(gaps: I64, extra: I64) -> int:
    gap_histogram = np.bincount(np.minimum(gaps, 128), minlength=129)
    count_histogram = np.bincount(np.minimum(extra, 16), minlength=17)
    return min(GAP_BITS, key=lambda g: int(gap_histogram[1 << g :].sum() + count_histogram[1 << (8 - g) :].sum()))


def _exceptions(indptr: I64, field: I64, full: int) -> tuple[Bytes, Bytes]:
    at = np.flatnonzero(field > full)
    row = np.searchsorted(indptr, at, side="right") - 1
    place = at - indptr[row]
    step = np.diff(place, prepend=0)
    starts_row = np.diff(row, prepend=-1) > 0
    step[starts_row] = place[starts_row]
    n_cells = len(indptr) - 1
    return _carry_bytes(step, row, n_cells), _leb128(field[at] - full, row, n_cells)


def _carry_bytes(steps: I64, row: I64, n_cells: int) -> Bytes:
    length = steps // 255 + 1
    end = np.cumsum(length)
    data = np.full(end[-1] if len(end) else 0, 255, np.uint8)
    data[end - 1] = steps % 255
    return Bytes(_offsets(length, row, n_cells), data)


def _leb128(values: I64, row: I64, n_cells: int) -> Bytes:
    length = np.ones(len(values), np.int64)
    for bits in (7, 14, 21, 28):
        length += values >> bits > 0
    start = np.cumsum(length) - length
    data = np.empty(int(length.sum()), np.uint8)
    for k in range(int(length.max(initial=0))):
        has = length > k
        more = (length[has] > k + 1).astype(np.uint8) << 7
        data[start[has] + k] = (values[has] >> 7 * k & 0x7F).astype(np.uint8) | more
    return Bytes(_offsets(length, row, n_cells), data)


def _offsets(length: I64, row: I64, n_cells: int) -> I32:
    offsets = np.zeros(n_cells + 1, np.int32)
    offsets[1:] = np.cumsum(np.bincount(row, weights=length, minlength=n_cells))
    return offsets


# -- decode ----------------------------------------------------------------


def decode_counts(
    blocks: Sequence[CodedCounts], block: I64, row: I64, token_of_code: I32, out_start: I64, ids: I32, counts: I32
) -> None:
    """Decode chosen cells of some blocks into buffers.

    Every position is checked against its cell's length, and the last code against the table, in 64 bits.

    Parameters
    ----------
    blocks
        Blocks of cells.
    block, row
        int64 (C,): which cells, any order: places in `blocks`, and rows there.
    token_of_code
        int32 (G,): what to write for each gene code.
    out_start
        int64 (C,): where in the buffers each cell begins; it takes as many entries as it has bytes of `codes`.
    ids, counts
        int32 buffers to write to.

    Raises
    ------
    CorruptShardError
        If a cell cannot have been written by `encode_counts`; says which row of its block.
    """
    if not _jit.available():
        for i in np.unique(block):
            own = np.flatnonzero(block == i)
            _decode_numpy(blocks[i], row[own], token_of_code, out_start[own], ids, counts)
        return
    from scdata.shard.codes_jit import decode_cells_jit

    table = np.array([coded.addresses for coded in blocks], np.int64).reshape(len(blocks), -1)
    gap_bits = np.array([coded.gap_bits for coded in blocks], np.int64)
    bad = decode_cells_jit(table, gap_bits, block, row, token_of_code, out_start, ids, counts)
    if bad >= 0:
        raise CorruptShardError(f"row {int(row[bad])} of the block does not decode: {_WRONG}")


_WRONG = "an exception lies outside its cell, or a gene code outside the gene space"


def _decode_numpy(coded: CodedCounts, rows: I64, token_of_code: I32, out_start: I64, ids: I32, counts: I32) -> None:
    """`decode_counts` of one block without numba: equal results."""
    offsets = coded.codes.offsets.astype(np.int64)
    body = coded.codes.data
    gaps = (body & np.uint8((1 << coded.gap_bits) - 1)).astype(np.int64) + 1
    extra = (body >> np.uint8(coded.gap_bits)).astype(np.int64) + 1
    for field, at, more in ((gaps, coded.gap_at, coded.gap_more), (extra, coded.count_at, coded.count_more)):
        where, what = _read_exceptions(offsets, at, more)
        field[where] += what
    running = np.concatenate(([0], np.cumsum(gaps)))
    for start, row in zip(out_start.tolist(), rows.tolist(), strict=True):
        a, b = offsets[row], offsets[row + 1]
        codes = running[a + 1 : b + 1] - running[a] - 1
        if len(codes) and (codes[-1] >= len(token_of_code) or extra[a:b].max() > _MOST):
            raise CorruptShardError(f"row {row} of the block does not decode: {_WRONG}")
        ids[start : start + b - a] = token_of_code[codes]
        counts[start : start + b - a] = extra[a:b]


def _read_exceptions(offsets: I64, at: Bytes, more: Bytes) -> tuple[I64, I64]:
    """Absolute positions and amounts of a block's exceptions."""
    error = CorruptShardError(f"the block's exceptions do not decode: {_WRONG}")
    step_end = np.flatnonzero(at.data < 255)
    step = np.diff(np.cumsum(at.data, dtype=np.int64)[step_end], prepend=0)
    n_at = np.diff(np.searchsorted(step_end, at.offsets))
    amount_end = np.flatnonzero(more.data < 0x80)
    length = np.diff(amount_end, prepend=-1)
    n_more = np.diff(np.searchsorted(amount_end, more.offsets))
    last_at, last_more = at.offsets[1:][n_at > 0] - 1, more.offsets[1:][n_more > 0] - 1
    complete = (at.data[last_at] < 255).all() and (more.data[last_more] < 0x80).all()
    empty_rows = (np.diff(at.offsets)[n_at == 0] == 0).all() and (np.diff(more.offsets)[n_more == 0] == 0).all()
    if not complete or not empty_rows or (n_at != n_more).any() or (length > 5).any():
        raise error
    amount = np.zeros(len(amount_end), np.int64)
    for k in range(int(length.max(initial=0))):
        has = length > k
        amount[has] |= (more.data[amount_end[has] - length[has] + 1 + k].astype(np.int64) & 0x7F) << 7 * k
    row = np.repeat(np.arange(len(n_at)), n_at)
    before = np.concatenate(([0], np.cumsum(step)))
    first = np.concatenate(([0], np.cumsum(n_at)))[:-1]
    place = before[1:] - before[first[row]]
    rising = (step > 0) | (np.arange(len(step)) == first[row])
    if (place >= np.diff(offsets)[row]).any() or not rising.all():
        raise error
    return offsets[row] + place, amount
