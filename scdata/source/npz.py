"""Counts in a folder of ``X.npz``, as scipy.sparse.save_npz writes it, ``obs.parquet`` and ``var.parquet``."""

import os
import weakref
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._blocks import I64, Array
from scdata._errors import SourceError
from scdata._storage import Storage, is_local
from scdata.source.anndata_matrix import CsrMatrix
from scdata.source.base import bounds
from scdata.source.columns import other_columns_note
from scdata.source.export_facts import SIDE_FILES, ExportFacts, facts_beside
from scdata.source.far_file import FarFile
from scdata.source.fingerprint import Sha, hash_facts
from scdata.source.npy_member import NpyMember
from scdata.source.parquet_frame import ParquetFrame
from scdata.source.place import Place, SourceOptions
from scdata.source.shared import shared_var
from scdata.source.stored import StoredSource
from scdata.source.written import stat_of_folder

_MATRIX, _OBS, _VAR = "X.npz", "obs.parquet", "var.parquet"
KIND, SCHEME = f"a folder of {_MATRIX}, {_OBS} and {_VAR}", ""
TAKES = frozenset({"dataset_column"})


def recognizes(place: Place) -> bool:
    """True for a folder that holds the three."""
    return {_MATRIX, _OBS, _VAR} <= place.names


def open_place(place: Place, options: SourceOptions) -> "Sequence[NpzSource]":
    """The one source there."""
    return [NpzSource(place.uri, options.dataset_column, place.name, options.storage)]


class NpzSource(StoredSource):
    """A CSR matrix of SciPy's with frames of pandas beside it, as ``scdata export --format npz`` writes them.

    The counts are read in slices. ``indptr`` and the columns of obs that are asked for are held in memory. Where the archive
    is compressed, a worker that starts in the middle decompresses what is before.

    Parameters
    ----------
    path
        The folder, or its address.
    dataset_column, name, storage
        See `StoredSource`.

    Raises
    ------
    SourceError
        At the first use, if a file is damaged, they do not fit one another, or the matrix is not CSR.
    StorageError
        At any use, if a store does not answer, or refuses.
    """

    _DAMAGE = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, pa.ArrowException)
    _handles = ("_archive", "_matrix", "_obs_frame")
    _closer: "weakref.finalize[[], NpzSource] | None" = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        dataset_column: str | None = None,
        name: str | None = None,
        storage: Storage | None = None,
    ) -> None:
        super().__init__(path, None, dataset_column, name, storage)

    @cached_property
    def n_obs(self) -> int:
        self._matrix  # noqa: B018  first use: a damaged matrix shows before any row is read
        return self._obs_frame.n_rows

    @cached_property
    def var(self) -> pa.Table:
        with self._reading(_VAR):
            frame = ParquetFrame(self._path / _VAR)
            columns = {name: frame.column(name) for name in frame.types if name != "var_name"}
            return shared_var(pa.table({"var_name": frame.index(), **columns}))

    @property
    def _obs_schema(self) -> pa.Schema:
        return pa.schema(list(self._obs_frame.types.items()))

    @property
    def notes(self) -> tuple[str, ...]:
        return (*other_columns_note(self._obs_frame.left_out), *self._facts_notes)

    @cached_property
    def _facts(self) -> ExportFacts:
        return facts_beside(self._path, self.uri)

    def row_nnz(self, rows: slice) -> I64 | None:
        start, stop = bounds(rows, self.n_obs, self.uri)
        return self._matrix.row_nnz(start, stop)

    def stat(self) -> Mapping[str, int]:
        return stat_of_folder(self._path, self.uri, {_MATRIX, _OBS, _VAR, *SIDE_FILES}.__contains__)

    def close(self) -> None:
        super().close()
        if self._closer:
            self._closer()

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        path = self._path / _MATRIX
        with self._reading(_MATRIX):
            file: Any = path.open("rb") if is_local(path) else FarFile(path)
            # the archive and its members refer to one another, so that the file would be closed at some time only
            self._closer = weakref.finalize(self, file.close)
            return zipfile.ZipFile(file)

    @cached_property
    def _obs_frame(self) -> ParquetFrame:
        with self._reading(_OBS):
            return ParquetFrame(self._path / _OBS)

    @cached_property
    def _matrix(self) -> CsrMatrix:
        with self._reading(_MATRIX):
            layout = _small(self._archive, "format").item()
            shape = tuple(_small(self._archive, "shape").tolist())
            if layout not in (b"csr", "csr"):
                raise SourceError(
                    f"{self.uri}, {_MATRIX}: the layout {layout!r}, and CSR is read: "
                    "scipy.sparse.save_npz(path, scipy.sparse.load_npz(path).tocsr())"
                )
            expected = self._obs_frame.n_rows, len(self.var)
            if shape != expected:
                raise SourceError(
                    f"{self.uri}: the matrix has the shape {shape}, obs and var {expected}; write them again"
                )
            members = {name: NpyMember(self._archive, name) for name in ("indptr", "indices", "data")}
            arrays = {**members, "indptr": members["indptr"][:]}
            return CsrMatrix(arrays, shape[0], f"{self.uri}, {_MATRIX}")

    @property
    def _layer_name(self) -> str:
        return "X"

    def _remedy(self) -> str:
        return f"{_MATRIX} must hold raw counts: write them there"

    def _obs_columns(self, start: int, stop: int, columns: list[str]) -> dict[str, pa.Array]:
        with self._reading(_OBS):
            return {name: self._obs_frame.column(name)[start:stop] for name in columns}

    def _obs_names(self, start: int, stop: int) -> pa.Array:
        with self._reading(_OBS):
            return self._obs_frame.index()[start:stop]

    def _values(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        with self._reading(f"{_MATRIX}, cells {start}:{stop}"):
            return self._matrix.rows(start, stop)

    def _hash_values(self, sha: Sha) -> None:
        # the archive has a checksum of all that an array holds and is, whether it is compressed or not
        with self._reading(_MATRIX):
            hash_facts(
                sha, **{name: self._archive.getinfo(f"{name}.npy").CRC for name in ("indptr", "indices", "data")}
            )


def _small(archive: zipfile.ZipFile, name: str) -> np.ndarray[Any, Any]:
    """A member of some bytes, whole."""
    with archive.open(f"{name}.npy") as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
