"""Compiled twin of the shift in `next_gene`."""

import numba


@numba.njit(nogil=True, cache=True)
def next_jit(  # type: ignore[no-untyped-def]
    indptr, token_ids, values, eligible, rows, before, ends, start_value, last, pad, ids, targets, own, target_values
):
    """Write inputs and targets of every row; `values`, `own` and `target_values` may be empty."""
    start, end = ends
    has_values = len(values) > 0
    for cell in range(len(rows) - 1):
        first, n_tokens, out = indptr[cell], indptr[cell + 1] - indptr[cell], rows[cell]
        n = rows[cell + 1] - out
        if before == 1 and n > 0:
            ids[out] = start
            if has_values:
                own[out] = start_value
        for i in range(before, n):
            ids[out + i] = token_ids[first + i - before]
        if has_values:
            for i in range(before, n):
                own[out + i] = values[first + i - before]
        asked = first + 1 - before
        n_asked = min(n, n_tokens - 1 + before)
        for i in range(n_asked):
            token, gene = token_ids[asked + i], eligible[asked + i]
            targets[out + i] = token if gene or token == end else -100
        if has_values:
            for i in range(n_asked):
                target_values[out + i] = values[asked + i] if eligible[asked + i] else pad
        stop = n - 1 if n == last > 0 else n_asked
        for i in range(stop, n):
            targets[out + i] = end
            if has_values:
                target_values[out + i] = pad
