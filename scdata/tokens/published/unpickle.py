"""Published dictionaries come as pickles. This reads what such a pickle says without running any of it.

A pickle is a program for a stack machine. Here is that machine with the few instructions that a flat dictionary of strings,
integers, floats and NumPy scalars needs. It imports nothing and calls nothing: ``numpy.dtype`` and NumPy's ``scalar`` are
marks on the stack whose arguments are compared with the known ones. Every other instruction and name is refused. Sizes that
a pickle claims are compared with the bytes that are there, and the number of objects has a limit, so memory stays within
a few hundred MB whatever the file says.
"""

import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from scdata._errors import TokenizerError

MOST_BYTES = 64 << 20  # the largest published dictionary takes 4 MB
_MOST_OBJECTS = 1_000_000  # on the stack, in the memo and in the dictionary: three times what the largest one needs
_DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
_DTYPE, _SCALAR, _MARK = "numpy.dtype", "numpy scalar", "mark"
_GLOBALS = {
    ("numpy", "dtype"): _DTYPE,
    ("numpy.core.multiarray", "scalar"): _SCALAR,
    ("numpy._core.multiarray", "scalar"): _SCALAR,
}


class _Sign:
    """A mark on the stack; no pickle can make one but by its instruction."""

    def __init__(self, what: str) -> None:
        self.what = what


