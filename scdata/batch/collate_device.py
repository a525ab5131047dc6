"""`scdata.batch.collate` on a device: one launch an array, where functions of CuPy would take ten."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scdata import _cuda
from scdata._backend import backend, beside
from scdata._blocks import I32, I64, Array

_SOURCE, _THREADS = "batch/collate.cu", 256


def mask_device(indptr: I64, mask: Array) -> None:
    """Write bool (B, L): True at tokens."""
    _launch("mask_rows", indptr, [], mask, [])


def pad_device(indptr: I64, flat: Array, out: Array, pad: float) -> None:
    """`pad_flat`; `out` lies together."""
    unsigned = _unsigned(out.dtype)
    behind = np.array([pad]).astype(out.dtype).view(unsigned)[0]
    own = _cuda.laid_out(flat, out.dtype.type).view(unsigned)
    _launch(f"pad_{out.dtype.itemsize}", indptr, [own], out.view(unsigned), [behind])


def dense_device(indptr: I64, token_ids: Array, values: Array, column_of_token: I32, out: Array) -> None:
    """`dense_rows`; `out` has entries of 4 or 8 bytes and lies together."""
    unsigned = _unsigned(out.dtype)
    own = [
        _cuda.laid_out(token_ids, np.int32),
        _cuda.laid_out(values, out.dtype.type).view(unsigned),
        beside(out, column_of_token),
    ]
    _launch(f"dense_{out.dtype.itemsize}", indptr, own, out.view(unsigned), [])


def _unsigned(kind: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"u{kind.itemsize}")


def _launch(name: str, indptr: I64, arrays: Sequence[Array], out: Array, numbers: Sequence[Any]) -> None:
    n_rows, width = out.shape
    first = _cuda.laid_out(indptr, np.int64)
    arguments = (first, *arrays, out, np.int64(width), *numbers)
    _cuda.launch(backend(out), _SOURCE, name, n_rows, _THREADS, arguments)
