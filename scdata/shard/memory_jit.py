"""Memory at an address, for compiled loops over many blocks, whose arrays cannot all be arguments.

Nothing is checked here, and nothing kept alive: callers hold the arrays that the addresses are of. What makes the decoder of
counts stay inside them: `parse_block` has Arrow validate offsets (rising, within their data), the reader compares a block's
number of cells with the index from which rows are drawn, and buffers are as long as the offsets of `codes` say.
"""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_BYTE, _INT, _LONG = ir.IntType(8), ir.IntType(32), ir.IntType(64)


@intrinsic
def pointer(typingctx: Any, address: Any) -> Any:
    """The address as a pointer, for `numba.carray`."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _BYTE.as_pointer())

    return types.voidptr(types.int64), build


@intrinsic
def byte_at(typingctx: Any, address: Any) -> Any:
    """int64: the byte there."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.load(builder.inttoptr(arguments[0], _BYTE.as_pointer())), _LONG)

    return types.int64(types.int64), build


@intrinsic
def int32_at(typingctx: Any, address: Any) -> Any:
    """int64: the int32 there."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sext(builder.load(builder.inttoptr(arguments[0], _INT.as_pointer()), align=4), _LONG)

    return types.int64(types.int64), build


@intrinsic
def fetch_early(typingctx: Any, address: Any) -> Any:
    """Have the processor fetch what stands there into its cache; any address will do."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], _BYTE.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, _INT, _INT, _INT])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        # to read, soon, into the data cache
        builder.call(fetch, [place, _INT(0), _INT(3), _INT(1)])
        return context.get_dummy_value()

    return types.void(types.int64), build


@numba.njit(nogil=True, cache=True)
def take_jit(addresses, block, row, out):  # type: ignore[no-untyped-def]
    """``out[i]`` = entry ``row[i]`` of the array at ``addresses[block[i]]``, which is of the type of `out`."""
    for i in range(len(row)):
        out[i] = numba.carray(pointer(addresses[block[i]]), (row[i] + 1,), out.dtype)[row[i]]
