"""CUDA sources: for what no CuPy function does in a few passes. Each ``NAME.cu`` stands beside the module that launches it.

Sources are compiled by NVRTC when they are first launched on a device (`make check-cuda` compiles them without one). Rules
that every kernel keeps, so that it can also run on a CPU for tests (`tests/cuda/`): parameters are pointers and numbers of
fixed size, shared memory is one array given by the launch, threads meet only at ``__syncthreads``, which all of them reach.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from scdata._backend import backend
from scdata._blocks import Array

ROOT = Path(__file__).parent
# a product and a sum must round separately, as on the CPU
OPTIONS = ("--std=c++17", "--fmad=false")
_SHARED_BYTES = 48 << 10  # what a block gets without asking


def sources() -> list[str]:
    """Paths of all sources, relative to the package."""
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.cu"))


@cache
def _kernel(cupy: Any, source: str, name: str) -> Any:
    module = cupy.RawModule(code=(ROOT / source).read_text(), options=OPTIONS)
    return module.get_function(name)


def laid_out(x: Array, dtype: type[np.generic]) -> Array:
    """A device array as a kernel reads it: of one type and lying together; `x` itself where it is so already."""
    array: Array = backend(x).ascontiguousarray(x.astype(dtype, copy=False))
    return array


def launch(
    xp: Any, source: str, name: str, blocks: int, threads: int, arguments: Sequence[Any], shared_bytes: int = 0
) -> None:
    """Run a kernel on the current stream.

    Parameters
    ----------
    xp
        ``cupy``, as `backend` gives it.
    source, name
        Path of the source relative to the package, and the kernel in it.
    blocks, threads
        Size of the grid (0: nothing runs) and of a block.
    arguments
        Device arrays and NumPy numbers of the types that the kernel declares; nobody checks (`laid_out`).
    shared_bytes
        Shared memory of a block; more than 48 KB needs a device that has it.
    """
    if blocks == 0:
        return
    kernel = _kernel(xp, source, name)
    if shared_bytes > _SHARED_BYTES:
        kernel.max_dynamic_shared_size_bytes = shared_bytes
    kernel((blocks,), (threads,), tuple(arguments), shared_mem=shared_bytes)
