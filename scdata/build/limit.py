"""``--limit N``: the N cells with the smallest keys, so that a smaller limit keeps a part of what a larger one keeps."""

import numpy as np

from scdata._blocks import I64, Array
from scdata._splitmix import keys, stream

_TOP_BITS = 16


def limit_keys(cell_id: I64, seed: int) -> Array:
    """uint64 (C,): a bijection of `cell_id`, so no two are equal."""
    return keys(cell_id, stream(seed, "limit"))


class SmallestKeys:
    """The n-th smallest of uint64 keys that come in parts, twice, in memory that hardly grows with their number.

    Parameters
    ----------
    n
        Which one; at least 1.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._histogram = np.zeros(1 << _TOP_BITS, np.int64)
        self._own: list[Array] = []

    def count(self, keys: Array) -> None:
        """Take in some keys, the first time."""
        self._histogram += np.bincount((keys >> np.uint64(64 - _TOP_BITS)).astype(np.int64), minlength=1 << _TOP_BITS)

    @property
    def enough(self) -> bool:
        """True if more than n keys were counted, so that some are beyond."""
        return int(self._histogram.sum()) > self._n

    def collect(self, keys: Array) -> None:
        """Take in some keys, the second time: those in the range that holds the n-th are kept."""
        self._own.append(keys[keys >> np.uint64(64 - _TOP_BITS) == np.uint64(self._range())])

    def nth(self) -> int:
        """The n-th smallest key, after all were collected."""
        before = int(self._histogram[: self._range()].sum())
        return int(np.sort(np.concatenate(self._own))[self._n - before - 1])

    def _range(self) -> int:
        return int(np.searchsorted(np.cumsum(self._histogram), self._n))
