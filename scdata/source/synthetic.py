"""A seeded source that is stored nowhere; `CountRule` says what it holds."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa

from scdata._blocks import I32, I64, CellBlock, GeneSpace
from scdata._errors import SourceError
from scdata.source.base import bounds, not_there
from scdata.source.columns import one_row_each
from scdata.source.fingerprint import hash_facts
from scdata.source.place import Place, SourceOptions
from scdata.source.synthetic_rule import CountRule

KIND, SCHEME = "synthetic:cells=N", "synthetic:"
TAKES: frozenset[str] = frozenset()


def recognizes(place: Place) -> bool:
    """True for its addresses."""
    return place.uri.startswith(SCHEME)


def open_place(place: Place, options: SourceOptions) -> "Sequence[SyntheticSource]":
    """The one source there."""
    return [SyntheticSource.from_uri(place.uri)]


_ARGUMENTS = {
    "cells": "n_cells",
    "genes": "n_genes",
    "mean_genes": "mean_genes",
    "seed": "seed",
    "datasets": "n_datasets",
}

_SCHEMA = pa.schema(
    {
        "dataset_id": pa.string(),
        "cell_type": pa.string(),
        "donor_id": pa.string(),
        "is_control": pa.bool_(),
        "age": pa.float64(),
        "batch": pa.int64(),
    }
)
# not an Arrow array: making one imports pandas
_CELL_TYPES = ("B cell", "T cell", "monocyte", "NK cell", "dendritic cell", "platelet", "plasma cell", "neutrophil")
_DONORS_EACH = 4  # in a dataset


class SyntheticSource:
    """A `CountSource` made on the fly.

    Parameters
    ----------
    n_cells
        Number of cells; 1 in 128 is empty.
    n_genes
        Number of genes.
    mean_genes
        Genes expressed in the mean cell, about; never more than `n_genes`.
    seed
        Any integer.
    n_datasets
        Datasets, in consecutive parts of about equal size; named in the obs column ``dataset_id``.

    Raises
    ------
    ValueError
        If the number of cells is negative, or another number below 1.

    Examples
    --------
    >>> source = SyntheticSource(1000)
    >>> block = source.read(slice(0, 10), ["cell_type"])
    >>> indices, counts = source.expected(3)
    >>> bool((block.data[block.indptr[3] : block.indptr[4]] == counts).all())
    True
    """

    def __init__(
        self, n_cells: int, n_genes: int = 2000, mean_genes: int = 500, seed: int = 0, n_datasets: int = 4
    ) -> None:
        least = {"n_cells": 0, "n_genes": 1, "mean_genes": 1, "n_datasets": 1}
        for name, value in zip(least, (n_cells, n_genes, mean_genes, n_datasets), strict=True):
            if value < least[name]:
                raise ValueError(f"{name} is {value}, the least is {least[name]}")
        self.n_obs = n_cells
        self.n_datasets = n_datasets
        self.obs_schema = _SCHEMA
        self.notes: tuple[str, ...] = ()
        values = (n_cells, n_genes, mean_genes, seed, n_datasets)
        self.uri = SCHEME + ",".join(f"{key}={value}" for key, value in zip(_ARGUMENTS, values, strict=True))
        self.name = self.uri
        self._rule = CountRule(n_genes, mean_genes, seed)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return SyntheticSource.from_uri, (self.uri,)

    def __repr__(self) -> str:
        return f"SyntheticSource({self.uri!r})"

    @classmethod
    def from_uri(cls, uri: str) -> "SyntheticSource":
        """The source of a URI such as ``synthetic:cells=1000,genes=2000,seed=0``; only ``cells`` is needed.

        Raises
        ------
        SourceError
            If a part is not ``cells``, ``genes``, ``mean_genes``, ``seed`` or ``datasets`` with an integer.
        """
        given: dict[str, int] = {}
        problem = "cells= is missing"
        for part in uri.removeprefix(SCHEME).split(","):
            match = re.fullmatch(r"([a-z_]+)=(-?[0-9]+)", part)
            if match is None or _ARGUMENTS.get(match[1], "") in ("", *given):
                problem = f"{part!r} is not expected"
                given.clear()
                break
            given[_ARGUMENTS[match[1]]] = int(match[2])
        if "n_cells" in given:
            try:
                return cls(**given)
            except ValueError as error:
                problem = str(error)
        optional = ", ".join(f"{key}=N" for key in _ARGUMENTS if key != "cells")
        raise SourceError(
            f"{uri!r} is no synthetic source: {problem}; write {SCHEME}cells=N and, after commas, each at "
            f"most once, {optional}"
        )

    @cached_property
    def var(self) -> pa.Table:
        names = [f"gene-{gene:06d}" for gene in range(self._rule.n_genes)]
        return pa.table({"var_name": pa.array(names, pa.string())})

    @cached_property
    def genes(self) -> GeneSpace:
        return GeneSpace(
            feature_ids=tuple(self.var["var_name"].to_pylist()),
            datasets=tuple(f"synthetic-{dataset:04d}" for dataset in range(self.n_datasets)),
        )

    def obs(self, rows: slice, columns: Sequence[str]) -> pa.Table:
        start, stop = bounds(rows, self.n_obs, self.uri)
        for column in columns:
            if column not in _SCHEMA.names:
                raise not_there("obs column", column, _SCHEMA.names, self.uri)
        bits = self._rule.cell_bits(start, stop)
        dataset = self._dataset(start, stop)
        donor = dataset * _DONORS_EACH + (bits >> 16) % _DONORS_EACH
        donors = pa.array([f"donor-{number}" for number in range(self.n_datasets * _DONORS_EACH)])
        every = {
            "dataset_id": pa.array(self.genes.datasets).take(pa.array(dataset)),
            "cell_type": pa.array(_CELL_TYPES).take(pa.array((bits >> 12) % len(_CELL_TYPES))),
            "donor_id": donors.take(pa.array(donor)),
            "is_control": pa.array((bits >> 20) % 2 == 1),
            "age": pa.array(np.where((bits >> 32) % 10 == 0, np.nan, 20.0 + (bits >> 24) % 60)),
            "batch": pa.array((bits >> 40) % 3),
        }
        return one_row_each({column: every[column] for column in columns}, stop - start)

    def read(self, rows: slice, columns: Sequence[str] = ()) -> CellBlock:
        start, stop = bounds(rows, self.n_obs, self.uri)
        indptr, indices, data = self._rule.rows(start, stop)
        return CellBlock(
            indptr=indptr,
            indices=indices,
            data=data,
            genes=self.genes,
            rows=np.arange(start, stop),
            dataset=self.dataset(rows),
            obs=self.obs(rows, columns),
            obs_names=pa.array([f"cell-{row}" for row in range(start, stop)], pa.string()),
        )

    def dataset(self, rows: slice) -> I32:
        return self._dataset(*bounds(rows, self.n_obs, self.uri)).astype(np.int32)

    def expected(self, row: int) -> tuple[I32, I32]:
        """Genes (ascending) and counts of one cell, int32 (T,), computed alone and not as `read` does it."""
        return self._rule.expected(row)

    def row_nnz(self, rows: slice) -> I64 | None:
        return None

    def fingerprint(self, columns: Sequence[str]) -> str:
        sha = hashlib.sha256()
        hash_facts(sha, uri=self.uri, columns=sorted({*columns, "dataset_id"}))
        return sha.hexdigest()

    def stat(self) -> Mapping[str, int]:
        return {"size": 0, "mtime_ns": 0}

    def _dataset(self, start: int, stop: int) -> I64:
        return np.arange(start, stop) * self.n_datasets // max(self.n_obs, 1)
