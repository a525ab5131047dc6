"""Compiled twin of `cut` and `surround`, in one pass."""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def _keys_jit(cell_key, token_ids, out):  # type: ignore[no-untyped-def]
    """``splitmix64(cell_key + token_id)`` of one cell's tokens."""
    for i in range(len(token_ids)):
        z = cell_key + np.uint64(token_ids[i]) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out[i] = z ^ (z >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def _smallest_jit(keys, k):  # type: ignore[no-untyped-def]
    """The k-th smallest of distinct, uniform keys: their top 8 bits tell all but a few apart."""
    count = np.zeros(256, np.int64)
    for i in range(len(keys)):
        count[keys[i] >> np.uint64(56)] += 1
    below, bucket = 0, 0
    while below + count[bucket] < k:
        below += count[bucket]
        bucket += 1
    few = np.empty(count[bucket], np.uint64)
    n = 0
    for i in range(len(keys)):
        if keys[i] >> np.uint64(56) == np.uint64(bucket):
            few[n] = keys[i]
            n += 1
    few.sort()
    return few[k - below - 1]


@numba.njit(nogil=True, cache=True)
def finish_jit(indptr, token_ids, values, cell_keys, limit, before, after, special, out_indptr, out_ids, out_values):  # type: ignore[no-untyped-def]
    """Write every cell cut to `limit` tokens, with special tokens around.

    `values` and `out_values` may be empty; `cell_keys` empty means that the first tokens stay, else a random subset does.
    """
    n_before, n_after = len(before), len(after)
    has_values = len(out_values) > 0
    for cell in range(len(indptr) - 1):
        ids = token_ids[indptr[cell] : indptr[cell + 1]]
        out = out_ids[out_indptr[cell] : out_indptr[cell + 1]]
        n = len(ids)
        out[:n_before] = before
        out[len(out) - n_after :] = after
        inner = out[n_before : len(out) - n_after]
        own, inner_values = values[:0], out_values[:0]
        if has_values:
            own = values[indptr[cell] : indptr[cell + 1]]
            whole = out_values[out_indptr[cell] : out_indptr[cell + 1]]
            whole[:n_before] = special
            whole[len(whole) - n_after :] = special
            inner_values = whole[n_before : len(whole) - n_after]
        if n <= limit or len(cell_keys) == 0:
            for i in range(len(inner)):
                inner[i] = ids[i]
            for i in range(len(inner_values)):
                inner_values[i] = own[i]
            continue
        keys = np.empty(n, np.uint64)
        _keys_jit(cell_keys[cell], ids, keys)
        last = _smallest_jit(keys, limit)
        k = 0
        for i in range(n):
            if keys[i] <= last:
                inner[k] = ids[i]
                if has_values:
                    inner_values[k] = own[i]
                k += 1
