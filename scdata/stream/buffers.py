"""Buffers that are used again once nobody looks at them any more."""

import math
import os
import sys
import threading

import numpy as np
import numpy.typing as npt

from scdata._blocks import Array

_LEAST = 1 << 16  # bytes of the smallest buffer
_STEPS = 8  # sizes between one power of two and the next, so that like sizes are the same
_MOST = 256  # buffers kept


class BufferPool:
    """Memory for blocks and batches: fresh pages are slow, so a buffer comes back when its last array or tensor is freed.

    Every array that is handed out is a view of the buffer that owns the memory, and so is every slice and every tensor made
    of it. The interpreter counts these views: a buffer to which only the pool refers is free. In another process, forked or
    reached by pickle, a pool is empty.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._buffers: dict[int, list[Array]] = {}

    def __reduce__(self) -> tuple[type["BufferPool"], tuple[()]]:
        return BufferPool, ()

    def take(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """An uninitialized array."""
        kind = np.dtype(dtype)
        n_bytes = (shape if isinstance(shape, int) else math.prod(shape)) * kind.itemsize
        size = _rounded(n_bytes)
        if self._process != os.getpid():
            # the lock may have been held by a thread that was not forked
            self.__init__()  # type: ignore[misc]
        with self._lock:
            found = self._free(size)
            if found is None:
                if sum(map(len, self._buffers.values())) >= _MOST:
                    self._forget()
                found = np.empty(size, np.uint8)
                self._buffers.setdefault(size, []).append(found)
            return found[:n_bytes].view(kind).reshape(shape)

    def _free(self, size: int) -> Array | None:
        """A free buffer of a size, or of up to twice that."""
        for own in sorted(self._buffers):
            if not size <= own <= 2 * size:
                continue
            for buffer in self._buffers[own]:
                # three references: the list's, this loop's, and the argument of getrefcount
                if sys.getrefcount(buffer) == 3:
                    return buffer
        return None

    def _forget(self) -> None:
        """Let go of the oldest buffer of the size that came first."""
        size = next(iter(self._buffers))
        self._buffers[size].pop(0)
        if not self._buffers[size]:
            del self._buffers[size]


def _rounded(n_bytes: int) -> int:
    """The least size of ours that holds so many bytes."""
    if n_bytes <= _LEAST:
        return _LEAST
    step = (1 << (n_bytes - 1).bit_length() - 1) // _STEPS
    return -(-n_bytes // step) * step
