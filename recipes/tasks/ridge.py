"""Linear prediction of many targets, each known for some rows only."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.decomposition import PCA

N_COMPONENTS = 50


def scaled(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Features (N, d) with mean 0 and variance 1 of each on the rows `train`, and of rows there the mean square length 1."""
    mean, spread = features[train].mean(0), features[train].std(0)
    return (features - mean) / np.where(spread > 0, spread, np.inf) / np.sqrt(max(1, np.count_nonzero(spread)))


def centred(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Features (N, d) with mean 0 on the rows `train`, and one scale: mean square length 1 there. How much each of
    them varies stays, as it counts in an embedding."""
    around = features - features[train].mean(0)
    length = np.sqrt((around[train] ** 2).sum(1).mean())
    return around / (length if length > 0 else np.inf)


def components(features: np.ndarray, train: np.ndarray, seed: int) -> np.ndarray:
    """The first 50 principal components of `scaled` features, fitted on the rows `train`, scaled to mean square length 1."""
    n = min(N_COMPONENTS, len(train) - 1, features.shape[1] - 1)
    x = scaled(features, train)
    return centred(PCA(n, svd_solver="arpack", random_state=seed).fit(x[train]).transform(x), train)


def ridge(features: np.ndarray, targets: np.ndarray, penalty: float = 1.0) -> np.ndarray:
    """Predictions of every target for every row.

    Parameters
    ----------
    features
        float64 (N, d), rows of mean square length 1.
    targets
        float64 (N, T), NaN where not known; each target is fitted on its own rows, around their mean.
    penalty
        Of squared weights. 1: as much of a target is taken to be noise as to be linear in the features.

    Returns
    -------
    ndarray
        float64 (N, T), NaN of a target without rows.
    """
    found = np.full(targets.shape, np.nan)
    known = np.isfinite(targets)
    # targets known for the same rows are solved at once
    patterns, which = np.unique(known.T, axis=0, return_inverse=True)
    kernel = features @ features.T if features.shape[1] > features.shape[0] // 2 else None
    for number, rows in enumerate(patterns):
        if not rows.any():
            continue
        own = np.flatnonzero(which == number)
        y = targets[np.ix_(rows, own)]
        mean = y.mean(0)
        if kernel is None:
            x = features[rows]
            square = x.T @ x + penalty * np.eye(x.shape[1])
            found[:, own] = mean + features @ cho_solve(cho_factor(square), x.T @ (y - mean))
        else:
            square = kernel[np.ix_(rows, rows)] + penalty * np.eye(int(rows.sum()))
            found[:, own] = mean + kernel[:, rows] @ cho_solve(cho_factor(square), y - mean)
    return found
