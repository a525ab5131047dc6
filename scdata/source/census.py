"""Counts of the CELLxGENE Census: one source an organism."""

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scdata._blocks import I64, Array, GeneSpace
from scdata._errors import SourceError
from scdata._storage import Storage, public_uri
from scdata.source.base import DefaultFilter, bounds
from scdata.source.census_release import find_release
from scdata.source.columns import plain
from scdata.source.datasets import DATASET_ID
from scdata.source.place import Place, SourceOptions, look_at, name_of
from scdata.source.soma import SomaSource
from scdata.source.soma_context import reading_soma, soma, soma_context

KIND, SCHEME = "census:RELEASE/ORGANISM", "census:"
TAKES = frozenset({"layer", "measurement", "dataset_column"})

_PRESENCE = "feature_dataset_presence_matrix"
# What the manifest calls a fact about a dataset, and the column of the Census that has it
_FACTS = {
    "title": "dataset_title",
    "collection": "collection_name",
    "doi": "collection_doi",
    "citation": "citation",
}
_NNZ = "nnz"
_NNZ_ROWS = 1 << 16  # rows whose numbers of non-zeros are read together and kept
_HOW = (
    "write census:RELEASE/ORGANISM, as census:stable/homo_sapiens or census:2025-11-08/homo_sapiens+mus_musculus, or the place "
    "of a store in place of the release, with a slash: census:./FOLDER/homo_sapiens"
)


def recognizes(place: Place) -> bool:
    """True for its addresses."""
    return place.uri.startswith(SCHEME)


def open_place(place: Place, options: SourceOptions) -> "Sequence[CensusSource]":
    """A source for each organism named.

    Raises
    ------
    SourceError
        If there is no such release or organism, or the store is none of a Census.
    StorageError
        If the directory of releases, or the store, does not answer.
    """
    where, _, wanted = place.uri.removeprefix(SCHEME).rstrip("/").rpartition("/")
    organisms = wanted.split("+")
    if not where or not all(organisms) or len(set(organisms)) < len(organisms):
        raise SourceError(f"{place.uri}: {_HOW}")
    storage = options.storage
    if "/" in where:
        root, name = where, name_of(where)
    else:
        name, root, storage = find_release(where)
    root, said = root.rstrip("/"), public_uri(root)
    if "__group" not in look_at(root, storage=storage).names:
        raise SourceError(f"{said}: no SOMA collection is there; {_HOW}")
    with reading_soma(said, "Census"), soma().Collection.open(root, context=soma_context(storage)) as census:
        if "census_data" not in census:
            raise SourceError(f"{said} is a SOMA collection, but no Census: it has no 'census_data'")
        there = {name: own.uri for name, own in census["census_data"].items()}
    for organism in organisms:
        if organism not in there:
            raise SourceError(f"{said}: no organism {organism!r}; there are {', '.join(sorted(there)) or 'none'}")
    return [
        CensusSource(
            there[organism].removeprefix("file://"),
            root,
            options.measurement or "RNA",
            options.layer,
            options.dataset_column,
            f"{SCHEME}{name}/{organism}",
            storage,
        )
        for organism in organisms
    ]


