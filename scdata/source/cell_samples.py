"""Counts in WebDataset tars with a cell a sample, as ``scdata export --format webdataset-cells`` writes them."""

import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from scdata._blocks import I64, Array
from scdata._storage import Storage, is_local
from scdata.source.base import bounds
from scdata.source.columns import other_columns_note, plain, plain_type, text
from scdata.source.export_facts import SIDE_FILE, SIDE_FILES, ExportFacts, facts_beside
from scdata.source.far_file import FarFile
from scdata.source.fingerprint import Sha, hash_facts, hash_numbers
from scdata.source.place import Place, SourceOptions
from scdata.source.shared import shared_var
from scdata.source.stored import StoredSource
from scdata.source.written import stat_of_folder

KIND, SCHEME = "a folder of WebDataset tars with a cell a sample (genes.npy, counts.npy, json) and genes.json", ""
TAKES = frozenset({"dataset_column"})

_GENES_TABLE, _SUFFIX, _NAME = "genes.json", ".tar", "obs_name"
_GENES, _COUNTS, _OBS = "genes.npy", "counts.npy", "json"
_EDGE_ROWS = 64


def recognizes(place: Place) -> bool:
    """True for a folder of tars with the table of genes."""
    return _GENES_TABLE in place.names and any(name.endswith(_SUFFIX) for name in place.names)


def open_place(place: Place, options: SourceOptions) -> "Sequence[CellSamplesSource]":
    """The one source there."""
    return [CellSamplesSource(place.uri, options.dataset_column, place.name, options.storage)]


class _Tar(NamedTuple):
    """Where the samples of one tar are: parts by their name, (offset, bytes) of each; and the obs of its cells."""

    genes: list[tuple[int, int]]
    counts: list[tuple[int, int]]
    obs: pa.Table


