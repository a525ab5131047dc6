"""Which genes stand in a sequence beside those with a count, which of too many stay, and in what order."""

import numpy as np

from scdata import _jit
from scdata._backend import backend, beside, on_device, per_entry, row_ends, row_of_entry
from scdata._blocks import I32, I64, Array
from scdata._splitmix import U64, splitmix64
from scdata.tokens.kernels.ranking import rank_order
from scdata.tokens.sequence import Draws, Ragged

_CHUNK_KEYS = 1 << 22  # keys held at once
_LARGEST = np.uint64(0xFFFFFFFFFFFFFFFF)


def with_zeros(ragged: Ragged, tokens: I32, measured: Array | None, missing: int | None) -> Ragged:
    """Every gene that may be a token, in order of token id, with value 0 where it has no count.

    Parameters
    ----------
    ragged
        Expressed genes of C cells, ids ascending.
    tokens
        int32 (G,), ascending: the genes that may be tokens.
    measured
        bool (C, G): which of them each cell's dataset measured; None: all.
    missing
        Value of genes that were not measured; None leaves them out.
    """
    n_cells, xp = len(ragged.indptr) - 1, backend(ragged.indptr)
    assert ragged.values is not None  # presets refuse ranks with zeros
    tokens = beside(ragged.indptr, tokens)
    values = xp.zeros((n_cells, len(tokens)), ragged.values.dtype)
    there = row_of_entry(ragged.indptr), xp.searchsorted(tokens, ragged.token_ids)
    values[there] = ragged.values
    if measured is not None and missing is not None:
        values[~measured] = missing
    if measured is None or missing is not None:
        indptr = xp.arange(n_cells + 1, dtype=np.int64) * len(tokens)
        # a copy, also of one cell: who writes into a batch must not write into the vocabulary
        return Ragged(indptr, xp.broadcast_to(tokens, values.shape).copy().ravel(), values.ravel())
    kept = measured.copy()
    kept[there] = True  # a count of a gene that its dataset says it did not measure is still a count
    indptr = row_ends(kept.sum(axis=1, dtype=np.int64))
    return Ragged(indptr, xp.broadcast_to(tokens, kept.shape)[kept], values[kept])


def values_at(ragged: Ragged, whole: Ragged, n_tokens: int) -> tuple[Array, Array]:
    """What other cells have at the tokens of these.

    Parameters
    ----------
    ragged
        Tokens of C cells.
    whole
        Tokens and values of C cells, distinct within a cell.
    n_tokens
        Number above every token id.

    Returns
    -------
    values : (T,)
        Of `whole`, in its dtype; 0 where it has no such token.
    there : bool (T,)
        Where it has.
    """
    assert whole.values is not None  # presets that thin have values
    xp, kind = backend(whole.values), whole.values.dtype
    if len(whole.token_ids) == 0:
        return xp.zeros(len(ragged.token_ids), kind), xp.zeros(len(ragged.token_ids), np.bool_)
    keys = row_of_entry(whole.indptr) * n_tokens + whole.token_ids
    sought = row_of_entry(ragged.indptr) * n_tokens + ragged.token_ids
    order = xp.argsort(keys)
    at = order[xp.minimum(xp.searchsorted(keys[order], sought), len(keys) - 1)]
    there = keys[at] == sought
    return xp.where(there, whole.values[at], kind.type(0)), there


