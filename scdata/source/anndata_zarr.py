"""Counts in an AnnData zarr store (formats 2 and 3, also sharded), read in slices of rows."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._blocks import I64, Array
from scdata._errors import SourceError
from scdata._optional import need
from scdata._storage import is_local
from scdata.source.anndata_layout import AnnDataSource
from scdata.source.place import Place, SourceOptions
from scdata.source.written import stat_of_folder

KIND, SCHEME = "an AnnData zarr store", ""
TAKES = frozenset({"layer", "dataset_column"})

# Chunks of a dense matrix are kept up to this; each spans few of its columns
_KEPT_BYTES = 256 << 20

# What a group of format 2 or 3 has
_MARKS = frozenset({".zgroup", "zarr.json"})


def recognizes(place: Place) -> bool:
    """True for a folder that is a zarr group."""
    return bool(_MARKS & place.names)


def open_place(place: Place, options: SourceOptions) -> "Sequence[ZarrSource]":
    """The one source there."""
    return [ZarrSource(place.uri, options.layer, options.dataset_column, place.name, options.storage)]


class ZarrSource(AnnDataSource):
    """Counts of a store that ``AnnData.write_zarr`` wrote: X, raw.X or a layer; CSR or dense; X is never read whole.

    Parameters
    ----------
    path
        The store's folder, or its address.
    layer
        See `H5adSource`.
    dataset_column, name, storage
        See `StoredSource`.

    Raises
    ------
    SourceError
        At the first use, if the store is not there, is no AnnData, or its matrix is CSC or damaged. A chunk of a CSR matrix
        that is missing is damage, though zarr reads it as zeros.
    StorageError
        At any use, if a store does not answer, or refuses.
    LayerNotFoundError, NotCountsError
        As `H5adSource`.

    Examples
    --------
    >>> source = ZarrSource("pbmc.zarr", layer="counts")  # doctest: +SKIP
    """

    _WRITTEN_BY = "zarr"
    _STORED_IN = "store"
    _DAMAGE = (OSError, LookupError, RuntimeError, TypeError, ValueError, pa.ArrowInvalid)

    def stat(self) -> Mapping[str, int]:
        return stat_of_folder(self._path, self.uri)

    @cached_property
    def _file(self) -> "_Group":
        zarr = need("zarr", "read zarr stores")
        path: Any = self._path
        if is_local(path):
            if not path.is_dir():
                raise SourceError(f"{self.uri}: no folder there; looked at {path.absolute()}")
            store = zarr.storage.LocalStore(path, read_only=True)
        else:
            options = {"storage_options": dict(path.storage_options), "read_only": True}
            store = zarr.storage.FsspecStore.from_url(str(path), **options)
        with self._reading("store"):
            group = _Group(zarr.open_group(store, mode="r"))
            for name in ("obs", "var"):
                if name not in group:
                    raise SourceError(f"{self.uri} is a zarr store but no AnnData: it has no {name!r}")
        return group

    def _values(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        indptr, indices, values = super()._values(start, stop)
        # zarr gives zeros for chunks that are not there; a row of CSR has few zeros, and its column 0 once
        doubtful = {"data": (values == 0).any(), "indices": np.count_nonzero(indices == 0) > stop - start}
        matrix = self._file[self._layers[self._layer_name]]
        for name in doubtful:
            if doubtful[name] and isinstance(matrix, _Group) and (missing := matrix[name].n_missing()):
                raise SourceError(
                    f"{self.uri}, layer {self._layer_name}, rows {start}:{stop}: chunks of {name} are not there "
                    f"({missing} of it); copy the store again"
                )
        return indptr, indices, values


class _Group:
    """A group of zarr as h5py gives one, its arrays as `_Rows`, each made once."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self._items: dict[str, Any] = {}
        self.attrs: Mapping[str, Any] = dict(group.attrs)

    def __contains__(self, name: str) -> bool:
        return name in self._items or name in self._group

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._group))

    def __getitem__(self, name: str) -> Any:
        if name not in self._items:
            item = self._group[name]
            self._items[name] = _Rows(item) if hasattr(item, "shape") else _Group(item)
        return self._items[name]

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default


class _Rows:
    """An array that is read by whole chunks along its first axis: the last one is kept, for the slice that begins in it."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self._kept: tuple[int, Array] | None = None  # first row, values
        self.attrs: Mapping[str, Any] = dict(array.attrs)
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | tuple[()]) -> Any:
        if isinstance(rows, tuple):
            return self._array[()]  # a scalar
        if not isinstance(rows, slice):
            at = range(len(self))[rows]
            return self[at : at + 1][0]
        start, stop, _ = rows.indices(len(self))
        if start >= stop:
            return np.empty((0, *self.shape[1:]), self.dtype)
        n = self._array.chunks[0]
        if n * prod(self.shape[1:]) * self.dtype.itemsize > _KEPT_BYTES and len(self.shape) > 1:
            return self._array[start:stop]
        first, end = start // n * n, min(-(-stop // n) * n, len(self))
        kept = self._kept
        if kept is not None and kept[0] == first:
            read = first + len(kept[1])
            values = kept[1] if read >= end else np.concatenate([kept[1], self._array[read:end]])
        else:
            values = self._array[first:end]
        last = (end - 1) // n * n
        # a copy, or all that was read would be kept with it
        self._kept = (last, values[last - first :] if last == first else values[last - first :].copy())
        return values[start - first : stop - first]

    def n_missing(self) -> int:
        """Chunks, or shards of them, that the store does not hold."""
        return max(int(self._array.nchunks - self._array.nchunks_initialized), 0)
