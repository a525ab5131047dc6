"""A matrix in AnnData's layout, read in slices of rows: CSR or dense, never whole."""

from bisect import bisect_right
from typing import Any, Protocol

import numpy as np

from scdata._blocks import I64, Array
from scdata._errors import SourceError
from scdata.source.fingerprint import EDGE_BYTES, Sha, hash_numbers

# A probe looks at this many values, at this many places
PROBE_VALUES = 20_000
_PROBE_PLACES = 10

_INDPTR_ROWS = 1 << 20


class Matrix(Protocol):
    """Rows of values in an open file or store."""

    def rows(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        """CSR of rows ``start:stop``: indptr int64 from 0, column numbers, values, as stored."""

    def row_nnz(self, start: int, stop: int) -> I64 | None:
        """int64 (C,): stored values a row, or None if the storage does not tell."""

    def probe(self) -> list[tuple[int, Array]]:
        """Values at places spread over the matrix, each with the position of its first."""

    def row_of(self, position: int) -> int:
        """The row that a position given by `probe` belongs to."""

    def hash_into(self, sha: Sha) -> None:
        """Add the layout and the first and last MB of values."""


def open_matrix(item: Any, shape: tuple[int, int], uri: str, layer: str, written_by: str) -> Matrix:
    """The matrix in an item of h5py or zarr.

    Parameters
    ----------
    written_by
        Suffix of AnnData's functions for such storage: ``"h5ad"`` or ``"zarr"``.

    Raises
    ------
    SourceError
        If it is column-compressed, of another shape or encoding, or its arrays do not fit one another.
    """
    where = f"{uri}, layer {layer}"
    kind = item.attrs.get("encoding-type", "")
    if kind == "csc_matrix":
        raise SourceError(
            f"{where}: stored by columns (CSC), where reading some cells means reading all; convert it once: "
            f"import anndata; a = anndata.read_{written_by}({uri!r}); {_to_csr(layer)}; "
            f"a.write_{written_by}('NEW.{written_by}')"
        )
    if kind not in ("csr_matrix", "array"):
        raise SourceError(f"{where}: the encoding {kind!r}; CSR ('csr_matrix') and dense ('array') can be read")
    found = tuple(int(n) for n in (item.shape if kind == "array" else item.attrs["shape"]))
    if found != shape:
        raise SourceError(f"{where}: the shape {found}, but obs and var have {shape}; write the file again")
    return DenseMatrix(item) if kind == "array" else CsrMatrix(item, shape[0], where)


def _to_csr(layer: str) -> str:
    if layer == "X":
        return "a.X = a.X.tocsr()"
    if layer == "raw.X":
        return "a = a.raw.to_adata(); a.X = a.X.tocsr()"
    return f"a.layers[{layer!r}] = a.layers[{layer!r}].tocsr()"


class CsrMatrix:
    """A CSR group: ``indptr``, ``indices``, ``data``."""

    def __init__(self, group: Any, n_rows: int, where: str) -> None:
        self._indptr, self._indices, self._data = group["indptr"], group["indices"], group["data"]
        self._where = where
        nnz = len(self._data)
        if len(self._indptr) != n_rows + 1:
            self._damaged(f"indptr has {len(self._indptr)} entries, {n_rows} rows need {n_rows + 1}")
        if len(self._indices) != nnz:
            self._damaged(f"indices has {len(self._indices)} entries, data {nnz}")
        for name, numbers in (("indptr", self._indptr), ("indices", self._indices)):
            if numbers.dtype.kind not in "iu":
                self._damaged(f"{name} is of the type {numbers.dtype}, not of integers")
        if self._indptr[0] != 0 or self._indptr[-1] != nnz:
            self._damaged(f"indptr runs from {self._indptr[0]} to {self._indptr[-1]}, data has {nnz} entries")

    def rows(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        indptr = self._checked_indptr(start, stop)
        stored = slice(int(indptr[0]), int(indptr[-1]))
        return indptr - indptr[0], self._indices[stored], self._data[stored]

    def row_nnz(self, start: int, stop: int) -> I64 | None:
        return np.diff(self._checked_indptr(start, stop))

    def probe(self) -> list[tuple[int, Array]]:
        n = PROBE_VALUES // _PROBE_PLACES
        last = max(len(self._data) - n, 0)
        places = sorted({place * last // (_PROBE_PLACES - 1) for place in range(_PROBE_PLACES)})
        return [(place, self._data[place : place + n]) for place in places]

    def row_of(self, position: int) -> int:
        return bisect_right(self._indptr, position) - 1

    def hash_into(self, sha: Sha) -> None:
        for start in range(0, len(self._indptr), _INDPTR_ROWS):
            hash_numbers(sha, self._indptr[start : start + _INDPTR_ROWS].astype(np.int64))
        n = EDGE_BYTES // self._data.dtype.itemsize
        hash_numbers(sha, self._data[:n])
        hash_numbers(sha, self._data[max(len(self._data) - n, 0) :])

    def _checked_indptr(self, start: int, stop: int) -> I64:
        indptr: I64 = self._indptr[start : stop + 1].astype(np.int64)
        fall = np.flatnonzero(np.diff(indptr) < 0)
        if len(fall):
            at = int(fall[0])
            self._damaged(f"indptr falls from {indptr[at]} to {indptr[at + 1]} at row {start + at}")
        if indptr[0] < 0 or indptr[-1] > len(self._data):
            self._damaged(
                f"indptr of rows {start}:{stop} runs from {indptr[0]} to {indptr[-1]}, outside the "
                f"{len(self._data)} entries of data"
            )
        return indptr

    def _damaged(self, how: str) -> None:
        raise SourceError(f"{self._where}: damaged: {how}; write the file again")


class DenseMatrix:
    """A dense dataset (C, G)."""

    def __init__(self, dataset: Any) -> None:
        self._values = dataset

    def rows(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        block = self._values[start:stop]
        row, column = np.nonzero(block)
        indptr = np.zeros(stop - start + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=stop - start), out=indptr[1:])
        return indptr, column, block[row, column]

    def row_nnz(self, start: int, stop: int) -> I64 | None:
        return None

    def probe(self) -> list[tuple[int, Array]]:
        n_rows, n_columns = self._values.shape
        n = min(n_rows, max(PROBE_VALUES // max(n_columns, 1), 1), _PROBE_PLACES)
        places = sorted({place * (n_rows - 1) // max(n - 1, 1) for place in range(n)})
        return [(row * n_columns, self._values[row]) for row in places]

    def row_of(self, position: int) -> int:
        return position // int(self._values.shape[1])

    def hash_into(self, sha: Sha) -> None:
        n_rows, n_columns = self._values.shape
        n = -(-EDGE_BYTES // max(n_columns * self._values.dtype.itemsize, 1))
        hash_numbers(sha, self._values[:n])
        hash_numbers(sha, self._values[max(n_rows - n, 0) :])
