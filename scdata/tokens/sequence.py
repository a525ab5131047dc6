"""From the genes of a cell to its token sequence: what is cut, and the special tokens around it."""

from dataclasses import dataclass

import numpy as np

from scdata import _jit
from scdata._blocks import I64, Array
from scdata._splitmix import U64, keys, splitmix64, stream


@dataclass(frozen=True)
class Draws:
    """Where the random numbers of some cells come from: f(seed, epoch, purpose, cell_id, token).

    Parameters
    ----------
    seed, epoch
        Integers.
    cell_id
        int64 (C,).
    """

    seed: int
    epoch: int
    cell_id: I64

    def cell_keys(self, purpose: str) -> U64:
        """uint64 (C,): a key for every cell."""
        return keys(self.cell_id, stream(self.seed, purpose, self.epoch))

    def keys(self, purpose: str, indptr: I64, token_ids: Array) -> U64:
        """uint64 (T,): a key for every token of every cell; the same token of a cell has the same key anywhere."""
        of_cell = self.cell_keys(purpose)
        with np.errstate(over="ignore"):
            return splitmix64(np.repeat(of_cell, np.diff(indptr)) + token_ids.astype(np.uint64))


@dataclass(frozen=True)
class Ragged:
    """Tokens of C cells: `indptr` int64 (C+1,), `token_ids` integer (T,), `values` (T,) or None."""

    indptr: I64
    token_ids: Array
    values: Array | None

    def take(self, keep: Array, indptr: I64) -> "Ragged":
        """The entries at `keep`, with the row borders `indptr`."""
        return Ragged(indptr, self.token_ids[keep], None if self.values is None else self.values[keep])


def cut(ragged: Ragged, limit: int, draws: Draws | None, around: tuple[int, int] = (0, 0)) -> Ragged:
    """Leave at most `limit` tokens a cell.

    Parameters
    ----------
    ragged
        Tokens of C cells.
    limit
        Most tokens that may stay.
    draws
        If given, a uniformly random subset stays, in its order; else the first tokens stay.
    around
        Special tokens before and after that are there already and stay in any case.
    """
    lengths = np.diff(ragged.indptr)
    if lengths.max(initial=0) <= limit:
        return ragged
    before, after = around
    starts = np.repeat(ragged.indptr[:-1], lengths)
    place = np.arange(len(ragged.token_ids)) - starts
    from_end = np.repeat(lengths, lengths) - 1 - place
    keep = (place < limit - after) | (from_end < after)
    if draws is not None:
        key = draws.keys("cut", ragged.indptr, ragged.token_ids)
        keep[:] = True
        for cell in np.flatnonzero(lengths > limit):
            start, stop = ragged.indptr[cell] + before, ragged.indptr[cell + 1] - after
            leave = np.argpartition(key[start:stop], limit - before - after)[limit - before - after :]
            keep[start + leave] = False
    indptr = np.zeros_like(ragged.indptr)
    np.cumsum(np.minimum(lengths, limit), out=indptr[1:])
    return ragged.take(keep, indptr)


def surround(ragged: Ragged, before: list[int], after: list[int], value: int) -> Ragged:
    """Put special tokens before and after the tokens of every cell, with `value` beside them."""
    if not before and not after:
        return ragged
    added = len(before) + len(after)
    n_cells = len(ragged.indptr) - 1
    indptr = ragged.indptr + added * np.arange(n_cells + 1)
    lengths = np.diff(ragged.indptr)
    inner = np.arange(len(ragged.token_ids)) + np.repeat(len(before) + added * np.arange(n_cells), lengths)
    token_ids = np.empty(indptr[-1], ragged.token_ids.dtype)
    token_ids[inner] = ragged.token_ids
    for i, token in enumerate(before):
        token_ids[indptr[:-1] + i] = token
    for i, token in enumerate(after):
        token_ids[indptr[1:] - len(after) + i] = token
    values = None
    if ragged.values is not None:
        values = np.full(indptr[-1], value, ragged.values.dtype)
        values[inner] = ragged.values
    return Ragged(indptr, token_ids, values)


def finish(
    ragged: Ragged, limit: int | None, draws: Draws | None, before: list[int], after: list[int], value: int
) -> Ragged:
    """`cut` to `limit` tokens (None: no limit), then `surround`; compiled where numba is at hand."""
    if not _jit.available():
        cut_ = ragged if limit is None else cut(ragged, limit, draws)
        return surround(cut_, before, after, value)
    lengths = np.diff(ragged.indptr)
    most = int(lengths.max(initial=0))
    if not before and not after and (limit is None or most <= limit):
        return ragged
    from scdata.tokens.sequence_jit import finish_jit

    limit = most if limit is None else limit
    indptr = np.zeros_like(ragged.indptr)
    np.cumsum(np.minimum(lengths, limit) + (len(before) + len(after)), out=indptr[1:])
    token_ids = np.empty(indptr[-1], ragged.token_ids.dtype)
    values = None if ragged.values is None else np.empty(indptr[-1], ragged.values.dtype)
    none = np.empty(0, np.int32)
    finish_jit(
        ragged.indptr,
        ragged.token_ids,
        none if ragged.values is None else ragged.values,
        np.empty(0, np.uint64) if draws is None else draws.cell_keys("cut"),
        limit,
        np.array(before, np.int32),
        np.array(after, np.int32),
        value,
        indptr,
        token_ids,
        none if values is None else values,
    )
    return Ragged(indptr, token_ids, values)
