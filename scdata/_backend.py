"""Which library an array belongs to: NumPy here, CuPy on a device. Decided here and nowhere else.

Kernels take the library of the array they are given (``xp = backend(x)``), so that one definition serves both machines.
CuPy is imported only once an array of its own arrives, or a device is asked for.
"""

import sys
import weakref
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from scdata._blocks import I64, Array

_copies: dict[tuple[int, int], tuple[weakref.ref[Any], Any]] = {}


def backend(x: Any) -> Any:
    """The module whose functions work on `x`: ``numpy``, or ``cupy`` for an array on a device."""
    cupy = sys.modules.get("cupy")
    return cupy if cupy is not None and isinstance(x, cupy.ndarray) else np


def on_device(x: Any) -> bool:
    """True for an array in the memory of a device."""
    return backend(x) is not np


@cache
def device_count() -> int:
    """CUDA devices that CuPy can use; 0 without CuPy, a driver, or a device."""
    try:
        cupy = import_module("cupy")

        return int(cupy.cuda.runtime.getDeviceCount())
    except Exception:  # the driver's error type exists only where CuPy does
        return 0


def row_of_entry(indptr: I64) -> I64:
    """int64 (T,): the row each entry of a CSR belongs to, on the machine of `indptr`."""
    xp = backend(indptr)
    n_rows = len(indptr) - 1
    if xp is np:
        return np.repeat(np.arange(n_rows), np.diff(indptr))
    # CuPy cannot repeat by an array: an entry's row is the number of rows that end at or before it
    return xp.searchsorted(indptr[1:], xp.arange(int(indptr[-1])), side="right")


def per_entry(of_row: Array, indptr: I64) -> Array:
    """(T,): the number of its row for each entry of a CSR: ``of_row[row_of_entry(indptr)]``."""
    if on_device(of_row):
        return of_row[row_of_entry(indptr)]
    return np.repeat(of_row, np.diff(indptr))


def row_ends(lengths: Array) -> I64:
    """int64 (C+1,): where rows of these lengths begin and end, on their machine."""
    xp = backend(lengths)
    return xp.concatenate((xp.zeros(1, np.int64), xp.cumsum(lengths, dtype=np.int64)))


def longest_row(indptr: I64) -> int:
    """Entries of the longest row; 0 where there is none."""
    lengths = backend(indptr).diff(indptr)
    return int(lengths.max()) if len(lengths) else 0


def order_in_rows(indptr: I64, keys: Array) -> I64:
    """int64 (T,): the entries of each row by rising key, equal ones in their order; on their machine."""
    xp = backend(keys)
    order = xp.argsort(keys, kind="stable")
    return order[xp.argsort(row_of_entry(indptr)[order], kind="stable")]


def to_host(x: Any) -> Array:
    """`x` as a NumPy array: itself, or a copy from the device."""
    host: Array = x.get() if on_device(x) else x
    return host


def beside(x: Any, table: Array) -> Array:
    """A lookup table on the machine of `x`, copied there once for as long as the table lives.

    Parameters
    ----------
    x
        An array of either library.
    table
        A NumPy array that nobody changes any more.

    Returns
    -------
    `table` itself, or its copy on the device.
    """
    xp = backend(x)
    if xp is np:
        return table
    key = (id(table), xp.cuda.runtime.getDevice())
    known = _copies.get(key)
    if known is None or known[0]() is not table:
        # the id of a table that is gone may come back: its entry goes with it
        known = _copies[key] = (weakref.ref(table, lambda _: _copies.pop(key, None)), xp.asarray(table))
        xp.cuda.get_current_stream().synchronize()  # other streams will read it
    return known[1]
