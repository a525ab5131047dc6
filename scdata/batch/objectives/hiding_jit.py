"""Compiled twins of the loops over tokens that objectives need.

Loops go over slices, one cell at a time, and without branches: so that compilers make vectors of them, which is ten times as
fast where the processor multiplies 64-bit integers in vectors.
"""

import numba
import numpy as np

from scdata._splitmix_jit import splitmix64_jit
from scdata.tokens.sequence_jit import kth_smallest_jit


@numba.njit(nogil=True, cache=True)
def genes_jit(token_ids, special, out):  # type: ignore[no-untyped-def]
    """``out = ~special[token_ids]``."""
    for i in range(len(token_ids)):
        out[i] = not special[token_ids[i]]


@numba.njit(nogil=True, cache=True)
def count_jit(indptr, flags, out):  # type: ignore[no-untyped-def]
    """How many flags of each cell are up."""
    for cell in range(len(indptr) - 1):
        n = 0
        for flag in flags[indptr[cell] : indptr[cell + 1]]:
            n += flag
        out[cell] = n


@numba.njit(nogil=True, cache=True)
def hidden_jit(indptr, cell_keys, token_ids, among, limits, out):  # type: ignore[no-untyped-def]
    """Tokens `among` whose key is below the limit of their cell."""
    for cell in range(len(indptr) - 1):
        start, stop = indptr[cell], indptr[cell + 1]
        ids, there, own = token_ids[start:stop], among[start:stop], out[start:stop]
        key, limit = cell_keys[cell], limits[cell]
        for i in range(len(ids)):
            own[i] = there[i] & (splitmix64_jit(key + np.uint64(ids[i])) < limit)


@numba.njit(nogil=True, cache=True)
def replaced_jit(values, which, value, out):  # type: ignore[no-untyped-def]
    """``out = where(which, value, values)``."""
    for i in range(len(values)):
        out[i] = value if which[i] else values[i]


@numba.njit(nogil=True, cache=True)
def smallest_jit(indptr, keys, among, n, out):  # type: ignore[no-untyped-def]
    """Of the tokens `among` of each cell, those of the n smallest keys, which are distinct."""
    largest = np.uint64(0xFFFFFFFFFFFFFFFF)
    longest = 0
    for cell in range(len(indptr) - 1):
        longest = max(longest, indptr[cell + 1] - indptr[cell])
    made, few, count = np.empty(longest, np.uint64), np.empty(longest + 1, np.uint64), np.empty((2, 256), np.int32)
    for cell in range(len(indptr) - 1):
        start, stop = indptr[cell], indptr[cell + 1]
        of_cell, there, own = keys[start:stop], among[start:stop], out[start:stop]
        if n[cell] == 0:
            own[:] = False
            continue
        candidates = made[: stop - start]
        for i in range(len(candidates)):
            candidates[i] = of_cell[i] if there[i] else largest
        last = kth_smallest_jit(candidates, n[cell], count, few)
        for i in range(len(own)):
            own[i] = there[i] & (of_cell[i] <= last)


@numba.njit(nogil=True, cache=True)
def bert_jit(  # type: ignore[no-untyped-def]
    indptr, replace_keys, token_ids, chosen, limits, mask_id, choices, out, target
):
    """Ids and targets of tokens of which some are `chosen`; `limits` of keys: `mask_id`, then one of `choices`."""
    masked_below, replaced_below = limits
    n = np.uint64(len(choices))
    for cell in range(len(indptr) - 1):
        start, stop = indptr[cell], indptr[cell + 1]
        ids, which, own, asked = token_ids[start:stop], chosen[start:stop], out[start:stop], target[start:stop]
        for i in range(len(ids)):
            own[i] = ids[i]
            asked[i] = ids[i] if which[i] else -100
        at, k = np.empty(len(ids) + 1, np.int64), 0
        for i in range(len(ids)):
            at[k] = i
            k += which[i]
        for i in at[:k]:
            key = splitmix64_jit(replace_keys[cell] + np.uint64(ids[i]))
            if key < masked_below:
                own[i] = mask_id
            elif key < replaced_below:
                own[i] = choices[((splitmix64_jit(key) >> np.uint64(32)) * n) >> np.uint64(32)]


@numba.njit(nogil=True, cache=True)
def split_jit(token_ids, values, apart, ids, own, apart_ids, apart_values):  # type: ignore[no-untyped-def]
    """Tokens that are `apart` to one pair of arrays, the others to the other; each has one place more than it needs."""
    k, n = 0, 0
    for i in range(len(token_ids)):
        ids[k], own[k] = token_ids[i], values[i]
        apart_ids[n], apart_values[n] = token_ids[i], values[i]
        n += apart[i]
        k += not apart[i]
