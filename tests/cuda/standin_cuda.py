"""Kernels and streams of the stand-in for CuPy (see cupy_standin.py)."""

import types

import cuda_on_host
import numpy as np
from standin_array import GUARD, RUBBISH, ndarray

state = types.SimpleNamespace(
    order=0,  # in which threads and blocks take their turns: 0 in order, 1 backward, else a seed
    late=[True],  # whether the first stream made, the second, … hold back what they can; the last goes for all after it
    n_streams=0,
)


class _Kernel:
    def __init__(self, code, name):
        self._code, self._name = code, name
        cuda_on_host.parameters(code, name)
        self.max_dynamic_shared_size_bytes = 48 << 10

    def __call__(self, grid, block, args, shared_mem=0):
        if shared_mem > self.max_dynamic_shared_size_bytes or block[0] > 1024:
            raise RuntimeError(f"{self._name}: {shared_mem} bytes of shared memory, {block[0]} threads")
        values = []
        for value in args:
            if isinstance(value, ndarray) and not value._a.flags.c_contiguous:
                raise ValueError(f"{self._name}: an array that does not lie together")
            if not isinstance(value, ndarray | np.generic):
                raise TypeError(f"{self._name}: {type(value)} has no fixed size")
            values.append(value._a if isinstance(value, ndarray) else value)
        # CuPy makes at least one block, also where none was meant
        cuda_on_host.run(self._code, self._name, max(1, grid[0]), block[0], values, shared_mem, state.order)
        for value in args:
            root = getattr(value, "_root", None)
            if root is not None and not (
                (root[:GUARD] == RUBBISH).all() and (root[len(root) - GUARD :] == RUBBISH).all()
            ):
                raise RuntimeError(f"{self._name} writes beyond an array")


class RawModule:
    def __init__(self, *, code, options=()):
        self._code = code
        if "--fmad=false" not in options:
            raise ValueError("products and sums would round together on a device, and do not here")

    def get_function(self, name):
        return _Kernel(self._code, name)


# -- streams ---------------------------------------------------------------


class _Stream:
    """A queue. Its steps are taken when an event asks for them, or, where it is not late, at once."""

    def __init__(self, non_blocking=False):
        if not non_blocking:
            raise ValueError("a stream that waits for the default one overlaps nothing")
        self.waiting, self.ptr = [], 1
        self.late = state.late[min(state.n_streams, len(state.late) - 1)]
        state.n_streams += 1

    def __enter__(self):  # kernels run when they are launched, on any stream
        return self

    def __exit__(self, *_):
        pass

    def _append(self, step):
        self.waiting.append(step)
        if not self.late:
            self.synchronize()

    def synchronize(self):
        self._run(len(self.waiting))

    def _run(self, n):
        done, self.waiting[:n] = self.waiting[:n], []
        for step in done:
            step()

    def record(self):
        event = _Event(self)
        self._append(event.happen)
        return event

    def wait_event(self, event):
        self._append(event.synchronize)


class _Event:
    def __init__(self, stream):
        self._stream, self.happened = stream, False

    def happen(self):
        self.happened = True

    def synchronize(self):
        while not self.happened:
            self._stream._run(1)


class _Device:
    def __init__(self, device):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


_current = _Stream(non_blocking=True)
_current.late = False  # kernels of the stand-in run when they are launched
cuda = types.SimpleNamespace(
    Stream=_Stream,
    Device=_Device,
    get_current_stream=lambda: _current,
    alloc_pinned_memory=lambda n_bytes: bytearray(b"\xa5" * n_bytes),
    runtime=types.SimpleNamespace(getDevice=lambda: 0, getDeviceCount=lambda: 1),
)
