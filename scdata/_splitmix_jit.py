"""Compiled `splitmix64` of one number, for kernels that draw inside their loops."""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def splitmix64_jit(counter):  # type: ignore[no-untyped-def]
    """`scdata._splitmix.splitmix64` of one uint64."""
    z = counter + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def token_keys_jit(indptr, cell_keys, token_ids, keys):  # type: ignore[no-untyped-def]
    """Fill `keys`, uint64 (T,), with ``splitmix64(cell key + token id)`` of every token of every cell."""
    for cell in range(len(indptr) - 1):
        # slices: so that the loop becomes one over vectors
        own, ids, out = (
            cell_keys[cell],
            token_ids[indptr[cell] : indptr[cell + 1]],
            keys[indptr[cell] : indptr[cell + 1]],
        )
        for i in range(len(ids)):
            out[i] = splitmix64_jit(own + np.uint64(ids[i]))
