"""Stored values to integer counts, or the reason why they are none."""

from collections.abc import Callable

import numpy as np

from scdata._blocks import I32, Array
from scdata._errors import NotCountsError

LARGEST_COUNT = 2**31 - 1

# values checked at a time: the passes over them then stay in the cache
_BLOCK = 1 << 16


def as_counts(data: Array, *, where: str, row_of: Callable[[int], int] | None = None, remedy: str = "") -> I32:
    """Turn stored values into counts.

    Parameters
    ----------
    data
        Bool, integers or floats (T,), in either byte order.
    where
        The file or URI and the layer, for messages.
    row_of
        Gives the row of the source that a position in `data` belongs to, for messages.
    remedy
        What the user can do, for messages.

    Returns
    -------
    int32 (T,), zeros kept; `data` itself where it is int32 already.

    Raises
    ------
    NotCountsError
        If a value is negative, NaN, infinite, fractional or over 2**31 − 1, or the dtype holds no numbers.

    Examples
    --------
    >>> as_counts(np.array([1.0, 70000.0], np.float32), where="demo")
    array([    1, 70000], dtype=int32)
    """
    if data.dtype == np.bool_:
        return data.astype(np.int32)
    if data.dtype.kind == "f":
        counts = _from_floats(data)
    elif data.dtype.kind in "iu":
        counts = _from_integers(data)
    else:
        raise NotCountsError(_sentence(f"{where}: values of dtype {data.dtype} are not counts", remedy))
    if counts is None:
        raise NotCountsError(_reason(data, where, row_of, remedy))
    return counts


def _from_integers(data: Array) -> I32 | None:
    if len(data) and (data.min() < 0 or data.max() > LARGEST_COUNT):
        return None
    return data.astype(np.int32, copy=False)


def _from_floats(data: Array) -> I32 | None:
    counts = np.empty(len(data), np.int32)
    with np.errstate(invalid="ignore"):
        for start in range(0, len(data), _BLOCK):
            # float16 cannot express the limit
            part = data[start : start + _BLOCK].astype(np.promote_types(data.dtype, np.float32), copy=False)
            whole = counts[start : start + _BLOCK]
            # NaN fails both comparisons; only then is the cast defined on every machine
            if not (part.min() >= 0 and part.max() < LARGEST_COUNT + 1):
                return None
            whole[...] = part
            if not (whole.astype(part.dtype) == part).all():
                return None
    return counts


def _reason(data: Array, where: str, row_of: Callable[[int], int] | None, remedy: str) -> str:
    with np.errstate(invalid="ignore"):
        # float32 cannot express the limit: the next number above it is 2**31
        bad = ~((data >= 0) & (data < LARGEST_COUNT + 1))
        if data.dtype.kind == "f":
            bad |= np.floor(data) != data
    at = int(np.argmax(bad))
    value = data[at].item()
    if not np.isfinite(value):
        why = "not finite, so these are not counts"
    elif value < 0:
        why = "negative, so these are not counts: the matrix looks scaled or normalized"
    elif value > LARGEST_COUNT:
        why = f"over {LARGEST_COUNT}, the largest count there can be"
    else:
        why = "not a whole number: the matrix looks normalized"
    row = "" if row_of is None else f" in row {row_of(at)}"
    return _sentence(f"{where}: the value {value:.9g}{row} is {why}", remedy)


def _sentence(problem: str, remedy: str) -> str:
    return f"{problem}; {remedy}" if remedy else problem
