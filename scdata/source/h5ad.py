"""Counts in an h5ad file, read in slices of rows through h5py."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pyarrow as pa

from scdata._blocks import I64, Array
from scdata._errors import NotCountsError, ScdataError, SourceError
from scdata._storage import Storage, is_local
from scdata.source.base import bounds, not_there
from scdata.source.columns import other_columns_note
from scdata.source.far_file import no_collection
from scdata.source.fingerprint import Sha
from scdata.source.h5ad_frame import Frame
from scdata.source.h5ad_matrix import Matrix, open_matrix
from scdata.source.hdf5 import open_hdf5, used
from scdata.source.integers import as_counts
from scdata.source.place import Place, SourceOptions
from scdata.source.stored import StoredSource
from scdata.source.written import stat_of_file

_RAW = "raw.X"

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


class H5adSource(StoredSource):
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

    _travels = (*StoredSource._travels, "_chosen")
    _handles = ("_file", "_obs_frame", "_matrix")

    def __init__(
        self,
        path: str | os.PathLike[str],
        layer: str | None = None,
        dataset_column: str | None = None,
        name: str | None = None,
        storage: Storage | None = None,
    ) -> None:
        super().__init__(os.fspath(path), layer, dataset_column, name, storage)

    @cached_property
    def n_obs(self) -> int:
        self._matrix  # noqa: B018  first use: a layer without counts shows before any row is read
        return self._obs_frame.n_rows

    @cached_property
    def var(self) -> pa.Table:
        frame = self._var_frame(self._layer_name)
        with self._reading("var"):
            # the index has the first place, and the name if a column shares it
            columns = {"var_name": frame.index(0, frame.n_rows)}
            for name in frame.types:
                columns.setdefault(name, frame.read(name, 0, frame.n_rows))
        return pa.table(columns)

    @cached_property
    def obs_schema(self) -> pa.Schema:
        return pa.schema(list(self._obs_frame.types.items()))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        chosen = () if self._chosen[1] is None else (self._chosen[1],)
        return (*chosen, *other_columns_note(self._obs_frame.left_out))

    def row_nnz(self, rows: slice) -> I64 | None:
        start, stop = bounds(rows, self.n_obs, self.uri)
        with self._reading(f"indptr of rows {start}:{stop}"):
            return self._matrix.row_nnz(start, stop)

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

    @cached_property
    def _obs_frame(self) -> Frame:
        with self._reading("obs"):
            return Frame(self._file["obs"], f"{self.uri}, obs")

    def _var_frame(self, layer: str) -> Frame:
        group = "raw/var" if layer == _RAW else "var"
        with self._reading(group):
            return Frame(self._file[group], f"{self.uri}, {group}")

    @cached_property
    def _layers(self) -> dict[str, str]:
        """Path in the file of each matrix there is, by the name a user would give it."""
        there = {"X": "X", _RAW: "raw/X"}
        with self._reading("layers"):
            there.update({name: f"layers/{name}" for name in self._file.get("layers", ()) if name not in there})
            return {name: path for name, path in there.items() if not _is_null(self._file.get(path))}

    @cached_property
    def _chosen(self) -> tuple[str, str | None]:
        """Name of the layer to read, and a note if it is not the one that a user would expect."""
        asked = self.layer
        if asked == "raw" and "raw" not in self._layers:
            asked = _RAW
        if asked is not None:
            if asked not in self._layers:
                raise not_there("layer", asked, self._layers, self.uri)
            return asked, None
        if "X" in self._layers:
            problem = self._problem("X")
            if problem is None:
                return "X", None
            if _RAW not in self._layers or self._problem(_RAW) is not None:
                raise problem
            return _RAW, f"{self.name}: X is not counts; raw.X is used"
        if _RAW in self._layers and self._problem(_RAW) is None:
            return _RAW, f"{self.name}: there is no X; raw.X is used"
        raise not_there("layer", "X", self._layers, self.uri)

    @property
    def _layer_name(self) -> str:
        return self._chosen[0]

    @cached_property
    def _matrix(self) -> Matrix:
        return self._open(self._layer_name)

    def _open(self, layer: str) -> Matrix:
        shape = (self._obs_frame.n_rows, self._var_frame(layer).n_rows)
        with self._reading(layer):
            return open_matrix(self._file[self._layers[layer]], shape, self.uri, layer)

    def _problem(self, layer: str) -> NotCountsError | None:
        """What keeps a layer from being counts, as far as a sample of its values shows."""
        matrix = self._open(layer)
        with self._reading(layer):
            for position, values in matrix.probe():
                try:
                    as_counts(
                        values,
                        where=f"{self.uri}, layer {layer}",
                        row_of=lambda at, first=position: matrix.row_of(first + at),  # type: ignore[misc]
                        remedy=self._remedy(),
                    )
                except NotCountsError as error:
                    return error
        return None

    def _remedy(self) -> str:
        return f"the layers there are: {', '.join(self._layers)}; name one with raw counts by --layer (layer=)"

    def _obs_columns(self, start: int, stop: int, columns: list[str]) -> dict[str, pa.Array]:
        with self._reading(f"obs rows {start}:{stop}"):
            return {column: self._obs_frame.read(column, start, stop) for column in columns}

    def _obs_names(self, start: int, stop: int) -> pa.Array:
        with self._reading(f"obs rows {start}:{stop}"):
            return self._obs_frame.index(start, stop)

    def _values(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        with self._reading(f"layer {self._layer_name}, rows {start}:{stop}"):
            return self._matrix.rows(start, stop)

    def _hash_values(self, sha: Sha) -> None:
        with self._reading(f"layer {self._layer_name}"):
            self._matrix.hash_into(sha)

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Name the file and the part in what HDF5 says about damaged storage."""
        used(self)
        try:
            with no_collection(self._path):
                yield
        except ScdataError:
            raise
        except (OSError, KeyError, RuntimeError, pa.ArrowInvalid) as error:
            raise SourceError(f"{self.uri}, {what}: cannot be read ({error}); the file is damaged") from error


def _is_null(item: Any) -> bool:
    """AnnData 0.12 writes a missing X as an empty dataset of encoding "null"."""
    return item is None or item.attrs.get("encoding-type") == "null"
