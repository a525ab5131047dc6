"""Exact sums of integers by key: the same in any order of adding, on every machine."""

from dataclasses import dataclass

import numpy as np

from scdata._backend import backend, to_host
from scdata._blocks import I64, Array

_LIMB = 32
_MASK = (1 << _LIMB) - 1


def sums_by_key(keys: I64, values: Array, n_keys: int) -> I64:
    """Sum of the values of each key.

    Parameters
    ----------
    keys
        int64 (T,), in ``range(n_keys)``, in any order; on the CPU or on a device.
    values
        integer (T,), from 0; a sum stays below 2**63.

    Returns
    -------
    int64 (n_keys,), exact, on the CPU.
    """
    xp = backend(keys)
    sums = xp.zeros(n_keys, xp.uint64)  # CuPy adds at places of uint64, not of int64
    xp.add.at(sums, keys, values.astype(xp.uint64))
    return to_host(sums).view(np.int64)


def counts_by_key(keys: I64, n_keys: int) -> I64:
    """int64 (n_keys,), on the CPU: how often each key stands there."""
    return to_host(backend(keys).bincount(keys, minlength=n_keys)).astype(np.int64, copy=False)


def check_squares(largest: int) -> None:
    """Refuse values whose squares could not be added up.

    Raises
    ------
    OverflowError
        If the largest is 2**36 or more.
    """
    if largest >> 36:
        raise OverflowError(f"{largest} cannot be squared here: values are below 2**36")


@dataclass(frozen=True)
class WideSums:
    """Sums that 64 bits may not hold: ``high * 2**32 + low`` with 0 ≤ low < 2**32; below 2**95.

    Two equal sums have equal parts, whatever they were added from.

    Parameters
    ----------
    high, low
        int64, of one shape.
    """

    high: I64
    low: I64

    @staticmethod
    def of_squares(keys: I64, values: Array, n_keys: int) -> "WideSums":
        """Sum of the squares of the values of each key: (n_keys,), on the CPU.

        Parameters
        ----------
        keys, values, n_keys
            As `sums_by_key`; values below 2**36, T below 2**23 (2**31 for values below 2**32).

        Raises
        ------
        OverflowError
            If a value is larger.
        """
        xp = backend(keys)
        value = values.astype(xp.uint64)
        largest = int(value.max()) if len(value) else 0
        check_squares(largest)
        if not largest >> 16:  # nearly always: then 64 bits hold the sums
            sums = sums_by_key(keys, value * value, n_keys)
            return WideSums(sums >> _LIMB, sums & _MASK)
        upper, lower = value >> np.uint64(_LIMB), value & np.uint64(_MASK)
        square = lower * lower
        high = (square >> np.uint64(_LIMB)) + np.uint64(2) * upper * lower + (upper * upper << np.uint64(_LIMB))
        low = sums_by_key(keys, square & np.uint64(_MASK), n_keys)
        return WideSums(sums_by_key(keys, high, n_keys) + (low >> _LIMB), low & _MASK)

    @staticmethod
    def zeros(shape: tuple[int, ...]) -> "WideSums":
        """Sums of nothing."""
        return WideSums(np.zeros(shape, np.int64), np.zeros(shape, np.int64))

    def reshape(self, shape: tuple[int, ...]) -> "WideSums":
        """The same sums in another shape."""
        return WideSums(self.high.reshape(shape), self.low.reshape(shape))

    def carried(self) -> "WideSums":
        """The same sums, of parts whose `low` has grown beyond its 32 bits."""
        return WideSums(self.high + (self.low >> _LIMB), self.low & _MASK)

    def add_at(self, rows: I64, other: "WideSums") -> None:
        """Add row i of `other` to row ``rows[i]``, in place; rows are distinct."""
        low = self.low[rows] + other.low
        self.high[rows] += other.high + (low >> _LIMB)
        self.low[rows] = low & _MASK

    def integers(self, row: int) -> Array:
        """One row of the sums as Python integers, in an array of objects."""
        return np.asarray(self.high[row].astype(object) * (1 << _LIMB) + self.low[row].astype(object))
