"""Quantile bins with ties resolved: the upper bin, or a random one. `scdata.tokens.kernels.binning` has the method."""

import numpy as np

from scdata import _jit
from scdata._backend import on_device, row_of_entry
from scdata._blocks import I32, I64, Array
from scdata._splitmix import U64, splitmix64
from scdata.tokens.kernels.binning import draw_bins, quantile_bins


def quantile_bins_upper(indptr: I64, counts: I32, n_bins: int) -> I32:
    """Highest bin of every non-zero count, within its cell: int32 (T,). Arguments as `quantile_bins`."""
    if not on_device(counts) and _jit.available():
        from scdata.tokens.kernels.binning_jit import quantile_bins_upper_jit

        bins = np.empty(len(counts), np.int32)
        quantile_bins_upper_jit(indptr, counts, np.linspace(0, 1, n_bins - 1), bins)
        return bins
    return quantile_bins(indptr, counts, n_bins)[1]


def quantile_bins_random(indptr: I64, counts: I32, token_ids: Array, cell_keys: U64, n_bins: int) -> I32:
    """One of the bins of every non-zero count, within its cell, uniform.

    Parameters
    ----------
    indptr, counts, n_bins
        As `quantile_bins`.
    token_ids
        integer (T,) ≥ 0, distinct within a cell.
    cell_keys
        uint64 (C,): random key of each cell. That of a value is ``splitmix64(cell key + token id)``.

    Returns
    -------
    int32 (T,): `draw_bins` between the bounds of `quantile_bins`.
    """
    if not on_device(counts) and _jit.available():
        from scdata.tokens.kernels.binning_jit import quantile_bins_random_jit

        bins = np.empty(len(counts), np.int32)
        quantile_bins_random_jit(indptr, counts, token_ids, cell_keys, np.linspace(0, 1, n_bins - 1), bins)
        return bins
    with np.errstate(over="ignore"):
        keys = splitmix64(cell_keys[row_of_entry(indptr)] + token_ids.astype(np.uint64))
    return draw_bins(*quantile_bins(indptr, counts, n_bins), keys)
