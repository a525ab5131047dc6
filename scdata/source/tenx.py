"""Counts in a 10x Genomics feature-barcode matrix (``.h5`` of Cell Ranger), read in slices of cells through h5py."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scdata._blocks import I64, Array
from scdata._errors import ScdataError, SourceError
from scdata._storage import Storage, is_local
from scdata.source.anndata_matrix import CsrMatrix
from scdata.source.base import bounds
from scdata.source.far_file import no_collection
from scdata.source.fingerprint import Sha
from scdata.source.h5ad import is_hdf5
from scdata.source.hdf5 import HDF5_DAMAGE, file_of, open_hdf5, using
from scdata.source.place import Place, SourceOptions
from scdata.source.shared import shared_var
from scdata.source.stored import StoredSource
from scdata.source.written import stat_of_file

KIND, SCHEME = "a 10x .h5 file", ""
TAKES: frozenset[str] = frozenset()

_GENES = b"Gene Expression"  # of all feature types, the one that is read


def recognizes(place: Place) -> bool:
    """True for an HDF5 file with a matrix of barcodes, as Cell Ranger 2 and later write it."""
    if not is_hdf5(place):
        return False
    try:
        path = place.path
        with no_collection(path), file_of(path) as file:
            return bool(_matrix_groups(file))
    except ScdataError:
        raise
    except OSError:
        return False  # damaged: the reader of h5ad files says how


def open_place(place: Place, options: SourceOptions) -> "Sequence[TenxSource]":
    """The one source there."""
    return [TenxSource(place.uri, place.name, options.storage)]


def _matrix_groups(file: Any) -> list[str]:
    return [name for name in file if "barcodes" in getattr(file[name], "keys", tuple)()]


class TenxSource(StoredSource):
    """Genes of a feature-barcode matrix; features of other types (antibodies, guides, peaks) are left out.

    Parameters
    ----------
    path
        The file, or its address. Cell Ranger 2 stored one matrix a genome; a file with several is refused.
    name, storage
        See `StoredSource`.

    Raises
    ------
    SourceError
        At the first use, if the file is damaged, or holds several matrices or no genes.
    StorageError
        At any use, if a store does not answer, or refuses.
    """

    _DAMAGE = (*HDF5_DAMAGE, AttributeError, UnicodeDecodeError)
    _handles = ("_group", "_matrix")

    def __init__(self, path: str | os.PathLike[str], name: str | None = None, storage: Storage | None = None) -> None:
        super().__init__(path, None, None, name, storage)

    @cached_property
    def n_obs(self) -> int:
        self._matrix  # noqa: B018  first use: a damaged matrix shows before any row is read
        with self._reading("barcodes"):
            return int(self._group["barcodes"].shape[0])

    @cached_property
    def var(self) -> pa.Table:
        ids, names = self._features
        with self._reading("features"):
            columns = {"var_name": ids, "gene_ids": ids, "gene_symbol": names}
            return shared_var(
                pa.table({name: pa.array(own[self._is_gene].tolist(), pa.string()) for name, own in columns.items()})
            )

    @property
    def _obs_schema(self) -> pa.Schema:
        return pa.schema([])

    @property
    def notes(self) -> tuple[str, ...]:
        others = int((~self._is_gene).sum())
        return (f"{others:,} features that are no genes are left out",) if others else ()

    def row_nnz(self, rows: slice) -> I64 | None:
        start, stop = bounds(rows, self.n_obs, self.uri)
        with self._reading(f"indptr of cells {start}:{stop}"):
            return self._matrix.row_nnz(start, stop)

    def stat(self) -> Mapping[str, int]:
        return stat_of_file(self._path, self.uri)

    @cached_property
    def _group(self) -> Any:
        if is_local(self._path):
            self.stat()  # says where it was looked for
        with self._reading("file"):
            file = open_hdf5(self._path, self)
            groups = _matrix_groups(file)
        if len(groups) != 1:
            raise SourceError(
                f"{self.uri}: {len(groups)} matrices ({', '.join(groups)}); one is expected: split it by genome"
            )
        return file[groups[0]]

    @cached_property
    def _features(self) -> tuple[Array, Array]:
        """Ids and names of all features."""
        with self._reading("features"):
            group = self._group
            new = "features" in group
            ids, names = (
                (group["features/id"], group["features/name"]) if new else (group["genes"], group["gene_names"])
            )
            found = np.array([i.decode() for i in ids[:]], object), np.array([n.decode() for n in names[:]], object)
        if len(found[0]) != len(found[1]):
            raise SourceError(f"{self.uri}: {len(found[0])} feature ids, {len(found[1])} names; the file is damaged")
        return found

    @cached_property
    def _is_gene(self) -> npt.NDArray[np.bool_]:
        n = len(self._features[0])
        with self._reading("features"):
            types = self._group["features/feature_type"][:] if "features" in self._group else None
        genes = np.ones(n, bool) if types is None else np.asarray(types) == _GENES
        if len(genes) != n or not genes.any():
            raise SourceError(
                f"{self.uri}: {int(genes.sum())} of {n} features are of type {_GENES.decode()!r}: no counts here"
            )
        return genes

    @cached_property
    def _matrix(self) -> CsrMatrix:
        group, n_features = self._group, len(self._features[0])
        with self._reading("matrix"):
            shape = tuple(int(n) for n in group["shape"][:])
            n_cells = int(group["barcodes"].shape[0])
        if shape != (n_features, n_cells):
            raise SourceError(
                f"{self.uri}: the shape {shape}, but features and barcodes have {(n_features, n_cells)}; the file is damaged"
            )
        # columns of the file are cells: compressed by column there is compressed by cell here
        with self._reading("matrix"):
            return CsrMatrix(group, n_cells, f"{self.uri}, matrix")

    @property
    def _layer_name(self) -> str:
        return "matrix"

    def _remedy(self) -> str:
        return "a feature-barcode matrix has counts only: get the file again"

    def _obs_columns(self, start: int, stop: int, columns: list[str]) -> dict[str, pa.Array]:
        return {}

    def _obs_names(self, start: int, stop: int) -> pa.Array:
        with self._reading(f"barcodes {start}:{stop}"):
            return pa.array([name.decode() for name in self._group["barcodes"][start:stop]], pa.string())

    def _values(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        with self._reading(f"cells {start}:{stop}"):
            indptr, features, values = self._matrix.rows(start, stop)
        n_features = len(self._is_gene)
        if len(features) and not (features.min() >= 0 and features.max() < n_features):
            worst = int(features.min() if features.min() < 0 else features.max())
            raise SourceError(
                f"{self.uri}: feature {worst} in cells {start}:{stop} is outside its {n_features} features; the file is damaged"
            )
        if self._is_gene.all():
            return indptr, features, values
        keep = self._is_gene[features]
        kept_before = np.concatenate([[0], np.cumsum(keep)])
        column = np.cumsum(self._is_gene) - 1
        return kept_before[indptr], column[features[keep]], values[keep]

    def _hash_values(self, sha: Sha) -> None:
        with self._reading("matrix"):
            self._matrix.hash_into(sha)

    def _access(self) -> AbstractContextManager[None]:
        return using(self, self._path)
