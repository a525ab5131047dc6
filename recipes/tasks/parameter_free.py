"""Representations that need no model: what a model has to beat. Whatever is fitted is fitted on the training cells only."""

from functools import lru_cache

import numpy as np
from scipy import sparse
from sklearn.decomposition import PCA

from .cells import Cells
from .sctop import Profiles, components, rank_profiles

N_HVG = 2000
N_COMPONENTS = 50
N_COMPONENTS_SCTOP = 220
N_RANDOM = 32


def sctop(cells: Cells, train: np.ndarray, seed: int) -> np.ndarray:
    """The first 220 principal components of scTOP's profiles."""
    return components(profiles_of(cells), train, N_COMPONENTS_SCTOP, seed)


@lru_cache(maxsize=1)
def profiles_of(cells: Cells) -> Profiles:
    """scTOP's profiles of cells, made once for all splits."""
    return rank_profiles(cells.counts)


def pca(cells: Cells, train: np.ndarray, seed: int) -> np.ndarray:
    """The first 50 principal components of the log-normalized counts of 2,000 highly variable genes."""
    values = cells.log_normalized
    return principal_components(values[:, variable_genes(values[train])], train, seed)


def lognorm(cells: Cells, train: np.ndarray, seed: int) -> sparse.csr_matrix:
    """Log-normalized counts of all genes."""
    return cells.log_normalized


def depth(cells: Cells, train: np.ndarray, seed: int) -> np.ndarray:
    """ln(1 + total counts) and ln(1 + genes): what a leak of the sequencing depth alone would score."""
    total = np.asarray(cells.counts.sum(1)).ravel()
    return np.log1p(np.stack([total, np.diff(cells.counts.indptr)], axis=1)).astype(np.float32)


def random(cells: Cells, train: np.ndarray, seed: int) -> np.ndarray:
    """32 normal numbers, the same for a cell of a set at every run with one seed: chance."""
    return np.random.default_rng([seed, 1]).standard_normal((len(cells), N_RANDOM)).astype(np.float32)


def principal_components(values: sparse.csr_matrix, train: np.ndarray, seed: int) -> np.ndarray:
    """float32 (N, k), k = 50 or what the training cells allow: components fitted on `train`, in bounded memory."""
    n = min(N_COMPONENTS, len(train) - 1, values.shape[1] - 1)
    fitted = PCA(n, svd_solver="arpack", random_state=seed).fit(values[train])
    return fitted.transform(values).astype(np.float32)


def variable_genes(values: sparse.csr_matrix, n: int = N_HVG) -> np.ndarray:
    """Columns of the `n` highly variable genes of log-normalized cells, by scanpy's flavor ``seurat``.

    Genes are binned by the log of their mean into 20 bins of equal width, and the log of variance / mean is set against mean
    and standard deviation of its bin.
    """
    n_cells = values.shape[0]
    linear = values.copy()
    np.expm1(linear.data, out=linear.data)
    mean = np.asarray(linear.mean(0), dtype=np.float64).ravel()
    square = np.asarray(linear.multiply(linear).mean(0), dtype=np.float64).ravel()
    variance = (square - mean**2) * n_cells / max(1, n_cells - 1)
    expressed = np.flatnonzero((mean > 0) & (variance > 0))
    if len(expressed) <= n:
        return expressed
    dispersion, level = np.log(variance[expressed] / mean[expressed]), np.log1p(mean[expressed])
    edges = np.linspace(level.min(), level.max(), 21)
    bins = np.clip(np.searchsorted(edges, level) - 1, 0, 19)
    size = np.bincount(bins, minlength=20)
    center = np.bincount(bins, dispersion, minlength=20) / np.maximum(size, 1)
    spread = np.bincount(bins, (dispersion - center[bins]) ** 2, minlength=20) / np.maximum(size - 1, 1)
    # a gene alone in its bin counts as one standard deviation above it, as in Seurat
    alone = size[bins] == 1
    score = np.where(alone, 1.0, (dispersion - center[bins]) / np.sqrt(np.where(spread > 0, spread, np.inf))[bins])
    return np.sort(expressed[np.argsort(-score, kind="stable")[:n]])
