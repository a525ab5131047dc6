"""Compiled twin of the shift in `next_gene`."""

import numba


@numba.njit(nogil=True, cache=True)
def next_jit(  # type: ignore[no-untyped-def]
    indptr, token_ids, values, eligible, rows, before, ends, start_value, last, pad, ids, targets, own, target_values
):
    """Write inputs and targets of every row; `values`, `own` and `target_values` may be empty."""
    start, end = ends
    has_values = len(own) > 0
    for cell in range(len(rows) - 1):
        first, stop, out = indptr[cell], indptr[cell + 1], rows[cell]
        n = rows[cell + 1] - out
        if n == 0:
            continue
        if before == 1:
            ids[out] = start
            if has_values:
                own[out] = start_value
        n_read = n - before
        ids[out + before : out + n] = token_ids[first : first + n_read]
        if has_values:
            own[out + before : out + n] = values[first : first + n_read]
        n_asked = min(n, stop - first - 1 + before)
        asked = first + 1 - before
        tokens, gene, row = (
            token_ids[asked : asked + n_asked],
            eligible[asked : asked + n_asked],
            targets[out : out + n],
        )
        for i in range(n_asked):
            row[i] = tokens[i] if gene[i] | (tokens[i] == end) else -100
        n_genes = n - 1 if n == last else n_asked
        row[n_genes:] = end
        if has_values:
            numbers, row_values = values[asked : asked + n_asked], target_values[out : out + n]
            for i in range(n_asked):
                row_values[i] = numbers[i] if gene[i] else pad
            row_values[n_genes:] = pad
