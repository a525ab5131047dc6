"""Ragged cells → packed, padded or dense arrays."""

import numpy as np

from scdata import _jit
from scdata._backend import backend, on_device, per_entry, to_host
from scdata._blocks import I32, I64, Array
from scdata.tokens.sequence import Ragged


def pad_rows(ragged: Ragged, ids: Array, values: Array | None, mask: Array, pad_id: int, pad_value: int) -> None:
    """Write cells as rows of rectangles, padded on the right; all arrays on one machine.

    Parameters
    ----------
    ragged
        B cells, none longer than L.
    ids, values, mask
        (B, L) to write to: token ids, values (None where there are none), bool: True at tokens.
    pad_id, pad_value
        What stands behind the end of a cell.
    """
    if on_device(mask):
        from scdata.batch.collate_device import mask_device

        mask_device(ragged.indptr, mask)
    elif _jit.available():
        from scdata.batch.collate_jit import mask_jit

        mask_jit(ragged.indptr, mask)
    else:
        mask[:] = np.arange(ids.shape[1]) < np.diff(ragged.indptr)[:, None]
    pad_flat(ragged.indptr, ragged.token_ids, ids, pad_id)
    if values is not None and ragged.values is not None:
        pad_flat(ragged.indptr, ragged.values, values, pad_value)


def pad_flat(indptr: I64, flat: Array, out: Array, pad: float) -> None:
    """Write one array of tokens as the rows of `out`, (B, L), with `pad` behind the end of a cell; also on a device."""
    if on_device(out):
        from scdata.batch.collate_device import pad_device

        pad_device(indptr, flat, out, pad)
    elif _jit.available():
        from scdata.batch.collate_jit import pad_jit

        pad_jit(indptr, flat, out, pad)
    else:
        out[:] = pad
        out[np.arange(out.shape[1]) < np.diff(indptr)[:, None]] = flat


def dense_rows(ragged: Ragged, column_of_token: I32, out: Array) -> None:
    """Write values where their genes are; all arrays but `column_of_token` on one machine.

    Parameters
    ----------
    ragged
        B cells with values.
    column_of_token
        int32: column of each token id, −1 for none; on the CPU.
    out
        (B, G) to write to; zero where a cell has no value.
    """
    assert ragged.values is not None  # callers give ranks as values
    if on_device(out):
        from scdata.batch.collate_device import dense_device

        dense_device(ragged.indptr, ragged.token_ids, ragged.values, column_of_token, out)
        return
    if _jit.available():
        from scdata.batch.collate_jit import dense_jit

        dense_jit(ragged.indptr, ragged.token_ids, ragged.values, column_of_token, out)
        return
    out[:] = 0
    rows = np.repeat(np.arange(len(ragged.indptr) - 1), np.diff(ragged.indptr))
    columns = column_of_token[ragged.token_ids]
    there = columns >= 0
    out[rows[there], columns[there]] = ragged.values[there]


def ranks_from_top(indptr: I64) -> I32:
    """int32 (T,): place of each token in its cell, from 1."""
    place: I32 = (backend(indptr).arange(int(indptr[-1])) - per_entry(indptr[:-1], indptr) + 1).astype(np.int32)
    return place


def lengths_of(indptr: I64) -> I64:
    """int64 (C,): lengths of rows, on the CPU."""
    return to_host(backend(indptr).diff(indptr))


def width_of(lengths: I64, pad_to: int | str | None, context_length: int | None) -> int:
    """L of a padded batch: its longest cell rounded up to 64, the context, or a number.

    Raises
    ------
    ValueError
        If a cell is longer than the number asked for.
    """
    longest = int(lengths.max(initial=0))
    if pad_to is None:
        return max(64, -(-longest // 64) * 64)
    width = context_length if pad_to == "context" else pad_to
    assert isinstance(width, int)  # checked when the dataset is made
    if longest > width:
        raise ValueError(f"a cell has {longest} tokens, more than pad_to = {width}: raise it, or set context_length")
    return width
