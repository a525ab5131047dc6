"""Arrays and element-wise functions of the stand-in for CuPy (see cupy_standin.py)."""

import sys

import numpy as np

GUARD = 64
RUBBISH = 0xA5


class ndarray:
    """An array "on the device"."""

    def __init__(self, array, root=None):
        self._a = np.asarray(array)
        self._root = root  # the bytes it lies in, guards at both ends

    dtype = property(lambda self: self._a.dtype)
    shape = property(lambda self: self._a.shape)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    nbytes = property(lambda self: self._a.nbytes)
    flags = property(lambda self: self._a.flags)

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self):
        if self.size != 1:
            raise ValueError("the truth value of an array with more or less than one element")
        return bool(self._a)

    def __int__(self):
        return int(self._a.item())

    def __float__(self):
        return float(self._a.item())

    def __array__(self, *_, **__):
        raise TypeError("implicit conversion of a device array to NumPy")

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        # NumPy's operators and functions of a device array run there, where there is one of the name
        own = getattr(sys.modules["cupy_standin"], ufunc.__name__, None)
        if method != "__call__" or options or own is None:
            return NotImplemented
        return own(*inputs)

    def __array_function__(self, function, _, arguments, options):
        own = getattr(sys.modules["cupy_standin"], function.__name__, None)
        return NotImplemented if own is None else own(*arguments, **options)

    def __getitem__(self, index):
        return ndarray(self._a[_index(index)], self._root)

    def __setitem__(self, index, value):
        place = _index(index)
        for part in place if isinstance(place, tuple) else (place,):
            if isinstance(part, np.ndarray) and part.dtype.kind in "iu" and part.ndim and not isinstance(place, tuple):
                flat = np.where(part < 0, part + len(self._a), part).ravel()
                if len(np.unique(flat)) != len(flat):
                    raise ValueError("two values are assigned to one place")
        self._a[place] = operand(value)

    def astype(self, dtype, copy=True):
        made = self._a.astype(dtype, copy=copy)
        return self if made is self._a else ndarray(made)

    def view(self, dtype):
        return ndarray(self._a.view(dtype), self._root)

    def copy(self):
        return ndarray(self._a.copy())

    def ravel(self):
        return ndarray(self._a.ravel(), self._root)

    def reshape(self, *shape):
        return ndarray(self._a.reshape(*shape), self._root)

    def sort(self, axis=-1, kind=None):
        _check_kind(kind)
        if not self._a.flags.c_contiguous:
            raise NotImplementedError("sorting an array that does not lie together")
        self._a.sort(axis=axis)

    def argsort(self, axis=-1, kind=None):
        _check_kind(kind)
        return ndarray(self._a.argsort(axis=axis, kind="stable"))

    def max(self, axis=None):
        return ndarray(self._a.max(axis=axis))

    def min(self, axis=None):
        return ndarray(self._a.min(axis=axis))

    def sum(self, axis=None, dtype=None):
        return ndarray(self._a.sum(axis=axis, dtype=dtype))

    def any(self, axis=None):
        return ndarray(self._a.any(axis=axis))

    def all(self, axis=None):
        return ndarray(self._a.all(axis=axis))

    def item(self):
        return self._a.item()

    def tolist(self):
        return self._a.tolist()

    def get(self, stream=None, out=None, blocking=True):
        if out is None:
            return self._a.copy()
        if out.dtype != self.dtype or out.shape != self.shape or not self._a.flags.c_contiguous:
            raise TypeError(f"{self.dtype} {self.shape} cannot be copied to {out.dtype} {out.shape}")
        (stream or sys.modules["cupy_standin"].cuda.get_current_stream())._append(lambda: np.copyto(out, self._a))
        if blocking and stream is not None:
            stream.synchronize()
        return out

    def set(self, array, stream=None):
        if array.dtype != self.dtype or array.shape != self.shape or not self._a.flags.c_contiguous:
            raise TypeError(f"{array.dtype} {array.shape} cannot be copied to {self.dtype} {self.shape}")
        (stream or sys.modules["cupy_standin"].cuda.get_current_stream())._append(lambda: np.copyto(self._a, array))


def operand(value):
    """What may stand beside a device array: another, or a single number."""
    if isinstance(value, ndarray):
        return value._a
    if isinstance(value, np.ndarray | list | tuple):
        raise TypeError("a NumPy array or a list beside a device array")
    return value


def _index(index):
    if isinstance(index, tuple):
        return tuple(_index(part) for part in index)
    if isinstance(index, ndarray):
        return index._a
    if isinstance(index, slice):
        for bound in (index.start, index.stop, index.step):
            if isinstance(bound, ndarray):
                raise TypeError("a device array as the bound of a slice")
        return index
    if isinstance(index, np.ndarray | list):
        raise TypeError("a NumPy array or a list as an index of a device array")
    return index


def _check_kind(kind):
    if kind not in (None, "stable"):
        raise ValueError(f"kind = {kind!r}")


class ufunc:
    """An element-wise function."""

    def __init__(self, name):
        self.name, self._host = name, getattr(np, name)

    def __call__(self, *inputs, out=None):
        result = self._host(*map(operand, inputs))
        if out is None:
            return ndarray(result)
        out._a[...] = result
        return out

    def at(self, a, indices, b=None):
        if self.name not in ("add", "maximum", "minimum") or a.dtype.kind == "b" or a.dtype.itemsize < 4:
            raise TypeError(f"{self.name}.at of {a.dtype}")
        self._host.at(a._a, indices._a, operand(b))


UFUNCS = [
    "absolute", "add", "bitwise_and", "bitwise_or", "bitwise_xor", "divide", "equal", "expm1", "floor", "floor_divide",
    "greater", "greater_equal", "invert", "isfinite", "left_shift", "less", "less_equal", "log10", "log1p", "logical_and",
    "logical_not", "logical_or", "maximum", "minimum", "multiply", "negative", "not_equal", "remainder", "right_shift", "rint",
    "sqrt", "subtract", "true_divide",
]  # fmt: skip
OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
    "mod": "remainder", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "left_shift",
    "rshift": "right_shift", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal",
    "ne": "not_equal",
}  # fmt: skip
DTYPES = ["bool_", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float32", "float64"]

ufuncs = {name: ufunc(name) for name in UFUNCS}


def _operators():
    for operator, name in OPERATORS.items():
        function = ufuncs[name]
        setattr(ndarray, f"__{operator}__", lambda self, other, f=function: f(self, other))
        if name.startswith(("less", "greater", "equal", "not")):
            continue
        setattr(ndarray, f"__r{operator}__", lambda self, other, f=function: f(other, self))

        def in_place(self, other, f=function):
            result = f(self, other)._a
            if not np.can_cast(result.dtype, self.dtype, "same_kind") or result.shape != self.shape:
                raise TypeError(f"{result.dtype} {result.shape} into {self.dtype} {self.shape}")
            self._a[...] = result
            return self

        setattr(ndarray, f"__i{operator}__", in_place)
    ndarray.__neg__ = lambda self: ndarray(-self._a)
    ndarray.__invert__ = lambda self: ndarray(~self._a)
    ndarray.__hash__ = None


_operators()