def fill_unexpressed(ragged: Ragged, limit: int, draws: Draws, tokens: I32, measured: Array | None) -> Ragged:
    """After the genes of each cell with fewer than `limit`, random ones that it does not express, with value 0.

    Parameters
    ----------
    ragged
        Expressed genes of C cells.
    limit
        Tokens of a cell when it is full; cells have fewer if too few genes were measured.
    draws
        Randomness: the genes of the smallest keys are taken, in order of their keys.
    tokens, measured
        As in `with_zeros`.
    """
    n_cells, xp = len(ragged.indptr) - 1, backend(ragged.indptr)
    room = xp.maximum(limit - xp.diff(ragged.indptr), 0)
    cell_keys, tokens = draws.cell_keys("fill"), beside(ragged.indptr, tokens)
    lengths = xp.zeros(n_cells, np.int64)
    added = [tokens[:0]]
    step = max(1, _CHUNK_KEYS // max(len(tokens), 1))
    for start in range(0, n_cells, step):
        part = slice(start, min(start + step, n_cells))
        with np.errstate(over="ignore"):
            keys = splitmix64(cell_keys[part, None] + tokens.astype(np.uint64))
        free = xp.full(keys.shape, True, np.bool_) if measured is None else measured[part].copy()
        own = ragged.indptr[start : part.stop + 1]
        row = row_of_entry(own - own[0])
        free[row, xp.searchsorted(tokens, ragged.token_ids[int(own[0]) : int(own[-1])])] = False
        keys[~free] = _LARGEST
        lengths[part] = xp.minimum(room[part], free.sum(axis=1))
        most = int(lengths[part].max())
        if most:
            added.append(tokens[_smallest(keys, most)[xp.arange(most) < lengths[part, None]]])
    return _appended(ragged, ragged.indptr + row_ends(lengths), xp.concatenate(added))


def _smallest(keys: U64, n: int) -> I64:
    """int64 (C, n): where the smallest keys of each row stand, by rising key."""
    if on_device(keys):
        return backend(keys).argsort(keys, axis=1)[:, :n]
    smallest = np.argpartition(keys, n - 1, axis=1)[:, :n]
    order = np.argsort(np.take_along_axis(keys, smallest, 1), axis=1)
    return np.take_along_axis(smallest, order, 1)


def _appended(ragged: Ragged, indptr: I64, added: I32) -> Ragged:
    """The cells with `added` tokens of value 0 at their ends, in rows of `indptr`."""
    xp = backend(indptr)
    place = xp.arange(len(ragged.token_ids)) + per_entry(indptr[:-1] - ragged.indptr[:-1], ragged.indptr)
    ids = xp.empty(len(place) + len(added), ragged.token_ids.dtype)
    free = xp.full(len(ids), True, np.bool_)
    free[place] = False
    ids[place], ids[free] = ragged.token_ids, added
    values = None
    if ragged.values is not None:
        values = xp.zeros(len(ids), ragged.values.dtype)
        values[place] = ragged.values
    return Ragged(indptr, ids, values)


def molecule_keys(ragged: Ragged, counts: I32, draws: Draws) -> U64:
    """uint64 (T,): the smallest random key among a gene's molecules.

    The genes of the k smallest keys are those met first when the molecules of a cell are drawn one after the other: a
    sample weighted by counts, without replacement.
    """
    base = draws.keys("weighted", ragged.indptr, ragged.token_ids)
    if not on_device(base) and _jit.available():
        from scdata.tokens.sequence_jit import molecule_keys_jit

        out = np.empty(len(base), np.uint64)
        molecule_keys_jit(base, counts, out)
        return out
    xp = backend(base)
    out = xp.full(len(base), _LARGEST, np.uint64)
    there = xp.flatnonzero(counts)
    ends = row_ends(counts[there])
    for start in range(0, int(ends[-1]), _CHUNK_KEYS):
        # molecules `start` to `stop` of all genes strung together, which belong to the genes `first` to `last`
        stop = min(start + _CHUNK_KEYS, int(ends[-1]))
        first, last = (int(i) - 1 for i in xp.searchsorted(ends, xp.array([start, stop - 1]), side="right"))
        bounds = xp.clip(ends[first : last + 2], start, stop) - start
        gene = first + row_of_entry(bounds)
        with np.errstate(over="ignore"):
            keys = splitmix64(base[there[gene]] + (xp.arange(start, stop) - ends[gene]).astype(np.uint64))
        if xp is not np:
            xp.minimum.at(out, there[gene], keys)
            continue
        own = there[first : last + 1]
        out[own] = np.minimum(out[own], np.minimum.reduceat(keys, bounds[:-1]))
    return out


def permuted(ragged: Ragged, draws: Draws) -> Ragged:
    """The tokens of every cell in a random order."""
    key = draws.keys("permute", ragged.indptr, ragged.token_ids)
    # 52 random bits as a number from 1 to 2, which the ranking kernel sorts
    uniform = (key >> np.uint64(12) | np.uint64(0x3FF0000000000000)).view(np.float64)
    return ragged.take(rank_order(ragged.indptr, uniform), ragged.indptr)


def descending(ragged: Ragged) -> Ragged:
    """The tokens of every cell by falling value; equal ones in their order."""
    assert ragged.values is not None  # presets refuse ranks with another order
    # the ranking kernel takes what is above 0; zeros are not, nor what stands for genes that were not measured
    least = float(ragged.values.min()) if len(ragged.values) else 0.0
    above = ragged.values.astype(np.float64) + (1.0 - min(least, 0.0))
    return ragged.take(rank_order(ragged.indptr, above), ragged.indptr)