class _Dtype:
    """A dtype as it is being described: its code, and its byte order once that is told."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order: str | None = None


class _Refused(Exception):
    pass


def unpickle_table(data: bytes, where: str) -> dict[str, str | int | float]:
    """The dictionary in a pickle, if it holds nothing but strings and numbers.

    Parameters
    ----------
    data
        The whole file.
    where
        Its name, for messages.

    Returns
    -------
    Names to strings, integers of at most 64 bits, or floats; NumPy scalars become Python's.

    Raises
    ------
    TokenizerError
        If it is anything else: another instruction or name, a size beyond the file, too many objects, a cut file.
    """
    if len(data) > MOST_BYTES:
        raise TokenizerError(f"{where}: {len(data):,} bytes; pickles are read up to {MOST_BYTES >> 20} MB")
    machine = _Machine(len(data))
    try:
        for opcode, argument, position in pickletools.genops(data):
            machine.position = position or 0
            step = _STEPS.get(opcode.name)
            if step is None:
                raise _Refused(f"the instruction {opcode.name}")
            step(machine, argument)
        return machine.result()
    except _Refused as refused:
        raise TokenizerError(
            f"{where}: refused at byte {machine.position}: {refused}. Of pickles, only flat dictionaries of strings and "
            "numbers are read; nothing in them is run"
        ) from None
    except ValueError as error:  # of genops: cut short, or no instruction at all
        raise TokenizerError(f"{where}: not a whole pickle: {error}") from error


class _Machine:
    """Stack, memo, and the one dictionary."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.table: dict[str, str | int | float] | None = None

    def result(self) -> dict[str, str | int | float]:
        if self.position != self.size - 1:
            raise _Refused("bytes follow the end of the pickle")
        table = self.pop()
        if self.stack or self.table is None or table is not self.table:
            raise _Refused("the pickle is not one dictionary")
        return self.table

    # -- stack -------------------------------------------------------------

    def push(self, value: Any) -> None:
        self.stack.append(value)
        self._count()

    def pop(self) -> Any:
        if not self.stack or _is(self.stack[-1], _MARK):
            raise _Refused("nothing on the stack to take")
        return self.stack.pop()

    def pop_to_mark(self) -> tuple[Any, ...]:
        at = next((i for i in range(len(self.stack) - 1, -1, -1) if _is(self.stack[i], _MARK)), None)
        if at is None:
            raise _Refused("no mark on the stack")
        values = tuple(self.stack[at + 1 :])
        del self.stack[at:]
        return values

    def remember(self, index: int) -> None:
        if not self.stack:
            raise _Refused("nothing on the stack to remember")
        self.memo[index] = self.stack[-1]
        self._count()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise _Refused(f"object {index} was never remembered")
        self.push(self.memo[index])

    def _count(self) -> None:
        if len(self.stack) + len(self.memo) > _MOST_OBJECTS:
            raise _Refused(f"more than {_MOST_OBJECTS:,} objects")

    # -- instructions ------------------------------------------------------

    def protocol(self, number: int) -> None:
        if self.position != 0 or not 2 <= number <= 5:
            raise _Refused(f"protocol {number} there; 2 to 5 are read, named once, at the start")

    def frame(self, n_bytes: int) -> None:
        if n_bytes > self.size - self.position - 9:
            raise _Refused(f"a frame of {n_bytes:,} bytes where {self.size - self.position - 9:,} are left")

    def integer(self, value: int) -> None:
        if not -(1 << 63) <= value < 1 << 64:
            raise _Refused("an integer of more than 64 bits")
        self.push(value)

    def new_table(self, _: None) -> None:
        if self.table is not None:
            raise _Refused("a second dictionary")
        self.table = {}
        self.push(self.table)

    def set_items(self, values: tuple[Any, ...]) -> None:
        if not self.stack or self.stack[-1] is not self.table or self.table is None or len(values) % 2:
            raise _Refused("items for something that is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) is not str or type(value) not in (str, int, float):
                raise _Refused(f"an item of type {type(value).__name__} under a key of type {type(key).__name__}")
            if key in self.table:
                raise _Refused(f"the key {key[:80]!r} stands there twice")
            self.table[key] = value
        if len(self.table) > _MOST_OBJECTS:
            raise _Refused(f"more than {_MOST_OBJECTS:,} items")

    def set_item(self, _: None) -> None:
        value, key = self.pop(), self.pop()
        self.set_items((key, value))

    def named(self, module: Any, name: Any) -> None:
        what = _GLOBALS.get((module, name)) if type(module) is str and type(name) is str else None
        if what is None:
            raise _Refused(f"it asks for {f'{str(module)[:80]}.{str(name)[:80]}'!r}")
        self.push(_Sign(what))

    def stack_named(self, _: None) -> None:
        name, module = self.pop(), self.pop()
        if type(module) is not str or type(name) is not str:
            raise _Refused("it asks for something whose name is no string")
        self.named(module, name)

    def reduce(self, _: None) -> None:
        arguments, function = self.pop(), self.pop()
        if _is(function, _DTYPE) and type(arguments) is tuple and len(arguments) == 3:
            code, align, copy = arguments
            if type(code) is str and code in _DTYPES and align in (False, 0) and copy in (True, 1):
                self.push(_Dtype(code))
                return
            raise _Refused(f"a dtype other than {', '.join(_DTYPES)}")
        if _is(function, _SCALAR) and type(arguments) is tuple and len(arguments) == 2:
            self.push(_scalar(*arguments))
            return
        raise _Refused("a call of something that is no NumPy scalar")

    def build(self, _: None) -> None:
        state = self.pop()
        if not self.stack or type(self.stack[-1]) is not _Dtype:
            raise _Refused("a state for something that is no dtype")
        plain = (
            type(state) is tuple and len(state) == 8 and state[0] == 3 and state[2:] == (None, None, None, -1, -1, 0)
        )
        if not plain or state[1] not in ("<", ">", "|"):
            raise _Refused("a dtype with parts")
        self.stack[-1].order = state[1]


def _is(value: Any, what: str) -> bool:
    return type(value) is _Sign and value.what == what


def _scalar(dtype: Any, data: Any) -> int | float:
    if type(dtype) is not _Dtype or dtype.order is None or type(data) is not bytes:
        raise _Refused("a NumPy scalar without dtype or bytes")
    kind = np.dtype(dtype.order.replace("|", "") + dtype.code)
    if len(data) != kind.itemsize:
        raise _Refused(f"a NumPy scalar of {dtype.code} in {len(data)} bytes")
    value: int | float = np.frombuffer(data, kind)[0].item()
    return value


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.protocol,
    "FRAME": _Machine.frame,
    "STOP": lambda machine, _: None,
    "NONE": _Machine.push,
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1"), _Machine.integer),
    **dict.fromkeys(("BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _Machine.push),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES"), _Machine.push),
    "MARK": lambda machine, _: machine.push(_Sign(_MARK)),
    "TUPLE": lambda machine, _: machine.push(machine.pop_to_mark()),
    "TUPLE2": lambda machine, _: machine.push((machine.pop(), machine.pop())[::-1]),
    "TUPLE3": lambda machine, _: machine.push((machine.pop(), machine.pop(), machine.pop())[::-1]),
    "EMPTY_DICT": _Machine.new_table,
    "SETITEM": _Machine.set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _Machine.remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.recall),
    "GLOBAL": lambda machine, names: machine.named(*names.split(" ", 1)),
    "STACK_GLOBAL": _Machine.stack_named,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
