"""A stand-in for the module ``cupy`` on machines without a device: NumPy arrays in a box, CUDA kernels run on the CPU.

It offers only what is used and is sure to be in CuPy, in the forms that CuPy takes, and refuses what only NumPy does:

- an array of a device never becomes a NumPy array by itself, and does not mix with one; a single element stays an array;
- no `repeat` by an array, no `lexsort` of a tuple, no ``max(initial=…)``, no 0-d array where an integer must stand;
- assigning to the same place twice is an error (CuPy keeps any of the two);
- a kernel gets arrays that lie together and have the type that it declares; it may not write beyond them;
- fresh memory holds rubbish;
- copies on other streams happen as late as the events allow, or at once, so that a missing wait is seen.

What it cannot find: functions of CuPy that are slow, that wait for the device, or that give another result in rare cases
(CuPy takes an index beyond the end for one from the start); copies that come too early; memory that a stream gets back while
another still uses it. `check.py` compares names and parameters with an installed CuPy.
"""

import sys
from contextlib import contextmanager

import numpy as np
from standin_array import DTYPES, GUARD, RUBBISH, ndarray, operand, ufuncs
from standin_cuda import RawModule, cuda, state

from scdata import _backend, _cuda

__all__ = ["RawModule", "cuda", "state"]

globals().update(ufuncs)
globals().update({name: getattr(np, name) for name in DTYPES})


def _integer(n):
    if isinstance(n, ndarray):
        raise TypeError("a device array where an integer must stand")
    return n


def _shape(shape):
    return tuple(map(_integer, shape)) if isinstance(shape, tuple) else (int(_integer(shape)),)


def empty(shape, dtype=float):
    shape = _shape(shape)
    dtype = np.dtype(dtype)
    n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    root = np.full(n_bytes + 2 * GUARD, RUBBISH, np.uint8)
    return ndarray(root[GUARD : GUARD + n_bytes].view(dtype).reshape(shape), root)


def full(shape, fill_value, dtype=None):
    made = empty(shape, np.asarray(operand(fill_value)).dtype if dtype is None else dtype)
    made._a[...] = operand(fill_value)
    return made


def zeros(shape, dtype=float):
    return full(shape, 0, dtype)


def arange(start, stop=None, step=1, dtype=None):
    if stop is None:
        start, stop = 0, start
    return asarray(np.arange(_integer(start), _integer(stop), _integer(step), dtype))


def array(obj, dtype=None):
    made = np.array(obj._a if isinstance(obj, ndarray) else obj, dtype)
    if made.dtype == object:
        raise TypeError("not numbers")
    fresh = empty(made.shape, made.dtype)
    fresh._a[...] = made
    return fresh


def asarray(a, dtype=None):
    if isinstance(a, ndarray) and dtype in (None, a.dtype):
        return a
    return array(a, dtype)


def ascontiguousarray(a):
    return a if a._a.flags.c_contiguous else array(a)


def _plain(name, *parameters):
    """A function that takes device arrays and numbers, with these parameters and no others."""

    def function(*given, **named):
        unknown = set(named) - set(parameters)
        if unknown or len(given) > len(parameters):
            raise TypeError(f"{name}() takes {parameters}")
        values = dict(zip(parameters, given, strict=False)) | named
        arrays = {key: value._a if isinstance(value, ndarray) else value for key, value in values.items()}
        if any(isinstance(value, np.ndarray | list) for value in values.values()):
            raise TypeError(f"{name}() of a NumPy array or a list")
        first = parameters[0]
        if not isinstance(values[first], ndarray) and name not in ("where",):
            raise TypeError(f"{name}() of {type(values[first])}")
        result = getattr(np, name)(
            *[arrays.pop(key) for key in parameters if key in arrays and key != "kind"], **arrays
        )
        return tuple(map(ndarray, result)) if isinstance(result, tuple) else ndarray(result)

    function.parameters = parameters
    return function


clip = _plain("clip", "a", "a_min", "a_max")
flatnonzero = _plain("flatnonzero", "a")
where = _plain("where", "condition", "x", "y")


def broadcast_to(array, shape):
    return ndarray(np.broadcast_to(_box(array)._a, shape))


def from_dlpack(array):
    # that of NumPy may be read-only
    return ndarray(array.numpy())


def concatenate(tup, axis=0):
    return array(np.concatenate([_box(a)._a for a in tup], axis))


def _box(a):
    if not isinstance(a, ndarray):
        raise TypeError(f"{type(a)} among device arrays")
    return a


def cumsum(a, axis=None, dtype=None, out=None):
    result = np.cumsum(_box(a)._a, axis, dtype)
    if out is None:
        return ndarray(result)
    out._a[...] = result
    return out


def diff(a, n=1, axis=-1, prepend=None, append=None):
    given = {"prepend": prepend, "append": append}
    return ndarray(np.diff(_box(a)._a, n, axis, **{k: operand(v) for k, v in given.items() if v is not None}))


def searchsorted(a, v, side="left"):
    if not isinstance(v, ndarray | int | float):
        raise NotImplementedError(f"searchsorted of {type(v)}")
    return asarray(np.asarray(np.searchsorted(_box(a)._a, operand(v), side), np.int64))


def bincount(x, weights=None, minlength=None):
    if _box(x).dtype.kind not in "iu":
        raise TypeError("x must be int array")
    held = None if weights is None else _box(weights)._a
    return ndarray(np.bincount(x._a, held, 0 if minlength is None else int(_integer(minlength))))


def unique(ar, return_index=False, return_inverse=False, return_counts=False):
    result = np.unique(_box(ar)._a, return_index, return_inverse, return_counts)
    return tuple(map(ndarray, result)) if isinstance(result, tuple) else ndarray(result)


def sort(a, axis=-1, kind=None):
    made = a.copy()
    made.sort(axis, kind)
    return made


def argsort(a, axis=-1, kind=None):
    return a.argsort(axis, kind)


def repeat(a, repeats, axis=None):
    if not isinstance(repeats, int):
        raise TypeError("CuPy repeats by a number, not by an array")
    return ndarray(np.repeat(_box(a)._a, repeats, axis))


@contextmanager
def installed():
    """The stand-in as ``cupy``, for code that looks for it; gives this module."""
    own, before, copies = sys.modules[__name__], sys.modules.get("cupy"), _backend._copies
    _cuda._kernel.cache_clear()
    state.order, state.late, state.n_streams = 0, [True], 0
    sys.modules["cupy"], _backend._copies = own, {}
    try:
        yield own
    finally:
        _backend._copies = copies
        del sys.modules["cupy"]
        if before is not None:
            sys.modules["cupy"] = before
        _cuda._kernel.cache_clear()