class CellSamplesSource(StoredSource):
    """Cells of all tars of a folder, in order of the tars' names.

    A tar has no index: each is read through once when the source is opened, and again by the worker that reads its cells.

    Parameters
    ----------
    path
        The folder, or its address. ``genes.json`` is a list of feature ids and names; ``ID.genes.npy`` has places in it,
        ``ID.counts.npy`` as many counts, ``ID.json`` the cell's obs, of which ``obs_name`` is its name.
    dataset_column, name, storage
        See `StoredSource`.

    Raises
    ------
    SourceError
        At the first use, if a tar is damaged, a sample lacks a part, or the table of genes is not as it should be. From `read`,
        if the parts of a sample are no arrays of one length.
    StorageError
        At any use, if a store does not answer, or refuses.
    """

    _travels = (*StoredSource._travels, "_found")
    _DAMAGE = (OSError, EOFError, ValueError, TypeError, tarfile.TarError, pa.ArrowException)
    _handles = ("_tars_kept",)

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
        return int(self._starts[-1])

    @cached_property
    def var(self) -> pa.Table:
        with self._reading(_GENES_TABLE):
            rows = json.loads((self._path / _GENES_TABLE).read_bytes())
            ids, names = zip(*rows, strict=True) if rows else ((), ())
            return shared_var(
                pa.table({"var_name": pa.array(ids, pa.string()), "feature_name": pa.array(names, pa.string())})
            )

    @cached_property
    def _obs_schema(self) -> pa.Schema:
        kinds = {field.name: plain_type(field.type) for field in self._schema if field.name != _NAME}
        return pa.schema([(name, kind) for name, kind in kinds.items() if kind is not None])

    @property
    def notes(self) -> tuple[str, ...]:
        left_out = (name for name in self._schema.names if name not in {_NAME, *self._obs_schema.names})
        return (*other_columns_note(left_out), *self._facts_notes, *self._type_notes)

    @property
    def _type_notes(self) -> tuple[str, ...]:
        told = self._facts.obs_types
        other = [field.name for field in self._schema if told.get(field.name, str(field.type)) != str(field.type)]
        said = f"obs columns have values that are not of the type that {SIDE_FILE} tells: {', '.join(other)}"
        return (said,) if other else ()

    @cached_property
    def _facts(self) -> ExportFacts:
        return facts_beside(self._path, self.uri)

    def row_nnz(self, rows: slice) -> I64 | None:
        bounds(rows, self.n_obs, self.uri)
        return None

    def stat(self) -> Mapping[str, int]:
        return stat_of_folder(
            self._path, self.uri, lambda name: name in {_GENES_TABLE, *SIDE_FILES} or name.endswith(_SUFFIX)
        )

    @cached_property
    def _found(self) -> tuple[list[tuple[str, int]], pa.Schema]:
        """Name and cells of every tar, in order, and the obs columns of all."""
        with self._reading("folder"):
            names = sorted(path.name for path in self._path.iterdir() if path.name.endswith(_SUFFIX))
        files, schemas, kinds = [], [], dict(self._facts.obs_types)
        for name in names:
            tar = self._look_through(name)
            files.append((name, len(tar.genes)))
            schemas.append(tar.obs.schema)
            kinds = {own: kind for own, kind in kinds.items() if _fits(tar.obs, own, kind)}
        with self._reading("obs"):
            seen = pa.unify_schemas(schemas, promote_options="permissive")
            return files, pa.schema([(own.name, kinds.get(own.name, own.type)) for own in seen])

    @property
    def _files(self) -> list[tuple[str, int]]:
        return self._found[0]

    @property
    def _schema(self) -> pa.Schema:
        return self._found[1]

    @cached_property
    def _starts(self) -> I64:
        """First row of every tar, and the end."""
        return np.cumsum([0, *(rows for _, rows in self._files)])

    @cached_property
    def _tars_kept(self) -> dict[int, _Tar]:
        return {}

    def _tar(self, number: int) -> _Tar:
        """Slices of rows come one after the other: the tar that was read last is kept."""
        if number not in self._tars_kept:
            self._tars_kept.clear()
            self._tars_kept[number] = self._look_through(self._files[number][0])
        return self._tars_kept[number]

    def _look_through(self, name: str) -> _Tar:
        places: dict[str, dict[str, tuple[int, int]]] = {}
        rows = []
        with self._reading(name), self._open(name) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                key, _, part = member.name.partition(".")
                places.setdefault(key, {})[part] = member.offset_data, member.size
                if part == _OBS:
                    read: Any = tar.extractfile(member)
                    rows.append(json.loads(read.read()))
            for key, parts in places.items():
                if missing := {_GENES, _COUNTS, _OBS} - set(parts):
                    raise ValueError(f"sample {key!r} has no {', '.join(sorted(missing))}")
            genes, counts = ([parts[part] for parts in places.values()] for part in (_GENES, _COUNTS))
            return _Tar(genes, counts, pa.Table.from_pylist(rows))

    def _open(self, name: str) -> Any:
        path = self._path / name
        return path.open("rb") if is_local(path) else FarFile(path)

    def _parts(self, start: int, stop: int) -> Iterator[tuple[int, slice]]:
        """Tars that hold these rows, and which of their own."""
        for number in range(int(np.searchsorted(self._starts, start, side="right")) - 1, len(self._files)):
            first, end = int(self._starts[number]), int(self._starts[number + 1])
            if first >= stop:
                return
            if start < end:
                yield number, slice(max(start - first, 0), min(stop, end) - first)

    def _obs_columns(self, start: int, stop: int, columns: list[str]) -> dict[str, pa.Array]:
        found: dict[str, list[pa.Array]] = {name: [] for name in columns}
        for number, own in self._parts(start, stop):
            table = self._tar(number).obs
            with self._reading(f"obs of {self._files[number][0]}"):
                for name in columns:
                    kind, n = self._schema.field(name).type, own.stop - own.start
                    there = name in table.column_names
                    column = table[name].slice(own.start, n).cast(kind) if there else pa.nulls(n, kind)
                    found[name].append(plain(column))
        return {
            name: pa.chunked_array(parts, self._obs_schema.field(name).type).combine_chunks()
            for name, parts in found.items()
        }

    def _obs_names(self, start: int, stop: int) -> pa.Array:
        if _NAME not in self._schema.names:
            return pa.array([str(row) for row in range(start, stop)], pa.string())
        parts = [text(self._tar(number).obs[_NAME].combine_chunks()[own]) for number, own in self._parts(start, stop)]
        return pa.chunked_array(parts, pa.string()).combine_chunks()

    def _values(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        lengths, indices, values = [0], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
        for number, own in self._parts(start, stop):
            name, tar = self._files[number][0], self._tar(number)
            with self._reading(f"{name}, samples {own.start}:{own.stop}"), self._open(name) as file:
                for at_genes, at_counts in zip(tar.genes[own], tar.counts[own], strict=True):
                    genes, counts = _array(file, *at_genes), _array(file, *at_counts)
                    if genes.dtype.kind not in "iu" or genes.shape != counts.shape:
                        raise ValueError(
                            f"genes {genes.shape} of {genes.dtype} and counts {counts.shape} of one sample"
                        )
                    lengths.append(len(genes))
                    indices.append(genes)
                    values.append(counts)
        return np.cumsum(lengths, dtype=np.int64), np.concatenate(indices), np.concatenate(values)

    @property
    def _layer_name(self) -> str:
        return _COUNTS

    def _remedy(self) -> str:
        return f"{_COUNTS} must hold raw counts: write the samples again"

    def _hash_values(self, sha: Sha) -> None:
        hash_facts(sha, cells=[cells for _, cells in self._files])
        n = self.n_obs
        for start, stop in ((0, min(_EDGE_ROWS, n)), (max(n - _EDGE_ROWS, 0), n)):
            for array in self._values(start, stop):
                hash_numbers(sha, array)


def _fits(obs: pa.Table, name: str, kind: str) -> bool:
    """True if all values of a column are of a type, as JSON shows them."""
    if name not in obs.column_names:
        return True
    try:
        obs[name].cast(kind)
    except pa.ArrowException:
        return False
    return True


def _array(file: Any, offset: int, size: int) -> np.ndarray[Any, Any]:
    """A vector in .npy's format; what NumPy would unpickle is refused."""
    file.seek(offset)
    found = np.asarray(np.lib.format.read_array(io.BytesIO(file.read(size)), allow_pickle=False))
    if found.ndim != 1:
        raise ValueError(f"an array of {found.ndim} axes, one is expected")
    return found
