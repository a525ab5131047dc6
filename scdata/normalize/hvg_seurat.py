"""Highly variable genes, flavor ``seurat``: dispersion of normalized counts among genes of similar mean.

Method: Satija et al., "Spatial reconstruction of single-cell gene expression data", Nature Biotechnology 2015, in the form
that scanpy gives it (``scanpy.pp.highly_variable_genes(flavor="seurat")`` on ln(1 + x / n · 1e4), which scanpy turns back
into x / n · 1e4 first).
"""

from collections.abc import Sequence

import numpy as np

from scdata._backend import backend
from scdata._blocks import I32, I64
from scdata._errors import TokenizerError
from scdata.normalize.library_size import F64, normalize_total
from scdata.normalize.moments import GeneMoments

TARGET_SUM = 1e4
_UNIT = 2.0**-20
_N_BINS = 20


def normalized_moments(
    indptr: I64, genes: I32, counts: I32, total: I64, n_genes: int, batch: I32 | None = None
) -> GeneMoments:
    """Moments of x / n · 1e4 in whole units of 2**-20, so that they are integers and merge exactly.

    Rounding to units moves a value by at most 2**-21 (5e-7): 0.005 % of a single count among a million, the less the
    shallower the cell. A gene's mean is off by no more than that, its sum of squares by 2**-20 times the sum.

    Parameters
    ----------
    indptr, genes, counts, n_genes, batch
        Some cells, as `GeneMoments.of` takes them.
    total
        int64 (C,): the denominator n of each cell; 0 only where a cell has no counts.

    Raises
    ------
    TokenizerError
        If a count is more than six times its cell's total.
    """
    values = normalize_total(indptr, counts, total, TARGET_SUM)
    largest = float(values.max()) if len(values) else 0.0
    if largest >= 1 << 16:
        raise TokenizerError(
            f"a count is {largest / TARGET_SUM:g} times the total of its cell: totals must cover all counts of a cell"
        )
    units = backend(values).rint(values * (1 / _UNIT))
    return GeneMoments.of(indptr, genes, units, n_genes, batch)


def select_seurat(moments: GeneMoments, n_top: int, batch_names: Sequence[str] | None = None) -> I32:
    """The most variable genes: those that most batches have among their first `n_top`, then the higher mean over batches.

    Equal ones: the lower index first. With one batch, that is the order of its normalized dispersions. With several, genes
    that a batch does not have count as 0 there, as in scanpy.

    Parameters
    ----------
    moments
        `normalized_moments` of the whole corpus.
    n_top
        How many.
    batch_names
        Name of each batch code, for messages.

    Returns
    -------
    int32, ascending: `n_top` genes, or fewer where fewer have a dispersion in any batch.

    Raises
    ------
    TokenizerError
        If a batch has one cell.
    """
    mean, variance = moments.mean() * _UNIT, moments.variance(batch_names) * _UNIT**2
    shape = mean.shape
    # scanpy leaves out what a batch does not have, except where there is only one
    present = moments.expressing > 0 if len(mean) > 1 else np.ones(shape, np.bool_)
    dispersion, n_batches = np.zeros(shape), np.zeros(shape[1], np.int64)
    for i, here in enumerate(present):
        dispersion[i, here] = own = _normalized_dispersion(mean[i, here], variance[i, here])
        falling = -np.sort(-own[np.isfinite(own)])
        if len(falling):
            n_batches[here] += own >= falling[:n_top][-1]
    known = np.isfinite(dispersion)
    n_known = known.sum(axis=0)
    average = np.where(known, dispersion, 0).sum(axis=0) / np.maximum(n_known, 1)
    order = np.lexsort((-average, -n_batches, n_known == 0))
    return np.sort(order[: min(n_top, np.count_nonzero(n_known))]).astype(np.int32)


def _normalized_dispersion(mean: F64, variance: F64) -> F64:
    """ln(variance / mean), standardized among genes of similar ln(1 + mean); NaN for genes that do not vary."""
    dispersion = np.full(len(mean), np.nan)
    varies = variance > 0
    dispersion[varies] = np.log(variance[varies] / mean[varies])
    bins = _equal_width_bins(np.log1p(mean))[varies]
    own = dispersion[varies]
    n = np.bincount(bins, minlength=_N_BINS)
    center = np.bincount(bins, own, _N_BINS) / np.maximum(n, 1)
    spread = np.sqrt(np.bincount(bins, (own - center[bins]) ** 2, _N_BINS) / np.maximum(n - 1, 1))
    # a gene alone in its bin gets 1, as in Seurat
    alone = n == 1
    spread[alone] = center[alone]
    center[alone] = 0
    with np.errstate(divide="ignore", invalid="ignore"):  # equal dispersions have no spread
        dispersion[varies] = (own - center[bins]) / spread[bins]
    return dispersion


def _equal_width_bins(x: F64) -> I64:
    """int64: bin of each value among 20 of equal width from least to greatest, closed above, the first one below too."""
    if len(x) == 0:
        return np.empty(0, np.int64)
    low, high = x.min(), x.max()
    inner = np.linspace(low, high, _N_BINS + 1)[1:-1] if low < high else np.array([])
    return np.searchsorted(inner, x, side="left")
