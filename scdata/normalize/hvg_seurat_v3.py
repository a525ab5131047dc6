"""Highly variable genes, flavor ``seurat_v3``: variance of clipped standardized counts.

Method: Stuart et al., "Comprehensive Integration of Single-Cell Data", Cell 2019 (vst), in the form that scanpy gives it
(``scanpy.pp.highly_variable_genes(flavor="seurat_v3")``). A local regression of log variance on log mean says which
standard deviation a gene of that mean has; counts more than sqrt(cells) of them above the mean are clipped; the variance of
what results, in units of the expected one, ranks the genes.

Two passes over the cells: `GeneMoments`, from which `VarianceTrend` is fitted, then `moments_below_clip`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scdata._backend import backend, beside, per_entry
from scdata._blocks import I32, I64
from scdata._errors import TokenizerError
from scdata._optional import need
from scdata.normalize.library_size import F64
from scdata.normalize.moments import GeneMoments, batch_name

_SPAN, _DEGREE = 0.3, 2
_FEWEST_GENES = 20  # skmisc.loess fails below 18 points, and takes the whole process with it below 4


@dataclass(frozen=True)
class VarianceTrend:
    """What the first pass says of each gene in each batch; B batches, G genes.

    Parameters
    ----------
    batches, n_cells
        int32 (B,) ascending codes, int64 (B,).
    expressing
        int64 (B, G): cells that have the gene.
    mean, sd
        float64 (B, G): mean count, and the standard deviation expected at that mean; sd is 1 for genes without variance.
    """

    batches: I32
    n_cells: I64
    expressing: I64
    mean: F64
    sd: F64

    @staticmethod
    def fit(moments: GeneMoments, batch_names: Sequence[str] | None = None) -> "VarianceTrend":
        """Fit the trend of each batch.

        Parameters
        ----------
        moments
            Of raw counts, of the whole corpus.
        batch_names
            Name of each batch code, for messages.

        Raises
        ------
        TokenizerError
            If a batch has one cell, or too few genes that vary for a local regression.
        MissingExtraError
            Without scikit-misc.
        """
        mean, variance = moments.mean(), moments.variance(batch_names)
        log_variance = np.zeros_like(mean)
        for i, code in enumerate(moments.batches.tolist()):
            varies = variance[i] > 0
            log_variance[i, varies] = _local_regression(
                np.log10(mean[i, varies]), np.log10(variance[i, varies]), batch_name(code, batch_names)
            )
        return VarianceTrend(moments.batches, moments.n_cells, moments.expressing, mean, np.sqrt(10**log_variance))

    @cached_property
    def clip(self) -> F64:
        """float64 (B, G): where counts are clipped, sqrt(cells) standard deviations above the mean."""
        return self.sd * np.sqrt(self.n_cells)[:, None] + self.mean

    def normalized_variance(self, below: GeneMoments) -> F64:
        """Variance of the clipped standardized counts, about the mean of the unclipped ones.

        Parameters
        ----------
        below
            `moments_below_clip` of the whole corpus.

        Returns
        -------
        float64 (B, G).
        """
        if not (np.array_equal(below.batches, self.batches) and np.array_equal(below.n_cells, self.n_cells)):
            raise ValueError(
                f"{below.n_cells.sum()} cells in the second pass, {self.n_cells.sum()} others in the first"
            )
        n, clip = self.n_cells[:, None], self.clip
        at_clip = self.expressing - below.expressing
        squares = np.stack([below.squares.integers(i).astype(np.float64) for i in range(len(n))]) + at_clip * clip**2
        total = below.total + at_clip * clip
        return np.asarray((n * self.mean**2 + squares - 2 * total * self.mean) / ((n - 1) * self.sd**2))


def moments_below_clip(
    indptr: I64, genes: I32, counts: I32, trend: VarianceTrend, batch: I32 | None = None
) -> GeneMoments:
    """Second pass: moments of the counts below the clip of their batch and gene.

    Those at or above it, which all count as the clip, are the rest of the first pass's ``expressing``.

    Parameters
    ----------
    indptr, genes, counts, batch
        Some cells, as `GeneMoments.of` takes them.
    trend
        Of the whole corpus.
    """
    xp = backend(indptr)
    n_genes = trend.mean.shape[1]
    if batch is None:
        batch = xp.zeros(len(indptr) - 1, xp.int32)
    row = xp.searchsorted(beside(indptr, trend.batches), batch)
    below = counts < beside(indptr, trend.clip).ravel()[per_entry(row * n_genes, indptr) + genes]
    kept = xp.zeros(len(genes) + 1, xp.int64)
    kept[1:] = xp.cumsum(below)
    return GeneMoments.of(kept[indptr], genes[below], counts[below], n_genes, batch)


def select_seurat_v3(normalized_variance: F64, n_top: int) -> I32:
    """The most variable genes: best median rank over the batches that rank them among their first `n_top`.

    Equal medians: more such batches first, then the lower index. Genes that no batch ranks so follow in order of index.

    Parameters
    ----------
    normalized_variance
        float64 (B, G).
    n_top
        How many; at most G are there.

    Returns
    -------
    int32 (min(n_top, G),), ascending.
    """
    n_batches, n_genes = normalized_variance.shape
    rank = np.empty((n_batches, n_genes))
    order = np.argsort(-normalized_variance, axis=1, kind="stable")
    np.put_along_axis(rank, order, np.arange(n_genes, dtype=np.float64)[None], axis=1)
    rank[rank >= n_top] = np.inf
    rank.sort(axis=0)
    found = np.isfinite(rank).sum(axis=0)
    column, last = np.arange(n_genes), np.maximum(found - 1, 0)
    median = (rank[last // 2, column] + rank[(last + 1) // 2, column]) / 2
    return np.sort(np.lexsort((-found, median))[:n_top]).astype(np.int32)


def _local_regression(x: F64, y: F64, name: str) -> F64:
    """Fitted values of the loess (Cleveland and Grosse's code) of y on x."""
    loess = need("skmisc.loess", "choose genes by flavor seurat_v3")
    try:
        if len(x) < _FEWEST_GENES:
            raise ValueError(f"the limit is {_FEWEST_GENES} genes")
        model = loess.loess(x, y, span=_SPAN, degree=_DEGREE)
        model.fit()
    except ValueError as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise TokenizerError(
            f"{name}: the local regression of flavor seurat_v3 fails on its {len(x)} genes whose counts vary, which have "
            f'{len(np.unique(x))} different means ({reason}): use flavor = "seurat", or more cells: leave that batch out, or '
            "choose a batch key with larger batches, or none"
        ) from error
    return np.asarray(model.outputs.fitted_values, np.float64)
