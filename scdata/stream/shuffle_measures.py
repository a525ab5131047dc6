"""How well batches are mixed: entropy of their labels, and how often pairs of cells share a batch.

All are functions of integers: which batch a cell is in, what label it has, in which block it stands.
"""

import numpy as np

from scdata._blocks import I64, Array


def expected_entropy(n_cells: I64, batch_size: int) -> float:
    """Mean entropy of the labels of a uniform draw without replacement, in nats; exact.

    Each label's number in a batch is hypergeometric, so the mean is a sum over labels and numbers. Labels with as many cells
    share a term. A batch of B cells holds less than all cells do: its entropy is at most ln B.

    Parameters
    ----------
    n_cells
        int64 (V,): cells of each label.
    batch_size
        B, at most all cells.
    """
    n = int(n_cells.sum())
    k = np.arange(batch_size + 1)
    share = k / batch_size
    terms = np.zeros(batch_size + 1)
    terms[1:] = -share[1:] * np.log(share[1:])
    all_ways = _log_choose(n, batch_size)[-1]
    found = 0.0
    for cells, labels in zip(*(a.tolist() for a in np.unique(n_cells[n_cells > 0], return_counts=True)), strict=True):
        log_p = _log_choose(cells, batch_size) + _log_choose(n - cells, batch_size)[::-1] - all_ways
        found += labels * float((np.exp(log_p) * terms).sum())
    return found


def _log_choose(n: int, most: int) -> Array:
    """float64 (most + 1,): ln of n over k, for k from 0; −inf where k exceeds n."""
    k = np.arange(most)
    with np.errstate(divide="ignore"):
        return np.concatenate(([0.0], np.cumsum(np.log(np.maximum(n - k, 0)) - np.log(k + 1))))


def batch_entropies(labels: Array, batch_size: int) -> Array:
    """Entropy of the labels of every full batch, in nats.

    Parameters
    ----------
    labels
        Integers from 0, (N,): label of the cell at each position of an epoch.
    batch_size
        B.

    Returns
    -------
    float64 (N // B,)
    """
    n_batches = len(labels) // batch_size
    labels = labels[: n_batches * batch_size].astype(np.int64)
    n_labels = int(labels.max(initial=0)) + 1
    key = np.arange(len(labels)) // batch_size * n_labels + labels
    pairs, n = np.unique(key, return_counts=True)
    sums = np.bincount(pairs // n_labels, weights=n * np.log(n), minlength=n_batches)
    # −Σ n/B ln(n/B) = ln B − Σ n ln n / B
    return np.asarray(np.log(batch_size) - sums / batch_size)


def ratio_to_chance(one: I64, other: I64) -> float:
    """How often two cells that share a group in one grouping share one in the other too, as a ratio to chance.

    Chance is a random assignment to groups of the same sizes: if one grouping has P pairs, the other Q, and there are N cells,
    P · Q / (N (N − 1) / 2) pairs are expected in both. With batches of B cells that is the known (B − 1) / (N − 1) of P.

    Parameters
    ----------
    one, other
        int64 (N,), from 0: group of each cell; a batch or a block.

    Returns
    -------
    1: as by chance; 0: never; NaN if one of the groupings has no pair.
    """
    n = len(one)
    both = _pairs(one * (int(other.max(initial=0)) + 1) + other)
    by_chance = _pairs(one) * _pairs(other)
    return both * n * (n - 1) / by_chance if by_chance else float("nan")


def _pairs(group: I64) -> int:
    """Ordered pairs of cells of one group."""
    n = np.unique(group, return_counts=True)[1]
    return int((n * (n - 1)).sum())
