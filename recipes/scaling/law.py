"""Power laws of losses: L = a · x^(−α) + c, and bits per masked gene.

Method: Kendiukhov, arXiv 2602.15253: least squares of log(L − c) over log x, with c found by a grid search.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_GRID = 400


class Law(NamedTuple):
    """L = `a` · x^(−`alpha`) + `c`; `r2` is of the losses themselves, not of their logarithms."""

    a: float
    alpha: float
    c: float
    r2: float

    def at(self, x: float) -> float:
        return float(self.a * x**-self.alpha + self.c)


def fit_law(x: Sequence[float], losses: Sequence[float]) -> Law | None:
    """The law that leaves the least squared error in L, or None where there is none: fewer than four points, or losses that
    do not fall with x."""
    xs, ys = np.asarray(x, float), np.asarray(losses, float)
    if len(xs) < 4 or np.polyfit(np.log(xs), ys, 1)[0] >= 0:
        return None
    span = max(ys.max() - ys.min(), 1e-12)
    best: Law | None = None
    # from just below the least loss to far below it, closer together near it
    for c in ys.min() - span * np.geomspace(1e-3, 1e2, _GRID):
        slope, intercept = np.polyfit(np.log(xs), np.log(ys - c), 1)
        found = np.exp(intercept) * xs**slope + c
        r2 = 1 - float(((ys - found) ** 2).sum() / max(((ys - ys.mean()) ** 2).sum(), 1e-12))
        if best is None or r2 > best.r2:
            best = Law(math.exp(intercept), -float(slope), float(c), r2)
    return best


def bits(loss: float, unit: str) -> float:
    """Bits per masked gene.

    Parameters
    ----------
    loss
        Cross-entropy in nats, or a mean squared error.
    unit
        ``"nats"``, or the unit of the squared error, such as ``"bins^2"``.

    Returns
    -------
    float
        Nats / ln 2, the discrete entropy; or ½ · log2(2πe · MSE), the differential entropy of a Gaussian with that error: it
        moves by log2(s) where values are scaled by s, so it can be compared only with others in the same unit.
    """
    if unit == "nats":
        return loss / math.log(2)
    if not unit.endswith("^2"):
        raise ValueError(f"no bits of a loss in {unit!r}: nats, or a squared error such as bins^2")
    return 0.5 * math.log2(2 * math.pi * math.e * loss)


def scale_of(unit: str) -> str:
    """What a figure in bits is of, in words."""
    if unit == "nats":
        return "bits per masked gene (cross-entropy / ln 2)"
    return f"bits per masked gene (½·log2(2πe·MSE), values in {unit.removesuffix('^2')})"
