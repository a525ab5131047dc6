"""Compiled twins of the loops in `collate`."""

import numba


@numba.njit(nogil=True, cache=True)
def pad_jit(indptr, flat, out, pad):  # type: ignore[no-untyped-def]
    """Copy each row of `flat` to the left of a row of `out`, and `pad` behind it."""
    width = out.shape[1]
    for i in range(len(indptr) - 1):
        n = indptr[i + 1] - indptr[i]
        row, own = out[i], flat[indptr[i] : indptr[i + 1]]
        for j in range(n):
            row[j] = own[j]
        for j in range(n, width):
            row[j] = pad


@numba.njit(nogil=True, cache=True)
def mask_jit(indptr, out):  # type: ignore[no-untyped-def]
    """True at the tokens of each row of `out`, False behind them."""
    for i in range(len(indptr) - 1):
        n = indptr[i + 1] - indptr[i]
        out[i, :n] = True
        out[i, n:] = False


@numba.njit(nogil=True, cache=True)
def dense_jit(indptr, token_ids, values, column_of_token, out):  # type: ignore[no-untyped-def]
    """``out[i, column] = value`` for every token of cell i that has a column, zero elsewhere."""
    for i in range(len(indptr) - 1):
        row = out[i]
        row[:] = 0  # row by row: it is still in the cache when values arrive
        tokens, own = token_ids[indptr[i] : indptr[i + 1]], values[indptr[i] : indptr[i + 1]]
        for j in range(len(tokens)):
            column = column_of_token[tokens[j]]
            if column >= 0:
                row[column] = own[j]
