"""Counts in Parquet files with a list of gene ids and a list of counts a cell: scGPT's scBank, Tahoe-100M."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scdata._blocks import I64, Array
from scdata._errors import SourceError
from scdata._storage import is_local
from scdata._store_files import open_ranges, reaching
from scdata.source.base import bounds, not_there
from scdata.source.columns import other_columns_note, plain, plain_type, text
from scdata.source.export_facts import SIDE_FILE, SIDE_FILES, ExportFacts, facts_beside
from scdata.source.fingerprint import Sha, hash_facts, hash_numbers
from scdata.source.place import Place, SourceOptions
from scdata.source.ragged_genes import TABLE, RaggedGenes
from scdata.source.ragged_lists import csr_of_lists
from scdata.source.stored import StoredSource
from scdata.source.written import stat_of_file, stat_of_folder

KIND, SCHEME = "Parquet files with lists of genes and expressions", ""
TAKES = frozenset({"layer", "dataset_column"})

GENES, VALUES = "genes", "expressions"
_SUFFIX, _DATATABLE = ".parquet", ".datatable.parquet"
# Columns that name cells, the first there is
_NAMES = ("obs_name", "BARCODE_SUB_LIB_ID", "barcode", "id")
_EDGE_ROWS = 64
_AT_ONCE = 32  # files at an address that are asked for their rows together


def recognizes(place: Place) -> bool:
    """True for a Parquet file, or a folder of them."""
    return place.head.startswith(b"PAR1") or any(_is_part(name) for name in place.names)


def open_place(place: Place, options: SourceOptions) -> "Sequence[RaggedParquetSource]":
    """The one source there."""
    return [RaggedParquetSource(place.uri, options.layer, options.dataset_column, place.name, options.storage)]


def _is_part(name: str) -> bool:
    return name.endswith(_SUFFIX) and name != TABLE and not name.startswith((".", "_"))


class RaggedParquetSource(StoredSource):
    """Cells of one Parquet file, or of a folder of them in order of their names.

    Each row is a cell: ``genes``, a list of gene ids, and ``expressions``, a list of counts; other columns are obs. An entry
    at the beginning of a cell whose expression is negative is a marker (scGPT's ``<cls>``) and is left out. See `RaggedGenes`
    for the table of genes; where ``scdata.json`` of an export tells their feature ids, they are called by these.

    Parameters
    ----------
    path
        File or folder, or its address.
    layer
        Which of several tables of scBank (``NAME.datatable.parquet``) to read.
    dataset_column, name, storage
        See `StoredSource`.

    Raises
    ------
    SourceError
        At the first use, if a file is damaged or has no such columns, or there is no gene table. From `read`, if lists are of
        different lengths, or an id is not in the table.
    StorageError
        At any use, if a store does not answer, or refuses.
    LayerNotFoundError
        If there is no such table.
    """

    _travels = (*StoredSource._travels, "_files")
    _handles = ("_opened", "_lists_kept")

    @cached_property
    def n_obs(self) -> int:
        return int(self._starts[-1])

    @property
    def var(self) -> pa.Table:
        return self._table.var if self._var_by_id is None else self._var_by_id

    @cached_property
    def _var_by_id(self) -> pa.Table | None:
        """`var` by the feature ids that an export tells; None where it does not tell those of all."""
        return None if self._facts.gene_ids is None else self._table.by_feature_id(self._facts.gene_ids)

    @cached_property
    def _obs_schema(self) -> pa.Schema:
        kinds = {field.name: plain_type(field.type) for field in self._schema if field.name not in (GENES, VALUES)}
        return pa.schema([(name, kind) for name, kind in kinds.items() if kind is not None])

    @cached_property
    def notes(self) -> tuple[str, ...]:
        known = {GENES, VALUES, *self._obs_schema.names}
        left_out = (name for name in self._schema.names if name not in known)
        return (*other_columns_note(left_out), *self._facts_notes, *self._gene_notes)

    @property
    def _gene_notes(self) -> tuple[str, ...]:
        """Whether genes of an export, which adds obs columns, go by their names."""
        if not self._facts.added or self._var_by_id is not None:
            return ()
        return (f"genes go by their names in {self._table.name}: {SIDE_FILE} does not tell the feature ids of all",)

    @cached_property
    def _facts(self) -> ExportFacts:
        # beside one file of many stands what is said of all
        return ExportFacts() if self._single else facts_beside(self._path, self.uri)

    def row_nnz(self, rows: slice) -> I64 | None:
        bounds(rows, self.n_obs, self.uri)
        return None

    def stat(self) -> Mapping[str, int]:
        names = {name for name, _ in self._files}
        own = (
            stat_of_file(self._path, self.uri)
            if self._single
            else stat_of_folder(self._path, self.uri, {*names, *SIDE_FILES}.__contains__)
        )
        genes = self._table.stat()
        return {key: own[key] + genes[key] for key in ("size", "mtime_ns")}

    @cached_property
    def _files(self) -> list[tuple[str, int]]:
        """Name below the folder (empty for a single file) and rows of every file, in order."""
        with self._reading("folder"):
            names = [""]
            if self._path.is_dir():
                names = sorted(path.name for path in self._path.iterdir() if _is_part(path.name))
        tables = {name.removesuffix(_DATATABLE): name for name in names if name.endswith(_DATATABLE)}
        if self.layer is not None:
            if self.layer not in tables:
                raise not_there("table", self.layer, tables, self.uri)
            names = [tables[self.layer]]
        elif len(tables) > 1:
            raise SourceError(
                f"{self.uri}: several tables of the same cells; name one with --layer (layer=): {', '.join(tables)}"
            )
        if is_local(self._path):
            return [(name, self._rows_of(name)) for name in names]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(zip(names, pool.map(self._rows_of, names), strict=True))

    @property
    def _single(self) -> bool:
        """True if `path` is a file."""
        return self._files[0][0] == ""

    def _rows_of(self, name: str) -> int:
        return int(self._open(name).metadata.num_rows)

    @cached_property
    def _starts(self) -> I64:
        """First row of every file, and the end."""
        return np.cumsum([0, *(rows for _, rows in self._files)])

    @cached_property
    def _schema(self) -> pa.Schema:
        return self._file(0).schema_arrow

    @cached_property
    def _table(self) -> RaggedGenes:
        folder = self._path.parent if self._single else self._path
        with reaching(self.uri):
            return RaggedGenes(folder, self.uri)

    def _where(self, name: str) -> Path:
        return self._path / name if name else self._path

    def _open(self, name: str) -> Any:
        where = self._where(name)
        with self._reading(name or "file"):
            near = is_local(where)
            file = pq.ParquetFile(str(where) if near else open_ranges(where), pre_buffer=not near)
        for column in (GENES, VALUES):
            at = file.schema_arrow.get_field_index(column)
            kind = None if at < 0 else file.schema_arrow.field(at).type
            if kind is None or not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
                raise SourceError(
                    f"{where}: no column {column!r} of lists; a cell has a list of gene ids, {GENES!r}, and a list of "
                    f"counts, {VALUES!r}"
                )
        return file

    @cached_property
    def _opened(self) -> dict[int, Any]:
        return {}

    def _file(self, number: int) -> Any:
        """The file that was read last stays open."""
        if number not in self._opened:
            self._opened.clear()
            self._opened[number] = self._open(self._files[number][0])
        return self._opened[number]

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int, slice]]:
        """File, row group, first row of it in the file, and which of its rows, for the row groups that hold these rows."""
        for number in range(int(np.searchsorted(self._starts, start, side="right")) - 1, len(self._files)):
            first = int(self._starts[number])
            if first >= stop:
                return
            metadata, at = self._file(number).metadata, 0
            for group in range(metadata.num_row_groups):
                end = at + metadata.row_group(group).num_rows
                own = slice(max(start - first - at, 0), min(stop - first, end) - at)
                if own.start < own.stop:
                    yield number, group, at, own
                at = end

    def _read_columns(self, start: int, stop: int, columns: list[str]) -> pa.Table:
        found = []
        for number, group, _, own in self._parts(start, stop):
            with self._reading(f"{self._files[number][0] or 'file'}, row group {group}"):
                table = self._file(number).read_row_group(group, columns, use_threads=False)
                found.append(table.select(columns).slice(own.start, own.stop - own.start))
        return pa.concat_tables(found, promote_options="permissive") if found else None

    def _obs_columns(self, start: int, stop: int, columns: list[str]) -> dict[str, pa.Array]:
        table = self._read_columns(start, stop, columns) if columns else None
        with self._reading(f"obs rows {start}:{stop}"):
            return {
                name: pa.array([], self._obs_schema.field(name).type) if table is None else plain(table[name])
                for name in columns
            }

    def _obs_names(self, start: int, stop: int) -> pa.Array:
        column = next((name for name in _NAMES if name in self._obs_schema.names), None)
        if column is None:
            return pa.array([str(row) for row in range(start, stop)], pa.string())
        return text(self._obs_columns(start, stop, [column])[column])

    @cached_property
    def _lists_kept(self) -> dict[tuple[int, int], pa.Table]:
        return {}

    def _values(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        parts = []
        for number, group, first, own in self._parts(start, stop):
            where = str(self._where(self._files[number][0]))
            with self._reading(f"{self._files[number][0] or 'file'}, row group {group}"):
                if (number, group) not in self._lists_kept:
                    # slices of rows come one after the other, and end within a row group
                    self._lists_kept.clear()
                    table = self._file(number).read_row_group(group, [GENES, VALUES], use_threads=False)
                    self._lists_kept[number, group] = table
                table = self._lists_kept[number, group].slice(own.start, own.stop - own.start)
                parts.append(csr_of_lists(table[GENES], table[VALUES], self._table, where, first + own.start))
        if not parts:
            return np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)
        lengths, indices, values = zip(*parts, strict=True)
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        return indptr, np.concatenate(indices), np.concatenate(values)

    @property
    def _layer_name(self) -> str:
        return self.layer or VALUES

    def _remedy(self) -> str:
        return f"the lists of {VALUES!r} must be raw counts: name files that hold them"

    def _hash_values(self, sha: Sha) -> None:
        hash_facts(sha, rows=[rows for _, rows in self._files])
        n = self.n_obs
        for start, stop in ((0, min(_EDGE_ROWS, n)), (max(n - _EDGE_ROWS, 0), n)):
            for array in self._values(start, stop):
                hash_numbers(sha, array)
