"""What the published tokenizers do, written down plainly: a cell at a time, in NumPy and SciPy, without a trick.

These are the yardstick of `bench_tokenizers.py`. Each follows the steps that the model's own code takes, in the same kinds of
calls; `tests/benchmarks/` holds them to the results of scdata. Counts come as a scipy CSR of float32, cells × genes, as
AnnData has them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

Array = np.ndarray[Any, Any]


def geneformer_as_written(
    X: sp.csr_matrix, total: Array, medians: Array, tokens: Array, chunk: int = 512
) -> list[Array]:
    """Token ids of each cell by falling x / n · 1e4 / median.

    ctheodoris/Geneformer, tokenizer.py, h5ad files: chunks of 512 cells are divided as whole matrices, then each cell's row
    is cut out twice, for its values and for its columns, and sorted.
    """
    out = []
    for start in range(0, X.shape[0], chunk):
        own = slice(start, start + chunk)
        values = sp.csr_matrix(X[own] / total[own, None] * 10_000 / medians)
        for i in range(values.shape[0]):
            value, ids = values[i].data, tokens[values[i].indices]
            out.append(ids[np.argsort(-value)])
    return out


def geneformer_numpy(X: sp.csr_matrix, total: Array, medians: Array, tokens: Array) -> list[Array]:
    """The same on slices of the arrays of the CSR: what is left of the algorithm when SciPy's cost is taken away."""
    out = []
    for i, (start, stop) in enumerate(zip(X.indptr[:-1], X.indptr[1:], strict=True)):
        genes = X.indices[start:stop]
        value = X.data[start:stop] / total[i] * 10_000 / medians[genes]
        nonzero = np.nonzero(value)[0]
        out.append(tokens[genes][nonzero][np.argsort(-value[nonzero])])
    return out


def scgpt_bins(X: sp.csr_matrix, n_bins: int, rng: np.random.Generator | None) -> list[Array]:
    """Quantile bins of each cell's non-zero counts; a random one of several with `rng`, else the upper.

    bowang-lab/scGPT, preprocess.py: quantiles as edges, digitize from both sides, a draw for every value.
    """
    out = []
    for start, stop in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        values = X.data[start:stop]
        if len(values) == 0:
            out.append(np.empty(0, np.int64))
            continue
        edges = np.quantile(values, np.linspace(0, 1, n_bins - 1))
        left = np.digitize(values, edges)
        if rng is None:
            out.append(left)
            continue
        right = np.digitize(values, edges, right=True)
        out.append(np.ceil(rng.random(len(values)) * (right - left) + left).astype(np.int64))
    return out


def cell_jepa(X: sp.csr_matrix, n_bins: int, n_genes: int, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Columns and upper bins of at most `n_genes` random genes of each cell."""
    out = []
    for i, bins in enumerate(scgpt_bins(X, n_bins, None)):
        genes = X.indices[X.indptr[i] : X.indptr[i + 1]]
        if len(genes) > n_genes:
            chosen = rng.permutation(len(genes))[:n_genes]
            genes, bins = genes[chosen], bins[chosen]
        out.append((genes, bins))
    return out


def scfoundation_encoder(X: sp.csr_matrix) -> list[tuple[Array, Array]]:
    """Positions and values of each cell: ln(1 + x / n · 1e4) over all genes, T and S after them, those above 0.

    biomap-research/scFoundation, get_embedding.py and load.py: a dense row a cell.
    """
    out = []
    for i in range(X.shape[0]):
        row = X[i].toarray()[0]
        n = row.sum()
        depth = np.log10(n)
        whole = np.concatenate((np.log1p(row / n * 1e4), [depth, depth]))
        positions = np.nonzero(whole > 0)[0]
        out.append((positions, whole[positions].astype(np.float32)))
    return out


def thinned(
    X: sp.csr_matrix, p: float, alpha: int, beta: int, min_counts: int, rng: np.random.Generator
) -> list[Array]:
    """Counts of each cell, binomially thinned with probability p by a share from Beta(alpha, beta) if it has enough."""
    out = []
    for start, stop in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        counts = X.data[start:stop].astype(np.int64)
        if counts.sum() > min_counts and rng.random() < p:
            counts = rng.binomial(counts, rng.beta(alpha, beta))
        out.append(counts)
    return out


def transcriptformer(X: sp.csr_matrix, clip: int, max_len: int, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Columns and clipped counts of each cell's genes in random order, at most `max_len`.

    czi-ai/transcriptformer, data/dataloader.py: a dense row a cell, its non-zero genes permuted.
    """
    out = []
    for i in range(X.shape[0]):
        row = X[i].toarray()[0]
        genes = rng.permutation(np.nonzero(row)[0])[:max_len]
        out.append((genes, np.minimum(row[genes], clip)))
    return out


def lingshu_levels(X: sp.csr_matrix, starts: Sequence[int], steps: Sequence[int]) -> list[Array]:
    """Count level of every gene of each cell: a dense row a cell, one stretch of equal steps after the other."""
    out = []
    for i in range(X.shape[0]):
        row = X[i].toarray()[0].astype(np.int64)
        levels, first = np.zeros_like(row), 0
        for start, end, step in zip(starts, starts[1:], steps, strict=False):
            levels = np.where(row >= start, first + (row - start) // step, levels)
            first += (end - start) // step
        out.append(np.where(row >= starts[-1], first, levels))
    return out
