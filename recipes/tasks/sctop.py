"""scTOP's profile of a cell, and its projection onto the profiles of labels (Yampolskaya et al. 2023): no parameter is trained.

Of all G genes, those without counts included, a cell has ranks; ranks become normal scores z = Φ⁻¹(rank / (G + 1)), and z is
divided by its length. Genes without counts share one score, so a profile is kept as that score and what differs from it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.special import ndtri
from scipy.stats import rankdata

_MOST_CELLS = 3000
_GENES_AT_A_TIME = 2048


@dataclass
class Profiles:
    """Profiles of N cells over G genes: ``base`` float64 (N,) is the score of genes without counts, ``above`` float32 CSR
    (N, G) what the scores of the others are above it."""

    base: np.ndarray
    above: sparse.csr_matrix

    def __len__(self) -> int:
        return len(self.base)

    def take(self, rows: np.ndarray) -> "Profiles":
        return Profiles(self.base[rows], self.above[rows])

    def dense(self) -> np.ndarray:
        """float64 (N, G)."""
        return self.above.toarray() + self.base[:, None]

    def times(self, weights: np.ndarray) -> np.ndarray:
        """The profiles times (G, k): float64 (N, k)."""
        return self.above @ weights + np.outer(self.base, weights.sum(0))

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean of each gene, float64 (G,)."""
        return self.base.mean() + np.asarray(self.above.mean(0)).ravel()


def rank_profiles(counts: sparse.csr_matrix) -> Profiles:
    """Profiles of cells from their counts (N, G). A cell whose genes all have one count, as one without any, is zero."""
    n_cells, n_genes = counts.shape
    above = counts.astype(np.float32)
    base = np.zeros(n_cells)
    for row, (start, stop) in enumerate(zip(above.indptr, above.indptr[1:], strict=False)):
        n_zero = n_genes - (stop - start)
        scores = ndtri((n_zero + rankdata(above.data[start:stop])) / (n_genes + 1))
        zero = ndtri((n_zero + 1) / 2 / (n_genes + 1))
        length = np.sqrt(n_zero * zero**2 + (scores**2).sum())
        # all genes equal: rounding is all there is
        length = length if length > 1e-9 else np.inf
        base[row] = zero / length if n_zero else 0.0
        above.data[start:stop] = scores / length - base[row]
    return Profiles(base, above)


def label_profiles(counts: sparse.csr_matrix, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Profile of each label: that of the mean over its cells of counts / total.

    Returns
    -------
    tuple
        The K labels, sorted, and float64 (G, K).
    """
    names, codes = np.unique(labels, return_inverse=True)
    total = np.maximum(np.asarray(counts.sum(1)).ravel(), 1)
    members = sparse.csr_matrix((1 / total, (codes, np.arange(len(codes)))), (len(names), len(codes)))
    mean = (members @ counts).toarray() / np.bincount(codes)[:, None]
    z = ndtri(rankdata(mean, axis=1) / (mean.shape[1] + 1))
    return names, (z / np.linalg.norm(z, axis=1, keepdims=True)).T


def project(profiles: Profiles, basis: np.ndarray) -> np.ndarray:
    """Least-squares coordinates (N, K) of profiles in a basis (G, K): (BᵀB)⁻¹ Bᵀ z."""
    return np.linalg.lstsq(basis.T @ basis, profiles.times(basis).T, rcond=None)[0].T


def components(profiles: Profiles, train: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Principal components of profiles, whose mean and axes are those of `train`, or of 3,000 drawn from more.

    Returns
    -------
    ndarray
        float32 (N, k), the first one first; k is `n`, or less where there are fewer cells or genes.
    """
    if len(train) > _MOST_CELLS:
        train = np.sort(np.random.default_rng(seed).choice(train, _MOST_CELLS, replace=False))
    some = profiles.take(train)
    mean, by_gene = some.mean, some.above.tocsc()
    # products of centred profiles, which are dense, from some genes at a time
    products = np.zeros((len(some), len(some)), np.float32)
    for start in range(0, len(mean), _GENES_AT_A_TIME):
        genes = slice(start, start + _GENES_AT_A_TIME)
        part = by_gene[:, genes].toarray() + (some.base[:, None] - mean[genes]).astype(np.float32)
        products += part @ part.T
    n = min(n, len(some) - 1, len(mean) - 1)
    size, of_cells = eigh(products.astype(np.float64), subset_by_index=[len(some) - n, len(some) - 1])
    # what is left of rounding has no direction
    there = size > 1e-6 * size[-1]
    of_cells = (of_cells[:, there] / np.sqrt(size[there]))[:, ::-1].astype(np.float32)
    axes = some.above.T @ of_cells + (some.base @ of_cells)[None] - np.outer(mean, of_cells.sum(0))
    return (profiles.times(axes.astype(np.float32)) - mean @ axes).astype(np.float32)
