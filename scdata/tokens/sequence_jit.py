"""Compiled twin of `cut` and `surround`, in one pass."""

import numba
import numpy as np

from scdata._splitmix_jit import splitmix64_jit


@numba.njit(nogil=True, cache=True)
def kth_smallest_jit(keys, k):  # type: ignore[no-untyped-def]
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
def molecule_keys_jit(base, counts, out):  # type: ignore[no-untyped-def]
    """The smallest ``splitmix64(base + molecule)`` of each gene's molecules."""
    for i in range(len(base)):
        best = np.uint64(0xFFFFFFFFFFFFFFFF)
        for molecule in range(counts[i]):
            best = min(best, splitmix64_jit(base[i] + np.uint64(molecule)))
        out[i] = best


@numba.njit(nogil=True, cache=True)
def finish_jit(  # type: ignore[no-untyped-def]
    indptr, token_ids, values, cell_keys, token_keys, limit, before, after, special, out_indptr, out_ids, out_values
):
    """Write every cell cut to `limit` tokens, with special tokens around.

    `values` and `out_values` may be empty. The tokens of the smallest keys stay: `token_keys`, else those made of
    `cell_keys`; where both are empty, the first tokens do.
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
        if n <= limit or len(cell_keys) + len(token_keys) == 0:
            for i in range(len(inner)):
                inner[i] = ids[i]
            for i in range(len(inner_values)):
                inner_values[i] = own[i]
            continue
        if len(token_keys):
            keys = token_keys[indptr[cell] : indptr[cell + 1]]
        else:
            keys = np.empty(n, np.uint64)
            for i in range(n):
                keys[i] = splitmix64_jit(cell_keys[cell] + np.uint64(ids[i]))
        last = kth_smallest_jit(keys, limit)
        # genes without a count share the largest key: of equal keys the first ones stay
        ties = limit
        for i in range(n):
            ties -= keys[i] < last
        # no branch to guess: what does not stay is overwritten by the next
        k, i = 0, 0
        while k < limit:
            inner[k] = ids[i]
            if has_values:
                inner_values[k] = own[i]
            tie = keys[i] == last
            k += (keys[i] < last) | (tie & (ties > 0))
            ties -= tie
            i += 1
