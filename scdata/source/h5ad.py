"""Counts in an h5ad file, read in slices of rows through h5py."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from scdata._errors import ScdataError, SourceError
from scdata._storage import is_local
from scdata.source.anndata_layout import AnnDataSource
from scdata.source.hdf5 import HDF5_DAMAGE, open_hdf5, using
from scdata.source.place import Place, SourceOptions
from scdata.source.written import stat_of_file

KIND, SCHEME = "an h5ad file", ""
TAKES = frozenset({"layer", "dataset_column"})


def is_hdf5(place: Place) -> bool:
    """True for a file in HDF5, whatever it is called."""
    return place.head.startswith(b"\x89HDF\r\n\x1a\n")


def recognizes(place: Place) -> bool:
    """True for a file in HDF5."""
    return is_hdf5(place)


def open_place(place: Place, options: SourceOptions) -> "Sequence[H5adSource]":
    """The one source there."""
    return [H5adSource(place.uri, options.layer, options.dataset_column, place.name, options.storage)]


class H5adSource(AnnDataSource):
    """Counts of an h5ad file: X, raw.X or a layer; CSR or dense; X is never read whole.

    Parameters
    ----------
    path
        The file, or its address.
    layer
        ``"X"``, ``"raw.X"`` (or ``"raw"``), or a name in layers. None: X if it holds counts, else raw.X if
        that does, which `notes` then says.
    dataset_column
        See `StoredSource`.
    name, storage
        See `StoredSource`.

    Raises
    ------
    SourceError
        At the first use, if the file is not there, truncated, no h5ad, or its matrix is CSC or damaged.
    StorageError
        At any use, if a store does not answer, or refuses.
    LayerNotFoundError
        At the first use, if the layer is not there.
    NotCountsError
        At the first use, if `layer` is None and neither X nor raw.X holds counts.

    Examples
    --------
    >>> source = H5adSource("pbmc.h5ad", layer="counts")  # doctest: +SKIP
    >>> block = source.read(slice(0, 1024), ["cell_type"])  # doctest: +SKIP
    """

    _WRITTEN_BY = "h5ad"
    _DAMAGE = HDF5_DAMAGE

    def stat(self) -> Mapping[str, int]:
        return stat_of_file(self._path, self.uri)

    @cached_property
    def _file(self) -> Any:
        if is_local(self._path):
            self.stat()  # says where it was looked for
        try:
            file = open_hdf5(self._path, self)
        except ScdataError:
            raise
        except OSError as error:
            how = "truncated: copy it again" if "truncated" in str(error) else "not an HDF5 file, so no h5ad"
            raise SourceError(f"{self.uri} is {how} ({error})") from error
        with self._reading("file"):
            for group in ("obs", "var"):
                if group not in file:
                    raise SourceError(f"{self.uri} is an HDF5 file but no h5ad: it has no {group!r}")
        return file

    def _access(self) -> AbstractContextManager[None]:
        return using(self, self._path)
