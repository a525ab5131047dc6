"""How alike sampled and real cells are, never without what a generator without a model gives.

`compare` takes counts as CSR, the same genes in the columns of all: `real` cells that nobody learned from, `sampled` ones, and
`train`, those that the model learned from. It puts three generators side by side: the model; each gene drawn on its own from
the train cells, which has all marginals right and nothing between genes; and other real cells, the best that can be had.

    found = compare(real, sampled, train)
    print("\n".join(table(found)))

Shapes: N cells, G genes.
"""

from typing import Any

import numpy as np
from scipy import sparse

MODEL, INDEPENDENT, REAL = "sampled", "each gene on its own", "other real cells"
_FOLDS, _COMPONENTS = 5, 20
_COLUMNS = {
    "mean_correlation": "means",
    "variance_correlation": "variances",
    "auroc_linear": "AUROC, genes",
    "auroc_pairs": "AUROC, pairs",
}


def compare(
    real: sparse.csr_matrix, sampled: sparse.csr_matrix, train: sparse.csr_matrix, seed: int = 0
) -> dict[str, Any]:
    """Compare generators with real cells, as many cells of each as the smallest has.

    Parameters
    ----------
    real, sampled, train
        Counts (N, G), of any numbers of cells; the first ones are used, so they should come in random order.
    seed
        Of the draws, and of the folds.

    Returns
    -------
    dict
        ``n_cells`` of each; then by generator (`MODEL`, `INDEPENDENT`, `REAL`) ``mean_correlation`` and
        ``variance_correlation`` (Pearson, of ln(moment + 1 / n_cells) over genes found in the real or the generated cells), and
        ``auroc_linear`` and ``auroc_pairs``: how well a logistic regression tells generated from real cells it has not seen,
        0.5 being not at all, from log-normalized genes, or from 20 principal components and their products, which see how
        genes go together.

    Raises
    ------
    ValueError
        If genes differ in number, or there are too few cells to hold some out.
    """
    if not real.shape[1] == sampled.shape[1] == train.shape[1]:
        raise ValueError(
            f"{real.shape[1]}, {sampled.shape[1]} and {train.shape[1]} genes: the columns must be the same"
        )
    n = min(real.shape[0], sampled.shape[0], train.shape[0])
    if n < 2 * _FOLDS:
        raise ValueError(f"{n} cells to compare, at least {2 * _FOLDS} are needed: sample more, or use a larger set")
    truth, known = real[:n].toarray(), train.tocsc()
    generators = {
        MODEL: sampled[:n].toarray(),
        INDEPENDENT: independent_genes(known, n, seed),
        REAL: train[:n].toarray(),
    }
    return {"n_cells": n, **{name: _alike(truth, cells, seed) for name, cells in generators.items()}}


def table(found: dict[str, Any]) -> list[str]:
    """What `compare` found, as lines."""
    head = f"{found['n_cells']:,} cells each"
    width = 2 + max(len(name) for name in (head, *found) if name != "n_cells")
    lines = [f"  {head:<{width}}" + "".join(f"{name:>14}" for name in _COLUMNS.values())]
    for name, row in found.items():
        if name != "n_cells":
            lines.append(f"  {name:<{width}}" + "".join(f"{row[key]:14.3f}" for key in _COLUMNS))
    lines.append(
        "  (correlation of the genes' log moments: 1 is best; AUROC of telling them from real cells: 0.5 is best)"
    )
    return lines


def independent_genes(known: sparse.csc_matrix, n: int, seed: int) -> np.ndarray:
    """Counts (n, G): each gene's drawn from its own column, with replacement, whatever the other genes have."""
    generator = np.random.default_rng(seed)
    cells = np.zeros((n, known.shape[1]), known.dtype)
    for gene in range(known.shape[1]):
        values = known.data[known.indptr[gene] : known.indptr[gene + 1]]
        drawn = generator.integers(known.shape[0], size=n)
        found = drawn < len(values)
        cells[found, gene] = values[drawn[found]]
    return cells


def _alike(real: np.ndarray, cells: np.ndarray, seed: int) -> dict[str, float]:
    n, seen = len(real), (real.sum(0) + cells.sum(0)) > 0
    pairs = {
        "mean": [np.log(part[:, seen].mean(0) + 1 / n) for part in (real, cells)],
        "variance": [np.log(part[:, seen].var(0) + 1 / n) for part in (real, cells)],
    }
    row = {f"{name}_correlation": float(np.corrcoef(*pair)[0, 1]) for name, pair in pairs.items()}
    return {**row, **_told_apart(_log_normalized(np.concatenate([real, cells])[:, seen]), n, seed)}


def _log_normalized(counts: np.ndarray) -> np.ndarray:
    total = np.maximum(counts.sum(1, keepdims=True), 1)
    return np.log1p(counts / total * 1e4).astype(np.float32)


def _told_apart(cells: np.ndarray, n: int, seed: int) -> dict[str, float]:
    """Cross-validated AUROC; the first `n` cells are the real ones."""
    try:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler
    except ImportError as error:
        raise ValueError("telling cells apart needs scikit-learn: pip install 'scdata-engine[eval]'") from error
    is_real = np.arange(len(cells)) < n
    components = min(_COMPONENTS, cells.shape[1], len(cells) // 2)
    ways = {
        "auroc_linear": [],
        "auroc_pairs": [PCA(components, random_state=seed), PolynomialFeatures(2, include_bias=False)],
    }
    folds, scores = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed), {}
    for name, first in ways.items():
        classifier = make_pipeline(*first, StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        scores[name] = float(cross_val_score(classifier, cells, is_real, scoring="roc_auc", cv=folds).mean())
    return scores