class CensusSource(SomaSource):
    """Cells of one organism of a Census.

    Cells that stand in several datasets are primary in one: the others are left out by the default filter. Which genes a
    dataset measured comes from the Census's presence matrix, the datasets' titles from its table.

    Parameters
    ----------
    uri
        Folder of the organism's experiment, or its ``s3://`` address.
    root
        The same of the Census.
    measurement, layer, dataset_column, name, storage
        See `SomaSource`.

    Raises
    ------
    SourceError
        From `read`, if a row of X has another number of values than obs says.
    """

    _travels = (*SomaSource._travels, "root")
    _nnz_window: tuple[int, I64] = (0, np.zeros(0, np.int64))

    def __init__(
        self,
        uri: str,
        root: str,
        measurement: str = "RNA",
        layer: str | None = None,
        dataset_column: str | None = None,
        name: str | None = None,
        storage: Storage | None = None,
    ) -> None:
        super().__init__(uri, measurement, layer, dataset_column, name, storage)
        self.root = root

    @cached_property
    def default_filter(self) -> DefaultFilter | None:
        """Cells that are primary in another dataset would count twice."""
        if "is_primary_data" not in self.obs_schema.names:
            return None
        return DefaultFilter(text="is_primary_data", reason="not primary data")

    @cached_property
    def genes(self) -> GeneSpace:
        found = super().genes
        if self._dataset_key != DATASET_ID or _PRESENCE not in self._measured:
            return found
        measured = _measured(self.uri, self.root, self.measurement, self.storage, self._timestamp_ms, found.datasets)
        return GeneSpace(feature_ids=found.feature_ids, datasets=found.datasets, measured=measured)

    @property
    def dataset_organisms(self) -> Sequence[str]:
        """The organism that the address names, of all datasets."""
        return [self.name.rpartition("/")[2]] * len(self._datasets)

    @cached_property
    def dataset_facts(self) -> Mapping[str, Mapping[str, str]]:
        """What the Census says about the datasets of the cells, by id."""
        if self._dataset_key != DATASET_ID:
            return {}
        table = _datasets_table(self.root, self.storage, self._timestamp_ms)
        columns = {fact: name for fact, name in _FACTS.items() if name in table.column_names}
        own = set(self._datasets)
        return {
            row[DATASET_ID]: {fact: row[name] for fact, name in columns.items() if row[name]}
            for row in table.to_pylist()
            if row[DATASET_ID] in own
        }

    def forget(self) -> None:
        super().forget()
        self._nnz_window = CensusSource._nnz_window

    def row_nnz(self, rows: slice) -> I64 | None:
        start, stop = bounds(rows, self.n_obs, self.uri)
        if _NNZ not in self.obs_schema.names:
            return None
        if stop - start > _NNZ_ROWS:
            return self._nnz(start, stop)
        first, known = self._nnz_window
        if not first <= start <= stop <= first + len(known):
            first = start
            known = self._nnz(first, min(first + _NNZ_ROWS, self.n_obs))
            self._nnz_window = first, known
        return known[start - first : stop - first]

    def _nnz(self, start: int, stop: int) -> I64:
        column = self._obs_columns(start, stop, [_NNZ])[_NNZ]
        return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)

    def _values(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        indptr, columns, values = super()._values(start, stop)
        told = self.row_nnz(slice(start, stop))
        if told is not None and len(bad := np.flatnonzero(np.diff(indptr) != told)):
            at = int(bad[0])
            raise SourceError(
                f"{self.uri}, layer {self._layer_name}: row {start + at} holds {int(np.diff(indptr)[at])} values, but its obs "
                f"says {_NNZ} = {int(told[at])}, as {len(bad)} of the rows {start}:{stop} do; layer or obs are not whole: get "
                "the store again"
            )
        return indptr, columns, values


# for each process: a source that comes with a task knows nothing yet
@lru_cache(maxsize=8)
def _measured(
    uri: str, root: str, measurement: str, storage: Storage, timestamp_ms: int, datasets: tuple[str, ...]
) -> npt.NDArray[np.bool_]:
    """bool (D, G): which genes each dataset measured; one that the Census does not list measured all."""
    table = _datasets_table(root, storage, timestamp_ms)
    row_of = dict(zip(table[DATASET_ID].to_pylist(), table["soma_joinid"].to_pylist(), strict=True))
    place = np.full(max(row_of.values(), default=0) + 1, -1)
    for i, name in enumerate(datasets):
        if name in row_of:
            place[row_of[name]] = i
    seen = {"context": soma_context(storage), "tiledb_timestamp": timestamp_ms}
    with reading_soma(uri, _PRESENCE), soma().Experiment.open(uri, **seen) as experiment:
        matrix = experiment.ms[measurement][_PRESENCE]
        measured = np.zeros((len(datasets), int(experiment.ms[measurement].var.count)), bool)
        measured[[i for i, name in enumerate(datasets) if name not in row_of]] = True
        for part in matrix.read().tables():
            rows, genes, values = (part[name].to_numpy() for name in ("soma_dim_0", "soma_dim_1", "soma_data"))
            known = (rows < len(place)) & values.astype(bool)
            own = place[rows[known]]
            measured[own[own >= 0], genes[known][own >= 0]] = True
    return measured


@lru_cache(maxsize=2)
def _datasets_table(root: str, storage: Storage, timestamp_ms: int) -> pa.Table:
    """The Census's table of datasets: ``soma_joinid``, ``dataset_id`` and the columns of facts."""
    seen: dict[str, Any] = {"context": soma_context(storage), "tiledb_timestamp": timestamp_ms}
    with (
        reading_soma(public_uri(root), "census_info/datasets"),
        soma().Collection.open(root, **seen) as census,
    ):
        frame = census["census_info"]["datasets"]
        names = ["soma_joinid", *(name for name in (DATASET_ID, *_FACTS.values()) if name in frame.keys())]  # noqa: SIM118
        table = frame.read(column_names=names).concat()
    return pa.table({name: plain(table[name]) for name in names})
