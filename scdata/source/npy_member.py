"""One array of an npz file, read in slices: it is never in memory whole, and what NumPy would unpickle is refused."""

import math
import zipfile
from typing import Any

import numpy as np

from scdata._blocks import Array

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NpyMember:
    """A one-dimensional array of numbers (n,) in an open archive.

    Slices that come one after the other are read once; one that lies before the last is found by reading from the start,
    because a compressed member can be read in no other way.

    Parameters
    ----------
    archive
        Open for reading.
    name
        Of the array, without ``.npy``.

    Raises
    ------
    KeyError
        If there is no such array.
    ValueError
        If it is no array, holds no numbers, has more axes than one, or another length than its header says.
    """

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        info = archive.getinfo(f"{name}.npy")
        self._file = archive.open(info)
        version = np.lib.format.read_magic(self._file)
        if version not in _HEADERS:
            raise ValueError(f"{name}.npy has the version {version} of its format")
        shape, _, dtype = _HEADERS[version](self._file)
        if len(shape) != 1 or dtype.kind not in "biuf":
            raise ValueError(f"{name}.npy has the shape {shape} and type {dtype}; one axis of numbers is expected")
        self.dtype, self._n, self._first = dtype, math.prod(shape), self._file.tell()
        if self._first + self._n * dtype.itemsize != info.file_size:
            raise ValueError(f"{name}.npy has {info.file_size} bytes, its header says {self._n} numbers of {dtype}")

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, rows: slice) -> Array:
        start, stop, _ = rows.indices(self._n)
        size = max(stop - start, 0) * self.dtype.itemsize
        self._file.seek(self._first + start * self.dtype.itemsize)
        data = self._file.read(size)
        if len(data) != size:
            raise EOFError(f"{len(data)} bytes of {size}")
        found: np.ndarray[Any, Any] = np.frombuffer(data, self.dtype)
        return found.astype(self.dtype.newbyteorder("="), copy=False)
