"""Buffers that are used again once nobody looks at them any more."""

import math
import sys
import threading

import numpy as np
import numpy.typing as npt

from scdata._blocks import Array

_STEP = 1 << 16  # bytes that sizes are rounded up to
_MOST = 64  # buffers kept


class BufferPool:
    """Memory for batches: fresh pages are slow, so a buffer comes back when its last array or tensor is freed.

    Every array that is handed out is a view of the buffer that owns the memory, and so is every slice and every tensor made
    of it. The interpreter counts these views: a buffer to which only the pool refers is free.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buffers: list[Array] = []

    def take(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """An uninitialized array."""
        kind, n_bytes = np.dtype(dtype), math.prod(np.atleast_1d(shape).tolist()) * np.dtype(dtype).itemsize
        size = -(-max(n_bytes, 1) // _STEP) * _STEP
        with self._lock:
            found = None
            for i in range(len(self._buffers)):
                # two references: the list's and the argument of getrefcount
                fits = size <= self._buffers[i].nbytes <= 2 * size
                if fits and sys.getrefcount(self._buffers[i]) == 2:
                    found = self._buffers[i]
                    break
            if found is None:
                found = np.empty(size, np.uint8)
                if len(self._buffers) >= _MOST:
                    self._buffers.pop(0)
                self._buffers.append(found)
            return found[:n_bytes].view(kind).reshape(shape)
