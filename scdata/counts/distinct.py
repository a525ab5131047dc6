"""How many genes a cell expresses, in the columns of its source."""

import numpy as np

from scdata import _jit
from scdata._blocks import I32, I64


def distinct_columns(indptr: I64, indices: I32, n_columns: int) -> I64:
    """int64 (C,): columns that each row has entries in; one that stands twice counts once.

    Parameters
    ----------
    indptr, indices
        int64 (C+1,), int32 (T,) in ``range(n_columns)``, in any order.
    """
    if not _jit.available():
        return distinct_columns_numpy(indptr, indices, n_columns)
    from scdata.counts.distinct_jit import distinct_columns_jit

    out = np.empty(len(indptr) - 1, np.int64)
    distinct_columns_jit(indptr, indices, n_columns, out)
    return out


def distinct_columns_numpy(indptr: I64, indices: I32, n_columns: int) -> I64:
    """`distinct_columns` without numba: equal results."""
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    pairs = np.unique(row * n_columns + indices)
    return np.bincount(pairs // max(n_columns, 1), minlength=len(indptr) - 1)
