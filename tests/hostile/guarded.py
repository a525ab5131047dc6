"""Memory that ends, or begins, where another page does that nobody may touch: a read beyond it ends the process."""

import ctypes
import mmap

import numpy as np

_PAGE = mmap.PAGESIZE
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Guarded:
    """Room for one array at a time, between two pages without rights."""

    def __init__(self, size):
        self._size = -(-size // _PAGE) * _PAGE
        self._map = mmap.mmap(-1, self._size + 2 * _PAGE)
        whole = np.frombuffer(self._map, np.uint8)
        for at in (0, _PAGE + self._size):
            if _LIBC.mprotect(whole.ctypes.data + at, _PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._room = whole[_PAGE : _PAGE + self._size]

    def array(self, n, dtype, at_end):
        """An array of n elements against one of the two pages."""
        size = n * np.dtype(dtype).itemsize
        room = self._room[self._size - size :] if at_end else self._room[:size]
        return room.view(dtype)

    def copy(self, array, at_end):
        """A copy of an array against one of the two pages."""
        own = self.array(len(array), array.dtype, at_end)
        own[:] = array
        return own
