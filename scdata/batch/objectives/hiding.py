"""Which tokens of a cell are hidden: by chance for each, or a fixed number of them."""

from numbers import Real
from typing import Any

import numpy as np

from scdata import _jit
from scdata._backend import backend, on_device, per_entry, row_ends, row_of_entry
from scdata._blocks import I64, Array
from scdata._splitmix import U64, mix, stream
from scdata.batch.objectives.base import Cells


def below(rate: float) -> np.uint64:
    """The number that a random 64-bit key is below with the chance `rate`, less than 1."""
    return np.uint64(int(float(rate) * 2.0**64))


def hidden(cells: Cells, rate: float | U64, among: Array | None = None, purpose: str = "mask") -> Array:
    """bool (T,): each eligible token with the chance `rate`, by a key of the cell and the token alone.

    Parameters
    ----------
    cells
        The cells.
    rate
        Between 0 and 1; or uint64 (B,): for each cell the number that keys must be below (`below`).
    among
        bool (T,): which tokens; None: the eligible ones.
    purpose
        What the keys are for.
    """
    xp, among = backend(cells.token_ids), cells.eligible if among is None else among
    limits: Any = xp.full(cells.n_cells, below(rate), np.uint64) if isinstance(rate, Real) else rate
    if not on_device(cells.token_ids) and _jit.available():
        from scdata.batch.objectives.hiding_jit import hidden_jit

        out = np.empty(len(cells.token_ids), np.bool_)
        hidden_jit(cells.indptr, cells.draws.cell_keys(purpose), cells.token_ids, among, limits, out)
        return out
    return among & (cells.draws.keys(purpose, cells.indptr, cells.token_ids) < per_entry(limits, cells.indptr))


def hidden_exactly(cells: Cells, n: I64, among: Array) -> Array:
    """bool (T,): of the tokens `among`, bool (T,), of each cell the `n`, int64 (B,), with the smallest keys."""
    keys = cells.draws.keys("mask", cells.indptr, cells.token_ids)
    if not on_device(keys) and _jit.available():
        from scdata.batch.objectives.hiding_jit import smallest_jit

        out = np.empty(len(keys), np.bool_)
        smallest_jit(cells.indptr, keys, among, n, out)
        return out
    xp = backend(keys)
    row = row_of_entry(cells.indptr)
    order = xp.argsort(keys, kind="stable")
    order = order[xp.argsort((row * 2 + ~among)[order], kind="stable")]
    out = xp.empty(len(keys), np.bool_)
    # tokens in order of their cell, those among first, then by key
    out[order] = xp.arange(len(keys)) - per_entry(cells.indptr[:-1], cells.indptr) < per_entry(n, cells.indptr)
    return out & among


def drawn_rate(rates: float | tuple[float, ...], cells: Cells) -> float:
    """The rate of a whole batch: the only one there is, or one of several, drawn by the number of the batch."""
    if not isinstance(rates, tuple):
        return rates
    key = mix(stream(cells.draws.seed, "rate", cells.draws.epoch, cells.number))
    return rates[(key >> 32) * len(rates) >> 32]


def per_cell(flags: Array, indptr: I64) -> I64:
    """int64 (B,): True entries of each cell."""
    if on_device(flags) or not _jit.available():
        return backend(flags).diff(row_ends(flags)[indptr])
    from scdata.batch.objectives.hiding_jit import count_jit

    out = np.empty(len(indptr) - 1, np.int64)
    count_jit(indptr, flags, out)
    return out
