"""A finished set of counts as a source: tokenized again without what it was built from."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scdata._blocks import I32, I64, Array, CellBlock, GeneSpace
from scdata._errors import CorruptShardError, SourceError
from scdata._fetch import pin
from scdata._storage import Storage
from scdata._store_files import reaching
from scdata.shard.block import COUNTS, StoredBlock
from scdata.shard.cells import reserved_name
from scdata.shard.export_facts import facts_by_dataset
from scdata.shard.manifest import MANIFEST
from scdata.shard.set_files import INDEX
from scdata.shard.shard_set import ShardSet
from scdata.source import SourceOptions
from scdata.source.base import bounds
from scdata.source.columns import plain
from scdata.source.fingerprint import Sha, hash_facts
from scdata.source.place import Place
from scdata.source.stored import StoredSource
from scdata.source.written import stat_of_file
from scdata.stream.blocks import BlockReader

KIND, SCHEME = "a finished set of counts", ""
TAKES: frozenset[str] = frozenset()

_KEPT_BLOCKS = 8
# Columns of var.parquet that a set numbers anew
_OF_THE_SET = ("var_name", "token_id", "code", "sample_counts", "chosen")


def recognizes(place: Place) -> bool:
    """True for the folder of a complete set."""
    return {MANIFEST, INDEX} <= place.names


def open_place(place: Place, options: SourceOptions) -> "Sequence[FinishedSetSource]":
    """The one source there; on the Hugging Face Hub as it stands now, for all who read it later."""
    with reaching(place.uri):
        uri = str(pin(options.storage.path(place.uri))) if place.uri.startswith("hf://") else place.uri
    return [FinishedSetSource(uri, place.name, options.storage)]


class FinishedSetSource(StoredSource):
    """The cells of a set, in its order: splits by name, their shards, their blocks.

    Parameters
    ----------
    path
        The set's folder, or its address.
    name, storage
        See `StoredSource`.

    Raises
    ------
    SourceError
        At the first use, if the set holds tokens.
    CorruptShardError
        At any use, if a file is not what the manifest says.
    StorageError
        At any use, if a store does not answer, or refuses.
    """

    _handles = ("_set", "_readers", "_obs_kept")

    def __init__(self, path: str | os.PathLike[str], name: str | None = None, storage: Storage | None = None) -> None:
        super().__init__(os.fspath(path), None, None, name, storage)

    @cached_property
    def n_obs(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def var(self) -> pa.Table:
        found = self._set.var
        # a gene that no source of the set had has no other name than its id
        names = pc.coalesce(found["var_name"], found["feature_id"]) if "var_name" in found.column_names else None
        kept = [name for name in found.column_names if name not in _OF_THE_SET]
        return pa.table({"var_name": found["feature_id"] if names is None else names, **{n: found[n] for n in kept}})

    @cached_property
    def genes(self) -> GeneSpace:
        return GeneSpace(
            feature_ids=tuple(self.var["var_name"].to_pylist()),
            datasets=tuple(self._set.datasets),
            measured=self._set.measured,
        )

    @cached_property
    def dataset_organisms(self) -> list[str]:
        """As the set has them."""
        return self._set.organisms

    @cached_property
    def _obs_schema(self) -> pa.Schema:
        strings = self._set.categories
        return pa.schema(
            [
                (column["name"], pa.string() if column["name"] in strings else pa.from_numpy_dtype(column["dtype"]))
                for column in self._set.manifest["obs"]
            ]
        )

    @property
    def notes(self) -> tuple[str, ...]:
        total, kept = (int(self._set.manifest[name]) for name in ("total_counts", "vocab_counts"))
        if total == kept:
            return ()
        return (
            f"{1 - kept / total:.1%} of the counts were of genes that the set does not have: totals are those of its genes",
        )

    @property
    def perturbation(self) -> Mapping[str, Any] | None:
        """The roles that the set names."""
        found: Mapping[str, Any] | None = self._set.manifest.get("perturbation")
        return found

    @property
    def dataset_facts(self) -> Mapping[str, Mapping[str, str]]:
        """What the sources of the set knew about its datasets."""
        return facts_by_dataset(self._set.manifest)

    def row_nnz(self, rows: slice) -> I64 | None:
        start, stop = bounds(rows, self.n_obs, self.uri)
        return np.asarray(self._stored_obs(start, stop, ["n_tokens"])["n_tokens"].to_numpy(), np.int64)

    def stat(self) -> Mapping[str, int]:
        return stat_of_file(self._path / MANIFEST, self.uri)

    def dataset(self, rows: slice) -> I32:
        found = [block.columns["dataset"][own] for block, own in self._stored(*bounds(rows, self.n_obs, self.uri))]
        return np.concatenate([np.zeros(0, np.int32), *found])

    def read(self, rows: slice, columns: Sequence[str] = ()) -> CellBlock:
        return replace(super().read(rows, columns), dataset=self.dataset(rows))

    @cached_property
    def _set(self) -> ShardSet:
        with reaching(self.uri):
            found = ShardSet(self._address, self.storage)
            if found.encoding != COUNTS:
                raise SourceError(
                    f"{self.uri} is a set of tokens of {found.manifest['tokenizer']!r}, from which counts cannot be had "
                    "again: name its source, or a set that was built with --tokenizer counts"
                )
            _ = found.var, found.index, found.categories  # a damaged one shows now
        return found

    @cached_property
    def _blocks(self) -> list[tuple[str, int]]:
        """Split and number of every block, in order."""
        return [(split, i) for split in sorted(self._set.splits) for i in range(len(self._set.blocks(split).n_cells))]

    @cached_property
    def _starts(self) -> I64:
        """First row of every block, and the end."""
        sizes = [self._set.blocks(split).n_cells for split in sorted(self._set.splits)]
        return np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)

    @cached_property
    def _shards(self) -> list[tuple[str, int, int]]:
        """Split, number and first row of every shard, in order."""
        found, start = [], 0
        for split in sorted(self._set.splits):
            for shard in sorted(self._set.shards(split), key=lambda own: int(own["shard"])):
                found.append((split, int(shard["shard"]), start))
                start += int(shard["n_cells"])
        return found

    @cached_property
    def _readers(self) -> dict[str, BlockReader]:
        return {split: BlockReader(self._set, split, _KEPT_BLOCKS) for split in self._set.splits}

    @cached_property
    def _row_of_code(self) -> I32:
        out = np.empty(self._set.n_genes, np.int32)
        out[self._set.var["code"].to_numpy()] = np.arange(len(out), dtype=np.int32)
        return out

    def _stored(self, start: int, stop: int) -> Iterator[tuple[StoredBlock, slice]]:
        """Blocks that hold these rows, and which of their cells are meant."""
        at = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            split, number = self._blocks[at]
            first, end = int(self._starts[at]), int(self._starts[at + 1])
            with reaching(self.uri):
                block = self._readers[split].get(number)
            yield block, slice(start - first, min(stop, end) - first)
            start, at = end, at + 1

    def _values(self, start: int, stop: int) -> tuple[I64, Array, Array]:
        lengths, ids, values = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
        for block, own in self._stored(start, stop):
            cells = block.decode(self._row_of_code)
            ends = cells.indptr[own.start : own.stop + 1]
            part = slice(int(ends[0]), int(ends[-1]))
            assert cells.values is not None  # it is a set of counts
            lengths.append(np.diff(ends))
            ids.append(cells.ids[part])
            values.append(cells.values[part])
        return np.cumsum(np.concatenate(lengths)), np.concatenate(ids), np.concatenate(values)

    @cached_property
    def _obs_kept(self) -> dict[tuple[str, int, str], pa.ChunkedArray]:
        return {}

    def _stored_obs(self, start: int, stop: int, columns: Sequence[str]) -> dict[str, pa.Array]:
        """Columns of the obs files, by their names there."""
        parts: dict[str, list[pa.Array]] = {column: [] for column in columns}
        ends = [first for *_, first in self._shards[1:]] + [self.n_obs]
        for (split, shard, first), end in zip(self._shards, ends, strict=True):
            if first < stop and start < end:
                table = self._obs_of(split, shard, columns)
                own = slice(max(start - first, 0), min(stop, end) - first)
                for column in columns:
                    parts[column].append(table[column].slice(own.start, own.stop - own.start))
        return {
            column: plain(pa.chunked_array([chunk for own in found for chunk in own.chunks]))
            if found
            else self._obs_of(*self._shards[0][:2], [column])[column].slice(0, 0).combine_chunks()
            for column, found in parts.items()
        }

    def _obs_of(self, split: str, shard: int, columns: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        """Columns of one shard; those of the last shard are kept, because rows are read in slices."""
        if any(key[:2] != (split, shard) for key in self._obs_kept):
            self._obs_kept.clear()
        missing = [column for column in columns if (split, shard, column) not in self._obs_kept]
        if missing:
            try:
                with reaching(self.uri):
                    table = self._set.read_obs_of(split, shard, missing)
                self._obs_kept.update({(split, shard, column): table[column] for column in missing})
            except CorruptShardError as error:
                raise SourceError(str(error)) from error
            except (OSError, KeyError, pa.ArrowException) as error:
                path = self._set.obs_path(split, shard)
                raise SourceError(f"{path}: cannot be read ({error}); restore the file") from error
        return {column: self._obs_kept[split, shard, column] for column in columns}

    def _obs_columns(self, start: int, stop: int, columns: list[str]) -> dict[str, pa.Array]:
        found = self._stored_obs(start, stop, [reserved_name(column) for column in columns])
        return {column: found[reserved_name(column)] for column in columns}

    def _obs_names(self, start: int, stop: int) -> pa.Array:
        return self._stored_obs(start, stop, ["obs_name"])["obs_name"]

    @cached_property
    def _dataset_key(self) -> str | None:
        return None  # a set knows the datasets of its cells, whatever its obs columns are called

    @property
    def _layer_name(self) -> str:
        return "counts"

    def _remedy(self) -> str:
        return "a set holds counts only: build it again"

    def _hash_values(self, sha: Sha) -> None:
        hash_facts(sha, content=self._set.manifest["content_hash"])
