"""cell-eval's profile ``vcc`` (Arc Institute, Virtual Cell Challenge 2025) of predicted means: DES, PDS, MAE, and their score.

cell-eval wants predicted cells; where a mean is predicted, its own baseline has as many copies of the mean as there are real
cells. Rank sums of copies have a closed form, so none is made here. Formulas are those of cell-eval 0.8.2 with pdex 0.3.0, with
which tests/recipes/tasks/test_vcc.py compares them. Two things differ: a gene that is predicted not to change at all is none
that changes (cell-eval ranks such genes in their order on the axis), and predictions below 0, which no expression is, are 0.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.stats import false_discovery_control, norm

_FDR = 0.05


class RankSums:
    """Mann-Whitney tests of groups of cells against a reference, gene by gene: two-sided, with ties and continuity correction.

    Parameters
    ----------
    reference
        CSR (N, G), log-normalized: none below 0.
    """

    def __init__(self, reference: sparse.csr_matrix) -> None:
        columns = reference.tocsc()
        self._n = reference.shape[0]
        self._expressed = [np.sort(_column(columns, gene)) for gene in range(reference.shape[1])]
        self._ties = np.array(
            [_ties(np.unique(own, return_counts=True)[1]) + _ties(self._zeros(own)) for own in self._expressed]
        )
        self.mean = np.asarray(reference.mean(0), np.float64).ravel()

    def of_cells(self, cells: sparse.csr_matrix) -> np.ndarray:
        """p of each gene, float64 (G,), of cells, CSR (n, G)."""
        columns, n = cells.tocsc(), cells.shape[0]
        sums, ties = np.zeros((2, len(self._expressed)))
        for gene in range(len(self._expressed)):
            values, copies = np.unique(_column(columns, gene), return_counts=True)
            values, copies = np.append(values, 0), np.append(copies, n - copies.sum())
            sums[gene], ties[gene] = (own.sum() for own in self._against(gene, values, copies))
        return self._p(sums, ties, n)

    def of_copies(self, profiles: np.ndarray, n: np.ndarray) -> np.ndarray:
        """p of each gene, float64 (P, G), of groups of `n` (P,) cells that are all alike: `profiles` (P, G)."""
        found = [self._against(gene, profiles[:, gene], n) for gene in range(len(self._expressed))]
        sums, ties = (np.stack(own, axis=1) for own in zip(*found, strict=True))
        return self._p(sums, ties, n[:, None])

    def _zeros(self, expressed: np.ndarray) -> np.ndarray:
        return np.array([self._n - len(expressed)])

    def _against(self, gene: int, values: np.ndarray, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of distinct values: how many of the reference they exceed (half of those that are equal), and what their ties add."""
        own = self._expressed[gene]
        zeros = self._n - len(own)
        below = np.where(values > 0, zeros + np.searchsorted(own, values, "left"), 0)
        equal = zeros + np.searchsorted(own, values, "right") - below
        cubes = (equal + copies) ** 3.0 - equal**3.0 - copies
        return copies * (below + equal / 2), cubes

    def _p(self, sums: np.ndarray, ties: np.ndarray, n: np.ndarray | int) -> np.ndarray:
        total, most = n + self._n, np.maximum(sums, n * self._n - sums)
        variance = n * self._n / 12 * (total + 1 - (self._ties + ties) / (total * (total - 1)))
        with np.errstate(divide="ignore"):
            z = (most - n * self._n / 2 - 0.5) / np.sqrt(np.maximum(variance, 0))
        return np.minimum(2 * norm.sf(z), 1)


def _column(columns: sparse.csc_matrix, gene: int) -> np.ndarray:
    own = columns.data[columns.indptr[gene] : columns.indptr[gene + 1]].astype(np.float64)
    return own[own > 0]


def _ties(copies: np.ndarray) -> float:
    return float((copies**3.0 - copies).sum())


def changed(p: np.ndarray, mean: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Genes that change, int (K,), those of the largest fold change first: by p (G,) at a false discovery rate below 5 %, and
    geometric means, ``expm1`` of means of log-normalized counts (G,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(np.nan_to_num(np.log2(np.expm1(mean) / np.expm1(base)), nan=0, posinf=np.inf, neginf=-np.inf))
    found = np.flatnonzero((false_discovery_control(p) < _FDR) & (change > 0))
    return found[np.argsort(-change[found], kind="stable")]


def overlap(true: np.ndarray, predicted: np.ndarray) -> float:
    """DES (``overlap_at_N``): the share of the N genes that change among the first N that are predicted to; 0 if none does."""
    return len(np.intersect1d(true, predicted[: len(true)])) / len(true) if len(true) else 0.0


def des(changes: Sequence[np.ndarray], predicted: np.ndarray, sizes: np.ndarray, reference: RankSums) -> float:
    """Mean DES of predicted mean profiles, float64 (P, G).

    Parameters
    ----------
    changes
        Of each perturbation what `changed` gives of its real cells.
    sizes
        int (P,): of how many cells each is.
    reference
        The controls that predictions are made from.
    """
    profiles = np.maximum(predicted, 0)
    p = reference.of_copies(profiles, sizes)
    scores = [
        overlap(true, changed(own, profile, reference.mean))
        for true, own, profile in zip(changes, p, profiles, strict=True)
    ]
    return float(np.mean(scores))


def over_baseline(scores: dict[str, float], base: dict[str, float]) -> float:
    """cell-eval's score: how far DES and PDS are from the baseline's to 1, and MAE from it to 0; their mean, none below 0."""
    parts = [(scores[name] - base[name]) / (1 - base[name]) if base[name] < 1 else 0.0 for name in ("des", "pds")]
    parts.append(1 - scores["mae"] / base["mae"] if base["mae"] else 0.0)
    return float(np.mean(np.maximum(parts, 0)))
