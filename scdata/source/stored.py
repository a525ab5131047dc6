"""What readers of files have in common: an address, opened lazily, that pickles without its handles."""

import hashlib
import os
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._blocks import I32, I64, Array, CellBlock, GeneSpace
from scdata._errors import ScdataError, SourceError
from scdata._storage import Storage, public_uri
from scdata._store_files import reaching
from scdata.source.base import bounds
from scdata.source.columns import one_row_each
from scdata.source.datasets import dataset_codes, distinct
from scdata.source.export_facts import ExportFacts
from scdata.source.exported import ExportedSource
from scdata.source.fingerprint import Sha, hash_column, hash_facts, hash_numbers
from scdata.source.integers import as_counts
from scdata.source.place import name_of
from scdata.source.shared import shared_ids

# Rows of one obs column held at a time in a pass over all cells
_COLUMN_ROWS = 1 << 18


class StoredSource(ExportedSource):
    """A `CountSource` in files. Subclasses read; what is read is checked and put together here.

    Parameters
    ----------
    path
        File or folder, or its address; messages show it without user, password and query.
    layer
        Name of the matrix to read, or None for the reader's choice.
    dataset_column
        Obs column that tells datasets apart; None: the one that an export of a set names, else ``dataset_id`` where
        there is one, else all cells are one.
    name
        What manifests call it; None: the last part of `path`.
    storage
        How to reach an address.
    """

    # What is damaged, and what the libraries that read it raise then
    _STORED_IN = "file"
    _DAMAGE: tuple[type[Exception], ...] = (OSError, KeyError, ValueError, pa.ArrowException)

    # Cached handles into open files, which `close` lets go of
    _handles: tuple[str, ...] = ()

    # Cached facts that cost a pass over the source: workers get them with the address
    _travels: tuple[str, ...] = (
        "uri", "layer", "dataset_column", "name", "storage", "_address", "_datasets", "_dataset_key",
    )  # fmt: skip

    def __init__(
        self,
        path: str | os.PathLike[str],
        layer: str | None = None,
        dataset_column: str | None = None,
        name: str | None = None,
        storage: Storage | None = None,
    ) -> None:
        self._address = os.fspath(path)
        self.uri = public_uri(self._address)
        self.storage = storage or Storage()
        self.layer = layer
        self.dataset_column = dataset_column
        self.name = name or name_of(self._address)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key in self._travels}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    def forget(self) -> None:
        """Let go of all that was found out; the next use looks again."""
        for name in [name for name in self.__dict__ if isinstance(getattr(type(self), name, None), cached_property)]:
            del self.__dict__[name]

    def close(self) -> None:
        """Let go of open files; the next use opens them again."""
        for handle in self._handles:
            self.__dict__.pop(handle, None)

    @cached_property
    def _path(self) -> Path:
        """What is read, as a path here or in a store."""
        return self.storage.path(self._address)

    @cached_property
    def genes(self) -> GeneSpace:
        measured = self._measured_mask(self.var, self._datasets)
        return GeneSpace(feature_ids=shared_ids(self.var), datasets=self._datasets, measured=measured)

    def obs(self, rows: slice, columns: Sequence[str]) -> pa.Table:
        stored = {column: self._stored_name(column) for column in columns}
        found = self._obs_in_storage(rows, list(stored.values()))
        return one_row_each({column: found[own] for column, own in stored.items()}, len(found))

    def _obs_in_storage(self, rows: slice, columns: Sequence[str]) -> pa.Table:
        """Some columns, by their names in storage, that are known to be there."""
        start, stop = bounds(rows, self.n_obs, self.uri)
        return one_row_each(self._obs_columns(start, stop, list(dict.fromkeys(columns))), stop - start)

    def dataset(self, rows: slice) -> I32:
        start, stop = bounds(rows, self.n_obs, self.uri)
        key = self._dataset_key
        return self._codes(self._obs_in_storage(rows, [key] if key else []), stop - start)

    def read(self, rows: slice, columns: Sequence[str] = ()) -> CellBlock:
        start, stop = bounds(rows, self.n_obs, self.uri)
        key = self._dataset_key
        # one read of obs for what the caller and the datasets need
        stored = {column: self._stored_name(column) for column in columns}
        table = self._obs_in_storage(rows, [*stored.values(), *([key] if key else [])])
        indptr, indices, data = self._values(start, stop)
        counts = as_counts(
            data,
            where=f"{self.uri}, layer {self._layer_name}",
            row_of=lambda at: start + bisect_right(indptr, at) - 1,
            remedy=self._remedy(),
        )
        indptr, indices, counts = _without_zeros(indptr, self._checked(indices, start, stop), counts)
        dataset = self._codes(table, stop - start)
        self._refuse_unmeasured(start, indptr, indices, dataset)
        return CellBlock(
            indptr=indptr,
            indices=indices,
            data=counts,
            genes=self.genes,
            rows=np.arange(start, stop),
            dataset=dataset,
            obs=one_row_each({column: table[own] for column, own in stored.items()}, stop - start),
            obs_names=self._obs_names(start, stop),
        )

    def fingerprint(self, columns: Sequence[str]) -> str:
        sha = hashlib.sha256()
        used = sorted({*map(self._stored_name, columns), *([self._dataset_key] if self._dataset_key else [])})
        hash_facts(
            sha,
            size=self.stat()["size"],
            shape=[self.n_obs, len(self.genes)],
            layer=self._layer_name,
            columns=[[column, str(self._obs_schema.field(column).type)] for column in used],
        )
        hash_column(sha, self.var["var_name"].combine_chunks())
        for column in used:
            for part in self._column_parts(column):
                hash_column(sha, part)
        if self._facts != ExportFacts():
            hash_facts(sha, export=self._facts.content())
        if self._facts.measured is not None:
            hash_numbers(sha, self._facts.measured.bits)
        self._hash_values(sha)
        return sha.hexdigest()

    def _codes(self, obs: pa.Table, n_cells: int) -> I32:
        """Datasets of `n_cells` cells, by their obs, which has the column that tells."""
        key = self._dataset_key
        if key is None:
            return np.zeros(n_cells, np.int32)
        return dataset_codes(obs[key].combine_chunks(), self._datasets, self.uri)

    @cached_property
    def _datasets(self) -> tuple[str, ...]:
        key = self._dataset_key
        return distinct(self._column_parts(key)) if key else (self.name,)

    def _column_parts(self, column: str) -> Iterator[pa.Array]:
        for start in range(0, self.n_obs, _COLUMN_ROWS):
            stop = min(start + _COLUMN_ROWS, self.n_obs)
            yield self._obs_in_storage(slice(start, stop), [column])[column].combine_chunks()

    def _checked(self, indices: Array, start: int, stop: int) -> I32:
        n_genes = len(self.var)
        if len(indices) and not (indices.min() >= 0 and indices.max() < n_genes):
            worst = int(indices.min() if indices.min() < 0 else indices.max())
            raise SourceError(
                f"{self.uri}, layer {self._layer_name}: column {worst} in rows {start}:{stop} is outside its "
                f"{n_genes} genes; the matrix is damaged, write it again"
            )
        return indices.astype(np.int32, copy=False)

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Name the source and the part in what is said about damaged storage."""
        try:
            with self._access():
                yield
        except ScdataError:
            raise
        except FileNotFoundError as error:
            raise SourceError(f"{self.uri}, {what}: not found") from error
        except self._DAMAGE as error:
            raise SourceError(
                f"{self.uri}, {what}: cannot be read ({error}); the {self._STORED_IN} is damaged"
            ) from error

    def _access(self) -> AbstractContextManager[None]:
        """Held while storage is read."""
        return reaching(self.uri)

    @property
    @abstractmethod
    def n_obs(self) -> int: ...

    @property
    @abstractmethod
    def var(self) -> pa.Table: ...

    @abstractmethod
    def stat(self) -> Mapping[str, int]:
        """See `CountSource.stat`."""

    @property
    @abstractmethod
    def _layer_name(self) -> str:
        """The layer that is read, as a user would write it."""

    @abstractmethod
    def _remedy(self) -> str:
        """What to do about values that are not counts."""

    @abstractmethod
    def _obs_columns(self, start: int, stop: int, columns: list[str]) -> dict[str, pa.Array]:
        """Columns that are known to be there, by their names in storage, as plain arrays."""

    @abstractmethod
    def _obs_names(self, start: int, stop: int) -> pa.Array:
        """string (C,): the obs index."""

    @abstractmethod
    def _values(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        """CSR of what is stored, unchecked: indptr from 0, column numbers and values of any number dtype."""

    @abstractmethod
    def _hash_values(self, sha: Sha) -> None:
        """Add to the fingerprint what identifies the stored values."""


def _without_zeros(indptr: I64, indices: I32, counts: I32) -> tuple[I64, I32, I32]:
    keep = counts != 0
    if keep.all():
        return indptr, indices, counts
    kept_before = np.zeros(len(keep) + 1, np.int64)
    np.cumsum(keep, out=kept_before[1:])
    return kept_before[indptr], indices[keep], counts[keep]
