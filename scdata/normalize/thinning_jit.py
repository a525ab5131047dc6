"""Compiled twin of `thin_numpy`."""

import numba
import numpy as np

from scdata._splitmix_jit import splitmix64_jit


@numba.njit(nogil=True, cache=True)
def thin_jit(indptr, counts, token_ids, thinned, share, gene_keys, left):  # type: ignore[no-untyped-def]
    """Fill `left`, int32 (T,)."""
    longest = 0
    for cell in range(len(indptr) - 1):
        longest = max(longest, indptr[cell + 1] - indptr[cell])
    keys = np.empty(longest, np.uint64)
    for cell in range(len(indptr) - 1):
        start, stop = indptr[cell], indptr[cell + 1]
        x, out = counts[start:stop], left[start:stop]
        if not thinned[cell]:
            out[:] = x
            continue
        ids, b, base = token_ids[start:stop], share[cell], gene_keys[cell]
        # most genes have one molecule: a loop without branches draws the first of all genes
        for i in range(len(x)):
            keys[i] = splitmix64_jit(base + np.uint64(ids[i]))
            out[i] = (splitmix64_jit(keys[i]) < b) & (x[i] > 0)
        for i in range(len(x)):
            for molecule in range(1, x[i]):
                out[i] += splitmix64_jit(keys[i] + np.uint64(molecule)) < b
