"""From the genes of a cell to its token sequence: what is cut, and the special tokens around it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scdata import _jit
from scdata._backend import backend, longest_row, on_device, order_in_rows, per_entry, row_ends
from scdata._blocks import I64, Array
from scdata._splitmix import U64, keys, splitmix64, stream


@dataclass(frozen=True)
class Draws:
    """Where the random numbers of some cells come from: f(seed, epoch, purpose, cell_id, occurrence, token).

    Parameters
    ----------
    seed, epoch
        Integers.
    cell_id
        int64 (C,).
    occurrence
        int64 (C,): which copy of the cell it is, from 0, so that copies differ; None: the first, each.
    """

    seed: int
    epoch: int
    cell_id: I64
    occurrence: I64 | None = None

    def cell_keys(self, purpose: str) -> U64:
        """uint64 (C,): a key for every cell."""
        first = keys(self.cell_id, stream(self.seed, purpose, self.epoch))
        if self.occurrence is None:
            return first
        xp = backend(first)
        copy = xp.asarray(self.occurrence).astype(np.uint64)
        return xp.where(copy == 0, first, splitmix64(first ^ splitmix64(copy)))

    def part(self, part: slice) -> "Draws":
        """Those of some of the cells."""
        occurrence = None if self.occurrence is None else self.occurrence[part]
        return Draws(self.seed, self.epoch, self.cell_id[part], occurrence)

    def keys(self, purpose: str, indptr: I64, token_ids: Array) -> U64:
        """uint64 (T,): a key for every token of every cell; the same token of a cell has the same key anywhere."""
        of_cell = self.cell_keys(purpose)
        if not on_device(token_ids) and _jit.available():
            from scdata._splitmix_jit import token_keys_jit

            out = np.empty(len(token_ids), np.uint64)
            token_keys_jit(indptr, of_cell, token_ids, out)
            return out
        with np.errstate(over="ignore"):
            return splitmix64(per_entry(of_cell, indptr) + token_ids.astype(np.uint64))


@dataclass(frozen=True)
class JoinedDraws(Draws):
    """Draws of cells of several sets or epochs, one after the other; `seed` and `epoch` are for what is drawn once a batch."""

    parts: tuple[Draws, ...] = ()

    @classmethod
    def of(cls, parts: Sequence[Draws], seed: int, epoch: int) -> "JoinedDraws":
        """Draws that give each cell the keys that it has in its part."""
        cell_id = backend(parts[0].cell_id).concatenate([part.cell_id for part in parts])
        return cls(seed, epoch, cell_id, None, tuple(parts))

    def cell_keys(self, purpose: str) -> U64:
        """uint64 (C,): a key for every cell."""
        return backend(self.cell_id).concatenate([part.cell_keys(purpose) for part in self.parts])

    def part(self, part: slice) -> Draws:
        """Those of some of the cells."""
        parts, low = [], 0
        for own in self.parts:
            start, stop = max(part.start - low, 0), min(part.stop - low, len(own.cell_id))
            if start < stop:
                parts.append(own.part(slice(start, stop)))
            low += len(own.cell_id)
        return JoinedDraws.of(parts, self.seed, self.epoch) if parts else Draws(self.seed, self.epoch, self.cell_id[:0])


@dataclass(frozen=True)
class Ragged:
    """Tokens of C cells: `indptr` int64 (C+1,), `token_ids` integer (T,), `values` (T,) or None."""

    indptr: I64
    token_ids: Array
    values: Array | None

    def rows(self, part: slice) -> "Ragged":
        """Some cells, without copying."""
        start, stop = int(self.indptr[part.start]), int(self.indptr[part.stop])
        values = None if self.values is None else self.values[start:stop]
        return Ragged(self.indptr[part.start : part.stop + 1] - start, self.token_ids[start:stop], values)

    @classmethod
    def joined(cls, parts: "Sequence[Ragged]", allocate: Callable[[int, npt.DTypeLike], Array]) -> "Ragged":
        """Cells one after the other; all have values, or none. `allocate`: (number of elements, dtype) → an array."""
        xp = backend(parts[0].indptr)
        lengths = xp.concatenate([xp.diff(part.indptr) for part in parts])
        values = [part.values for part in parts if part.values is not None]
        return cls(
            row_ends(lengths),
            _concatenated([part.token_ids for part in parts], allocate),
            _concatenated(values, allocate) if values else None,
        )

    def take(self, keep: Array, indptr: I64) -> "Ragged":
        """The entries at `keep`, with the row borders `indptr`."""
        return Ragged(indptr, self.token_ids[keep], None if self.values is None else self.values[keep])


def _concatenated(parts: Sequence[Array], allocate: Callable[[int, npt.DTypeLike], Array]) -> Array:
    if on_device(parts[0]):
        return backend(parts[0]).concatenate(parts)
    out = allocate(sum(map(len, parts)), np.result_type(*parts))
    return np.concatenate(parts, out=out)


def cut(ragged: Ragged, limit: int, keys: U64 | None, around: tuple[int, int] = (0, 0)) -> Ragged:
    """Leave at most `limit` tokens a cell.

    Parameters
    ----------
    ragged
        Tokens of C cells.
    limit
        Most tokens that may stay.
    keys
        uint64 (T,): the tokens of the smallest keys stay, in their order; None: the first tokens stay.
    around
        Special tokens before and after that are there already and stay in any case; without keys only.
    """
    if longest_row(ragged.indptr) <= limit:
        return ragged
    xp, (_, after) = backend(ragged.indptr), around
    lengths = xp.diff(ragged.indptr)
    place = xp.arange(len(ragged.token_ids)) - per_entry(ragged.indptr[:-1], ragged.indptr)
    if keys is None:
        from_end = per_entry(lengths, ragged.indptr) - 1 - place
        keep = (place < limit - after) | (from_end < after)
    else:
        keep = xp.empty(len(place), np.bool_)
        keep[order_in_rows(ragged.indptr, keys)] = place < limit
    return ragged.take(keep, row_ends(xp.minimum(lengths, limit)))


def cut_to_lowest(ragged: Ragged, limit: int, n_tokens: int) -> Ragged:
    """Leave at most `limit` tokens a cell, those of the lowest ids, in their order.

    Parameters
    ----------
    ragged
        Tokens of C cells with values, distinct within a cell; its arrays are written to.
    n_tokens
        Number above every token id.
    """
    if longest_row(ragged.indptr) <= limit:
        return ragged
    if on_device(ragged.token_ids) or not _jit.available():
        return cut(ragged, limit, ragged.token_ids.astype(np.uint64))
    from scdata.tokens.sequence_jit import keep_lowest_jit

    assert ragged.values is not None  # of counts
    indptr = np.empty_like(ragged.indptr)
    keep_lowest_jit(ragged.indptr, ragged.token_ids, ragged.values, limit, n_tokens, indptr)
    return Ragged(indptr, ragged.token_ids[: indptr[-1]], ragged.values[: indptr[-1]])


def surround(ragged: Ragged, before: list[int], after: list[int], value: int) -> Ragged:
    """Put special tokens before and after the tokens of every cell, with `value` beside them."""
    if not before and not after:
        return ragged
    ids = [for_each_cell(ragged.indptr, tokens, np.int32) for tokens in (before, after)]
    values = [backend(tokens).full(tokens.shape, value, np.int32) for tokens in ids]
    return surround_each(ragged, (ids[0], values[0]), (ids[1], values[1]))


def for_each_cell(indptr: I64, numbers: Sequence[float], dtype: npt.DTypeLike) -> Array:
    """(C, n): a row of numbers, the same for every cell, on the machine of `indptr`."""
    xp, n_cells = backend(indptr), len(indptr) - 1
    out = xp.empty((n_cells, len(numbers)), dtype)
    for i, number in enumerate(numbers):
        out[:, i] = number
    return out


def surround_each(ragged: Ragged, before: tuple[Array, Array], after: tuple[Array, Array]) -> Ragged:
    """Put tokens of its own before and after those of each cell: ids and values, (C, n) each."""
    n_before, n_after = before[0].shape[1], after[0].shape[1]
    added = n_before + n_after
    n_cells = len(ragged.indptr) - 1
    xp = backend(ragged.indptr)
    indptr = ragged.indptr + added * xp.arange(n_cells + 1)
    inner = xp.arange(len(ragged.token_ids)) + per_entry(n_before + added * xp.arange(n_cells), ragged.indptr)
    head = indptr[:-1, None] + xp.arange(n_before)
    tail = indptr[1:, None] - n_after + xp.arange(n_after)

    def joined(own: Array, first: Array, last: Array) -> Array:
        flat = xp.empty(len(own) + added * n_cells, own.dtype)
        flat[inner], flat[head], flat[tail] = own, first, last
        return flat

    values = None if ragged.values is None else joined(ragged.values, before[1], after[1])
    return Ragged(indptr, joined(ragged.token_ids, before[0], after[0]), values)


def finish(
    ragged: Ragged,
    limit: int | None,
    draws: Draws | None,
    before: list[int],
    after: list[int],
    value: int,
    keys: U64 | None = None,
) -> Ragged:
    """`cut` to `limit` tokens (None: no limit), then `surround`; compiled where numba is at hand.

    The cut is by `keys`, one a token, or at random by `draws`; without either the first tokens stay.
    """
    most = longest_row(ragged.indptr)
    if not before and not after and (limit is None or most <= limit):
        return ragged
    if on_device(ragged.token_ids) or not _jit.available():
        if keys is None and draws is not None:
            keys = draws.keys("cut", ragged.indptr, ragged.token_ids)
        cut_ = ragged if limit is None else cut(ragged, limit, keys)
        return surround(cut_, before, after, value)
    from scdata.tokens.sequence_jit import finish_jit

    limit = most if limit is None else limit
    indptr = np.zeros_like(ragged.indptr)
    np.cumsum(np.minimum(np.diff(ragged.indptr), limit) + (len(before) + len(after)), out=indptr[1:])
    token_ids = np.empty(indptr[-1], ragged.token_ids.dtype)
    values = None if ragged.values is None else np.empty(indptr[-1], ragged.values.dtype)
    none, no_keys = np.empty(0, np.int32), np.empty(0, np.uint64)
    finish_jit(
        ragged.indptr,
        ragged.token_ids,
        none if ragged.values is None else ragged.values,
        no_keys if draws is None or keys is not None else draws.cell_keys("cut"),
        no_keys if keys is None else keys,
        limit,
        np.array(before, np.int32),
        np.array(after, np.int32),
        value,
        indptr,
        token_ids,
        none if values is None else values,
    )
    return Ragged(indptr, token_ids, values)
