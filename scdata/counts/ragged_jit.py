"""Compiled copies of rows."""

import numba


@numba.njit(nogil=True, cache=True)
def take_rows_jit(indptr, values, rows, out_indptr, out):  # type: ignore[no-untyped-def]
    """Copy rows of `values` to `out`, one after the other, as its dtype."""
    for r in range(len(rows)):
        start = indptr[rows[r]]
        begin, end = out_indptr[r], out_indptr[r + 1]
        # slices with a plain loop over them are what the compiler vectorizes
        own, to = values[start : start + end - begin], out[begin:end]
        for i in range(end - begin):
            to[i] = own[i]
