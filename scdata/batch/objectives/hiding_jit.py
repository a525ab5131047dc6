"""Compiled twins of the loops over tokens that objectives need."""

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
        for i in range(indptr[cell], indptr[cell + 1]):
            n += flags[i]
        out[cell] = n


@numba.njit(nogil=True, cache=True)
def hidden_jit(indptr, cell_keys, token_ids, among, limits, out):  # type: ignore[no-untyped-def]
    """Tokens `among` whose key is below the limit of their cell."""
    for cell in range(len(indptr) - 1):
        key, limit = cell_keys[cell], limits[cell]
        for i in range(indptr[cell], indptr[cell + 1]):
            out[i] = among[i] & (splitmix64_jit(key + np.uint64(token_ids[i])) < limit)


@numba.njit(nogil=True, cache=True)
def smallest_jit(indptr, keys, among, n, out):  # type: ignore[no-untyped-def]
    """Of the tokens `among` of each cell, those of the n smallest keys, which are distinct."""
    for cell in range(len(indptr) - 1):
        start, stop = indptr[cell], indptr[cell + 1]
        own = np.empty(stop - start, np.uint64)
        k = 0
        for i in range(start, stop):
            own[k] = keys[i]
            k += among[i]
        if n[cell] == 0 or k == 0:
            out[start:stop] = False
            continue
        last = kth_smallest_jit(own[:k], n[cell])
        for i in range(start, stop):
            out[i] = among[i] & (keys[i] <= last)


@numba.njit(nogil=True, cache=True)
def bert_jit(  # type: ignore[no-untyped-def]
    indptr, cell_keys, replace_keys, token_ids, among, limits, mask_id, choices, out, out_hidden, target
):
    """Hide tokens as BERT does; `limits` of keys: hidden, then of those `mask_id`, and one of `choices`."""
    limit, masked_below, replaced_below = limits
    n = np.uint64(len(choices))
    for cell in range(len(indptr) - 1):
        cell_key = cell_keys[cell]
        for i in range(indptr[cell], indptr[cell + 1]):
            key = splitmix64_jit(cell_key + np.uint64(token_ids[i]))
            hide = among[i] & (key < limit)
            out_hidden[i] = hide
            out[i] = token_ids[i]
            target[i] = token_ids[i] if hide else -100
            if hide:
                key = splitmix64_jit(replace_keys[cell] + np.uint64(token_ids[i]))
                if key < masked_below:
                    out[i] = mask_id
                elif key < replaced_below:
                    key = splitmix64_jit(key) >> np.uint64(32)
                    out[i] = choices[(key * n) >> np.uint64(32)]


@numba.njit(nogil=True, cache=True)
def split_jit(token_ids, values, apart, ids, own, apart_ids, apart_values):  # type: ignore[no-untyped-def]
    """Tokens that are `apart` to one pair of arrays, the others to the other; each has one place more than it needs."""
    k, n = 0, 0
    for i in range(len(token_ids)):
        ids[k], own[k] = token_ids[i], values[i]
        apart_ids[n], apart_values[n] = token_ids[i], values[i]
        n += apart[i]
        k += not apart[i]
