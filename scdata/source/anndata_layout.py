"""What AnnData keeps in a file or store, however it is written: X, raw.X, layers, obs and var."""

from abc import abstractmethod
from functools import cached_property
from typing import Any

import pyarrow as pa

from scdata._blocks import I64, Array
from scdata._errors import NotCountsError
from scdata.source.anndata_frame import Frame
from scdata.source.anndata_matrix import Matrix, open_matrix
from scdata.source.base import bounds, not_there
from scdata.source.columns import other_columns_note
from scdata.source.export_facts import UNS_KEY, ExportFacts, facts_within
from scdata.source.fingerprint import Sha
from scdata.source.integers import as_counts
from scdata.source.measured_genes import MEASURED
from scdata.source.shared import shared_var
from scdata.source.stored import StoredSource

_RAW = "raw.X"


class AnnDataSource(StoredSource):
    """A `StoredSource` over groups and arrays in AnnData's layout; subclasses open them.

    Parameters
    ----------
    uri, layer, dataset_column, name, storage
        See `StoredSource`; `layer` is ``"X"``, ``"raw.X"`` (or ``"raw"``), or a name in layers. None: X if it holds counts,
        else raw.X if that does, which `notes` then says.
    """

    # Suffix of AnnData's functions that read and write such storage
    _WRITTEN_BY: str
    _MEASURED_IN = f"uns[{UNS_KEY!r}][{MEASURED!r}]"

    _travels = (*StoredSource._travels, "_chosen")
    _handles = ("_file", "_obs_frame", "_matrix")

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
        return shared_var(pa.table(columns))

    @cached_property
    def _obs_schema(self) -> pa.Schema:
        return pa.schema(list(self._obs_frame.types.items()))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        chosen = () if self._chosen[1] is None else (self._chosen[1],)
        return (*chosen, *other_columns_note(self._obs_frame.left_out), *self._facts_notes)

    @cached_property
    def _facts(self) -> ExportFacts:
        with self._reading("uns"):
            return facts_within(self._file)

    def row_nnz(self, rows: slice) -> I64 | None:
        start, stop = bounds(rows, self.n_obs, self.uri)
        with self._reading(f"indptr of rows {start}:{stop}"):
            return self._matrix.row_nnz(start, stop)

    @property
    @abstractmethod
    def _file(self) -> Any:
        """The root, open: groups by name, whose arrays give slices of rows."""

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
            return open_matrix(self._file[self._layers[layer]], shape, self.uri, layer, self._WRITTEN_BY)

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


def _is_null(item: Any) -> bool:
    """AnnData 0.12 writes a missing X as an empty dataset of encoding "null"."""
    return item is None or item.attrs.get("encoding-type") == "null"
