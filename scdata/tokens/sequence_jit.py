"""Compiled twin of `cut` and `surround`, in one pass."""

import numba
import numpy as np

from scdata._splitmix_jit import splitmix64_jit


@numba.njit(nogil=True, cache=True)
def kth_smallest_jit(keys, k, count, few):  # type: ignore[no-untyped-def]
    """The k-th smallest of uniform keys: their top 8 bits tell all but a few apart.

    It works in `count`, int32 (2, 256), and `few`, uint64 with room for one key more than there are.
    """
    count[:] = 0
    n, top = len(keys), np.uint64(56)
    # two counters, so that one need not wait for the other
    even = n - n % 2
    for i in range(0, even, 2):
        count[0, keys[i] >> top] += 1
        count[1, keys[i + 1] >> top] += 1
    for i in range(even, n):
        count[0, keys[i] >> top] += 1
    below, bucket = 0, 0
    while below + count[0, bucket] + count[1, bucket] < k:
        below += count[0, bucket] + count[1, bucket]
        bucket += 1
    own, n_few = np.uint64(bucket), np.uint64(0)
    for i in range(n):
        # no branch to guess: what is not of the bucket is overwritten by the next
        few[n_few] = keys[i]
        n_few += np.uint64(keys[i] >> top == own)
    found = few[: np.int64(n_few)]
    found.sort()
    return found[k - below - 1]


@numba.njit(nogil=True, cache=True)
def keep_lowest_jit(indptr, ids, values, limit, n_tokens, out_indptr):  # type: ignore[no-untyped-def]
    """Leave the tokens of the lowest ids of cells with more than `limit`, in their order, and move all cells together.

    Works in place: `ids` and `values` begin with what `out_indptr`, int64 (C+1,), says.
    """
    shift = 0
    while (n_tokens - 1) >> shift >= 1024:
        shift += 1
    count = np.empty(1024, np.int32)
    n = 0
    out_indptr[0] = 0
    for cell in range(len(indptr) - 1):
        start, stop = indptr[cell], indptr[cell + 1]
        if stop - start > limit:
            count[:] = 0
            for i in range(start, stop):
                count[np.uint32(ids[i]) >> shift] += 1
            below, bucket = 0, 0
            while below + count[bucket] < limit:
                below += count[bucket]
                bucket += 1
            few, k = np.empty(count[bucket], np.int32), 0
            for i in range(start, stop):
                if ids[i] >> shift == bucket:
                    few[k] = ids[i]
                    k += 1
            few.sort()
            last = few[limit - below - 1]
            for i in range(start, stop):
                # no branch to guess: what does not stay is overwritten by the next
                ids[n], values[n] = ids[i], values[i]
                n += ids[i] <= last
        elif start == n:
            n = stop
        else:
            for i in range(start, stop):
                ids[n], values[n] = ids[i], values[i]
                n += 1
        out_indptr[cell + 1] = n


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
    longest = 0
    for cell in range(len(indptr) - 1):
        longest = max(longest, indptr[cell + 1] - indptr[cell])
    places = np.empty(min(limit, longest), np.uint32)
    made, few, count = np.empty(longest, np.uint64), np.empty(longest + 1, np.uint64), np.empty((2, 256), np.int32)
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
        # one array for both: a choice between two would be of no known layout, and half as fast
        keys = made[:n]
        if len(token_keys):
            keys[:] = token_keys[indptr[cell] : indptr[cell + 1]]
        else:
            own_key = cell_keys[cell]
            for i in range(n):
                keys[i] = splitmix64_jit(own_key + np.uint64(ids[i]))
        last = kth_smallest_jit(keys, limit, count, few)
        # no branch to guess: what does not stay is overwritten by the next; unsigned, so that no index is one from the end
        k, at, end = np.uint64(0), np.uint64(0), np.uint64(limit)
        if len(token_keys) == 0:
            while k < end:
                inner[k], places[k] = ids[at], at
                k += np.uint64(keys[at] <= last)
                at += np.uint64(1)
        else:
            # genes without a count share the largest key: of equal keys the first ones stay
            ties = limit
            for j in range(n):
                ties -= keys[j] < last
            while k < end:
                inner[k], places[k] = ids[at], at
                tie = keys[at] == last
                k += np.uint64((keys[at] < last) | (tie & (ties > 0)))
                ties -= tie
                at += np.uint64(1)
        for j in range(len(inner_values)):
            inner_values[j] = own[places[j]]
