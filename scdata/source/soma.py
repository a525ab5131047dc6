"""Counts in a SOMA experiment, read in contiguous slices of soma_joinids."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._blocks import I64, Array
from scdata._errors import SourceError
from scdata._storage import Storage, is_local, is_remote
from scdata.source.base import not_there
from scdata.source.columns import other_columns_note, plain, plain_type, text
from scdata.source.fingerprint import EDGE_BYTES, Sha, hash_facts, hash_numbers
from scdata.source.place import Place, SourceOptions
from scdata.source.soma_context import last_write, reading_soma, soma, soma_context, time_of
from scdata.source.soma_triples import csr_of_triples
from scdata.source.stored import StoredSource
from scdata.source.written import files_below, stat_of_folder

_JOINID = "soma_joinid"

# Rows at either end that give the first and last MB of values
_EDGE_ROWS = 1024

KIND, SCHEME = "the folder of a SOMA experiment", ""
TAKES = frozenset({"layer", "measurement", "dataset_column"})


def recognizes(place: Place) -> bool:
    """True for the folder of a TileDB group."""
    return "__group" in place.names


def open_place(place: Place, options: SourceOptions) -> "Sequence[SomaSource]":
    """The one source there.

    Raises
    ------
    SourceError
        If the group is no experiment.
    """
    uri, storage = place.uri, options.storage
    if is_remote(uri) and not uri.startswith("s3://"):
        raise SourceError(f"{uri}: SOMA experiments are read from folders and from s3://; copy it to one of them")
    with reading_soma(uri, "experiment"):
        there = soma().Experiment.exists(uri, context=soma_context(storage))
    if not there:
        raise SourceError(f"{uri} is a TileDB group, but not a SOMA experiment (a part of one?); name its folder")
    return [SomaSource(uri, options.measurement or "RNA", options.layer, options.dataset_column, place.name, storage)]


def now_ms() -> int:
    """The time, in ms since 1970."""
    return time.time_ns() // 1_000_000


class SomaSource(StoredSource):
    """Counts of one X layer of a SOMA experiment.

    The data are those of the moment when the address was made: later writes are not seen, in no process that
    the address is sent to. `version` is the time of the last write that is seen; `pin` goes back to that of an earlier
    address. TileDB hangs in a forked process; start workers by spawn.

    Parameters
    ----------
    uri
        Folder of the experiment, or its ``s3://`` address.
    measurement
        Name of the measurement.
    layer
        Name of the X layer. None: ``"raw"`` if there, else ``"counts"``, else the only layer there is.
    dataset_column
        See `StoredSource`.
    name, storage
        See `StoredSource`.

    Raises
    ------
    SourceError
        At the first use, if there is no experiment, or its cells are not numbered 0 to n−1.
    LayerNotFoundError
        At the first use, if the measurement or layer is not there, or None does not tell which.
    StorageError
        At any use, if a store does not answer, or refuses.

    Examples
    --------
    >>> source = SomaSource("atlas_soma", layer="raw")  # doctest: +SKIP
    >>> block = source.read(slice(0, 4096), ["cell_type"])  # doctest: +SKIP
    """

    _travels = (*StoredSource._travels, "measurement", "_timestamp_ms")

    def __init__(
        self,
        uri: str | os.PathLike[str],
        measurement: str = "RNA",
        layer: str | None = None,
        dataset_column: str | None = None,
        name: str | None = None,
        storage: Storage | None = None,
    ) -> None:
        super().__init__(os.fspath(uri).rstrip("/"), layer, dataset_column, name, storage)
        self.measurement = measurement
        self._timestamp_ms = now_ms()

    @cached_property
    def version(self) -> int:
        """Time of the last write that is seen, in ms since 1970."""
        return last_write(files_below(self._path, self.uri), self._timestamp_ms)

    def pin(self, version: int) -> None:
        """See what was written up to a time, and nothing after it."""
        if version != self.version:
            self.forget()
        self._timestamp_ms = version

    @cached_property
    def n_obs(self) -> int:
        with self._reading("obs"):
            return self._numbered(self._experiment.obs, "obs")

    @cached_property
    def var(self) -> pa.Table:
        frame = self._measured.var
        with self._reading("var"):
            self._numbered(frame, "var")
            stored = frame.read().concat().sort_by(_JOINID)
        columns = {name: plain(stored[name]) for name in _plain_columns(frame)}
        strings = [name for name, values in columns.items() if values.type == pa.string()]
        index = "var_id" if "var_id" in columns else strings[0] if strings else None
        names = text(stored[_JOINID].combine_chunks()) if index is None else columns[index]
        columns.pop("var_id", None)
        columns.pop("var_name", None)
        return pa.table({"var_name": names, **columns})

    @cached_property
    def _obs_schema(self) -> pa.Schema:
        with self._reading("obs"):
            types = _plain_columns(self._experiment.obs)
        types.pop("obs_id", None)
        return pa.schema(list(types.items()))

    @property
    def notes(self) -> tuple[str, ...]:
        names = [field.name for field in self._experiment.obs.schema if not field.name.startswith("soma_")]
        return other_columns_note(sorted(set(names) - {*self._obs_schema.names, "obs_id"}))

    def row_nnz(self, rows: slice) -> I64 | None:
        return None

    def stat(self) -> Mapping[str, int]:
        """Of what is seen: later writes change nothing here."""
        until = self._timestamp_ms
        return stat_of_folder(self._path, self.uri, lambda name: (time_of(name) or until + 1) <= until)

    @cached_property
    def _experiment(self) -> Any:
        where = f" in {self._path.absolute()}" if is_local(self._path) else ""
        with self._reading(f"SOMA experiment{where}"):
            context = soma_context(self.storage)
            return soma().Experiment.open(self._address, context=context, tiledb_timestamp=self._timestamp_ms)

    @cached_property
    def _measured(self) -> Any:
        with self._reading("ms"):
            measurements = self._experiment.ms
            if self.measurement not in measurements:
                raise not_there("measurement", self.measurement, measurements, self.uri)
            return measurements[self.measurement]

    @cached_property
    def _layer_name(self) -> str:
        with self._reading("X"):
            there = list(self._measured.X)
        if self.layer is None:
            for name in ("raw", "counts", *(there if len(there) == 1 else ())):
                if name in there:
                    return name
        elif self.layer in there:
            return self.layer
        raise not_there("X layer", self.layer or "raw", there, self.uri)

    @cached_property
    def _matrix(self) -> Any:
        with self._reading(f"layer {self._layer_name}"):
            matrix = self._measured.X[self._layer_name]
        if matrix.soma_type != "SOMASparseNDArray":
            raise SourceError(
                f"{self.uri}, layer {self._layer_name}: {matrix.soma_type} cannot be read; write it as sparse"
            )
        return matrix

    def _numbered(self, frame: Any, what: str) -> int:
        """The number of rows, whose joinids must be the numbers below it."""
        n = int(frame.count)
        # the joinid is the only key, so no two rows share one: first, last and number tell all
        ends = frame.non_empty_domain()[0] if n and tuple(frame.index_column_names) == (_JOINID,) else None
        if n and (ends is None or tuple(map(int, ends)) != (0, n - 1)):
            found = f"run from {ends[0]} to {ends[1]}" if ends else f"are not the key of {what}"
            raise SourceError(
                f"{self.uri}: {what} has {n} rows whose joinids {found}; all of 0 to {n - 1} are needed; "
                "write the experiment again, for example with tiledbsoma.io.from_anndata"
            )
        return n

    def _remedy(self) -> str:
        return f"the layers there are: {', '.join(self._measured.X)}; name one with raw counts by --layer (layer=)"

    def _obs_columns(self, start: int, stop: int, columns: list[str]) -> dict[str, pa.Array]:
        table = self._obs_table(start, stop, columns)
        return {column: plain(table[column]) for column in columns}

    def _obs_names(self, start: int, stop: int) -> pa.Array:
        if "obs_id" not in self._experiment.obs.schema.names:
            return text(pa.array(range(start, stop), pa.int64()))
        return plain(self._obs_table(start, stop, ["obs_id"])["obs_id"])

    def _obs_table(self, start: int, stop: int, columns: list[str]) -> pa.Table:
        frame = self._experiment.obs
        if start == stop or not columns:
            return frame.schema.empty_table().select(columns)
        with self._reading(f"obs rows {start}:{stop}"):
            read = frame.read((slice(start, stop - 1),), column_names=[_JOINID, *columns]).concat()
        return read.sort_by(_JOINID)

    def _values(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        matrix = self._matrix
        if start == stop:
            return np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        with self._reading(f"layer {self._layer_name}, rows {start}:{stop}"):
            tables = matrix.read((slice(start, stop - 1),)).tables()
            return csr_of_triples(tables, start, stop, f"{self.uri}, layer {self._layer_name}")

    def _hash_values(self, sha: Sha) -> None:
        n = self.n_obs
        with self._reading(f"layer {self._layer_name}"):
            # not its nnz: where fragments overlap, TileDB reads every cell for that
            hash_facts(sha, domain=[list(map(int, ends)) for ends in self._matrix.non_empty_domain()])
        for start, stop in ((0, min(_EDGE_ROWS, n)), (max(n - _EDGE_ROWS, 0), n)):
            indptr, columns, values = self._values(start, stop)
            row = np.repeat(np.arange(stop - start), np.diff(indptr))
            # the order within a cell is that of TileDB's tiles, which is not content
            order = np.lexsort((columns, row))
            count = EDGE_BYTES // max(values.dtype.itemsize, 1)
            edge = order[:count] if start == 0 else order[-count:]
            for part in (row, columns, values):
                hash_numbers(sha, part[edge])

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        with reading_soma(self.uri, what):
            yield


def _plain_columns(frame: Any) -> dict[str, pa.DataType]:
    """The columns that hold scalars of ours, with the type they are given as; TileDB's own ones left out."""
    types = {field.name: plain_type(field.type) for field in frame.schema if not field.name.startswith("soma_")}
    return {name: kind for name, kind in types.items() if kind is not None}
