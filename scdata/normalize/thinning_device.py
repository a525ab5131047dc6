"""`thin_numpy` on a device: one block of threads a cell, its molecules shared out evenly among them.

Memory beside the input: 4 bytes a value for the result, and 4 more where token ids are not 32 bits wide.
"""

import numpy as np

from scdata import _cuda
from scdata._backend import backend
from scdata._blocks import I32, I64, Array
from scdata._splitmix import U64

_THREADS = 256


def thin_device(indptr: I64, counts: I32, token_ids: Array, thinned: Array, share: U64, gene_keys: U64) -> I32:
    """What is left of the counts: `thin_numpy` of arrays on a device."""
    xp = backend(counts)
    left: I32 = xp.empty(len(counts), xp.int32)
    _cuda.launch(
        xp,
        "normalize/thinning.cu",
        "thin_cells",
        len(indptr) - 1,
        _THREADS,
        (
            _cuda.laid_out(indptr, np.int64),
            _cuda.laid_out(counts, np.int32),
            _cuda.laid_out(token_ids, np.uint32),
            _cuda.laid_out(thinned, np.bool_),
            _cuda.laid_out(share, np.uint64),
            _cuda.laid_out(gene_keys, np.uint64),
            left,
        ),
        shared_bytes=20 * _THREADS,
    )
    return left
