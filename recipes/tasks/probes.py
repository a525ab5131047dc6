"""What reads labels off a representation: each probe is trained on the training cells and names a label for every test cell."""

import warnings
from collections.abc import Callable

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

N_NEIGHBORS = 5
Features = np.ndarray | sparse.csr_matrix
Probe = Callable[[Features, np.ndarray, Features], np.ndarray]


def knn(train: Features, labels: np.ndarray, test: Features) -> np.ndarray:
    """The label of most of the five nearest training cells, by Euclidean distance: of no more than a label has."""
    most = int(np.unique(labels, return_counts=True)[1].max())
    return KNeighborsClassifier(min(N_NEIGHBORS, most)).fit(train, labels).predict(test)


def linear(train: Features, labels: np.ndarray, test: Features) -> np.ndarray:
    """Logistic regression (L2, C = 1), every label of the same weight in all (``class_weight="balanced"``).

    Dense features get mean 0 and variance 1 on the training cells; sparse ones stay as they are, because all are of one unit.
    """
    if not sparse.issparse(train):
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
    with warnings.catch_warnings():
        # 1,000 steps without an end are as good as what comes after them
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(class_weight="balanced", max_iter=1000).fit(train, labels).predict(test)


PROBES: dict[str, Probe] = {"kNN": knn, "linear": linear}
