"""A finished set of shards: its manifest and the small files beside it, checked when it is opened."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from scdata._blocks import I32, Array
from scdata._cached import cached_property
from scdata._errors import CorruptShardError, SetNotFoundError, TokenizerError
from scdata._storage import Storage, is_local
from scdata.shard.block import StoredBlock
from scdata.shard.bounded import open_plain, parse_bounded_arrow, parse_bounded_json
from scdata.shard.cells import OBS
from scdata.shard.file_cache import FileCache
from scdata.shard.index import check_index
from scdata.shard.manifest import MANIFEST, MOST_BYTES, read_manifest
from scdata.shard.parquet_bounds import open_bounded_parquet, read_bounded_parquet
from scdata.shard.set_files import (
    CATEGORIES,
    CATEGORIES_SCHEMA,
    INDEX,
    INDEX_SCHEMA,
    MEASURED,
    MEASURED_SCHEMA,
    VAR,
    VAR_COLUMNS,
    VOCAB,
    WITHOUT_ORGANISM,
    Blocks,
)
from scdata.shard.set_folder import SetFolder
from scdata.shard.tar import shard_name
from scdata.tokens.stored import tokenizer_from_json
from scdata.tokens.tokenizer import Tokenizer

_ANYWHERE = Storage()
_MOST_TOKENS = 1 << 24  # of a vocabulary: no set of ours has more
# What files beside the manifest take: so much whatever the set, and so many bytes a gene and a cell
_FREE_BYTES, _FREE_VALUES, _MOST_OBS = 1 << 25, 1 << 19, 1 << 30
_MOST_BYTES_OF = {VAR: (4096, 0), VOCAB: (1024, 0), INDEX: (0, 128), CATEGORIES: (0, 128), MEASURED: (0, 128)}


class ShardSet:
    """A finished set, opened for reading.

    Parameters
    ----------
    path
        Its folder, or its address.
    storage
        How to reach an object store.
    cache
        Where copies of what is read from an address are kept; None: nowhere.

    Raises
    ------
    SetNotFoundError
        If there is no manifest, so no complete set.
    CorruptShardError
        If the manifest is none of ours, or a file beside it is not the one it names.
    StorageError
        At any use, if a store does not answer, or refuses.
    """

    def __init__(self, path: str | Path, storage: Storage = _ANYWHERE, cache: FileCache | None = None) -> None:
        self.path = storage.path(path)
        self.folder = SetFolder(self.path, cache)
        file = self.path / MANIFEST
        try:
            data = self.folder.manifest(MANIFEST, MOST_BYTES)
        except SetNotFoundError:
            raise
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise SetNotFoundError(self._why_not()) from None
        except ValueError as error:
            raise CorruptShardError(f"{file}: {error}") from error
        self.path = self.folder.path
        self.manifest_hash = hashlib.sha256(data).hexdigest()
        self.manifest = read_manifest(data, str(file))

    def _why_not(self) -> str:
        if (self.path / ".build").is_dir():
            return (
                f"{self.path} holds an unfinished build (no {MANIFEST}): run its `scdata build` command again to go on"
            )
        if self.path.is_dir():
            return f"{self.path} is not a set of shards: it has no {MANIFEST}, which is written when a set is complete"
        if self.path.exists():
            return (
                f"{self.path} is a file, not a set of shards: build one from it with `scdata build {self.path} -o SET`"
            )
        return f"{self.path} does not exist"

    # -- files beside the manifest -----------------------------------------

    def read_file(self, name: str) -> bytes:
        expected = self.manifest["files"].get(name)
        path = self.path / name
        if expected is None:
            raise CorruptShardError(f"{path}: not named in the manifest")
        try:
            data = self.folder.read(
                name, lambda data: hashlib.sha256(data).hexdigest() == expected, self._most_bytes(name)
            )
        except (FileNotFoundError, IsADirectoryError):
            raise CorruptShardError(f"{path}: missing, but named in the manifest") from None
        except ValueError as error:
            raise CorruptShardError(f"{path}: {error}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise CorruptShardError(
                f"{path}: sha256 is {found[:16]}…, the manifest says {expected[:16]}…: restore the file"
            )
        return data

    def _most_bytes(self, name: str) -> int:
        """Bytes of a file of such a set at most: what is longer is not read."""
        a_gene, a_cell = _MOST_BYTES_OF.get(name, (0, 0))
        return _FREE_BYTES + a_gene * self.n_genes + a_cell * int(self.manifest["n_cells"])

    def _arrow(self, name: str, schema: pa.Schema, *older: pa.Schema) -> pa.Table:
        try:
            table = parse_bounded_arrow(self.read_file(name))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptShardError(f"{self.path / name}: not an Arrow file: {error}") from error
        if not any(map(table.schema.equals, (schema, *older))) or any(column.null_count for column in table.columns):
            raise CorruptShardError(f"{self.path / name}: expected the columns {schema.names} without nulls")
        return table

    @cached_property
    def var(self) -> pa.Table:
        """The genes of the set in order of token id: `token_id`, `code`, `feature_id`, `feature_name`, ids of the source."""
        try:
            file = io.BytesIO(self.read_file(VAR))
            n_rows = open_bounded_parquet(file).metadata.num_rows
            if n_rows != self.n_genes:
                raise CorruptShardError(f"{self.path / VAR}: n_genes is {n_rows}, the manifest says {self.n_genes}")
            table = read_bounded_parquet(file)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptShardError(f"{self.path / VAR}: not a Parquet file: {error}") from error
        for name, kind in VAR_COLUMNS.items():
            if name not in table.column_names or table[name].type != kind or table[name].null_count:
                raise CorruptShardError(f"{self.path / VAR}: expected a column {name!r} of {kind} without nulls")
        ids, tokens = table["feature_id"].to_pylist(), table["token_id"].to_numpy()
        if (np.diff(tokens) <= 0).any() or [self.tokenizer.genes().token_ids.get(i) for i in ids] != tokens.tolist():
            raise CorruptShardError(
                f"{self.path / VAR}: its genes are not those of {VOCAB}, in order of their token ids"
            )
        return table

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that the set was built with."""
        try:
            found = tokenizer_from_json(
                parse_bounded_json(self.read_file(VOCAB), _FREE_VALUES + 8 * self.n_genes), str(self.path / VOCAB)
            )
        except (ValueError, RecursionError, TokenizerError) as error:
            raise CorruptShardError(f"{self.path / VOCAB}: {error}") from error
        if found.genes().n_tokens > _MOST_TOKENS:
            raise CorruptShardError(
                f"{self.path / VOCAB}: a token id of {found.genes().n_tokens - 1}, over {_MOST_TOKENS}"
            )
        return found

    @cached_property
    def categories(self) -> dict[str, list[str]]:
        """Strings behind the integer codes of obs columns; −1 is null."""
        table = self._arrow(CATEGORIES, CATEGORIES_SCHEMA)
        return dict(zip(table["column"].to_pylist(), table["categories"].to_pylist(), strict=True))

    @cached_property
    def datasets(self) -> list[str]:
        """Names behind the integer codes of `dataset`."""
        return [str(name) for name in self.dataset_table["dataset"].to_pylist()]

    @cached_property
    def organisms(self) -> list[str]:
        """Species of each dataset; ``""`` where it is not known, as in sets that were built before sets had it."""
        table = self.dataset_table
        if "organism" not in table.column_names:
            return [""] * len(table)
        return [str(name) for name in table["organism"].to_pylist()]

    @cached_property
    def dataset_table(self) -> pa.Table:
        """What stands in ``measured.arrow``: a row a dataset."""
        return self._arrow(MEASURED, MEASURED_SCHEMA, WITHOUT_ORGANISM)

    @cached_property
    def measured_bits(self) -> Array:
        """uint8 (D, ⌈G / 8⌉): the same as `measured`, a bit a gene, the least significant first."""
        rows = self.dataset_table["measured"].to_pylist()
        if {len(row) for row in rows} - {-(-self.n_genes // 8)}:
            raise CorruptShardError(f"{self.path / MEASURED}: its rows are not of {self.n_genes} genes")
        return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -(-self.n_genes // 8))

    @cached_property
    def measured(self) -> Array:
        """bool (D, G): which genes of `var` each dataset measured."""
        return np.unpackbits(self.measured_bits, axis=1, count=self.n_genes, bitorder="little").astype(bool)

    @cached_property
    def token_of_code(self) -> I32:
        """int32 (G,): token id of each gene code."""
        codes = self.var["code"].to_numpy()
        if not np.array_equal(np.sort(codes), np.arange(len(codes))):
            raise CorruptShardError(f"{self.path / VAR}: gene codes are not 0 … {len(codes) - 1}")
        out = np.empty(len(codes), np.int32)
        out[codes] = self.var["token_id"].to_numpy()
        return out

    # -- shards ------------------------------------------------------------

    @property
    def encoding(self) -> str:
        return str(self.manifest["encoding"])

    @property
    def n_genes(self) -> int:
        return int(self.manifest["n_genes"])

    @property
    def splits(self) -> list[str]:
        return list(self.manifest["splits"])

    def blocks(self, split: str) -> Blocks:
        """The blocks of a split.

        Raises
        ------
        ValueError
            If the set has no such split.
        """
        if split not in self.splits:
            raise ValueError(f"{self.path} has no split {split!r}; it has: {', '.join(self.splits)}")
        table = self.index.filter(pa.compute.equal(self.index["split"], split))
        return Blocks(**{name: table[name].to_numpy() for name in INDEX_SCHEMA.names if name != "split"})

    @cached_property
    def index(self) -> pa.Table:
        """All blocks, in order of split, shard and block."""
        table = self._arrow(INDEX, INDEX_SCHEMA)
        check_index(table, self.manifest, str(self.path / INDEX))
        return table

    def check_block(self, stored: StoredBlock) -> None:
        """Refuse a block that does not fit the set: before its cells are decoded, and looked up unchecked.

        Raises
        ------
        CorruptShardError
            If it is of another encoding or vocabulary, or holds a code that the set does not have.
        """
        if (stored.encoding, stored.n_genes) != (self.encoding, self.n_genes):
            raise CorruptShardError(f"is {stored.encoding} of {stored.n_genes} genes, unlike the set")
        stored.check(
            self.tokenizer.genes().n_tokens,
            {"dataset": len(self.datasets), **{OBS + name: len(known) for name, known in self.categories.items()}},
        )

    def shard_path(self, split: str, shard: int) -> Path:
        return self.path / "shards" / f"{shard_name(split, shard)}.tar"

    def obs_path(self, split: str, shard: int) -> Path:
        return self.path / "obs" / f"{shard_name(split, shard)}.parquet"

    def shards(self, split: str) -> list[Mapping[str, Any]]:
        """What the manifest says of each shard of a split, in order."""
        return [shard for shard in self.manifest["shards"] if shard["split"] == split]

    def read_obs(self, split: str) -> pa.Table:
        """The obs of a split's cells, in the stored order, one row a cell."""
        return pa.concat_tables([self.read_obs_of(split, int(shard["shard"])) for shard in self.shards(split)])

    def read_obs_of(self, split: str, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The obs of a shard's cells, in the stored order, one row a cell."""
        path = self.obs_path(split, shard)
        entry = next(s for s in self.shards(split) if s["shard"] == shard)
        try:
            if is_local(path):
                with open_plain(path) as file:
                    return self._obs(file, path, entry, columns)
            name = f"obs/{shard_name(split, shard)}.parquet"
            data = self.folder.read(
                name, lambda data: hashlib.sha256(data).hexdigest() == entry["obs_sha256"], _MOST_OBS
            )
            return self._obs(io.BytesIO(data), path, entry, columns)
        except (ValueError, pa.ArrowException) as error:
            raise CorruptShardError(f"{path}: cannot be read ({error}): restore it") from error

    def _obs(self, file: BinaryIO, path: Path, entry: Mapping[str, Any], columns: Sequence[str] | None) -> pa.Table:
        n_rows = open_bounded_parquet(file).metadata.num_rows
        if n_rows != entry["n_cells"]:
            raise CorruptShardError(f"{path}: has {n_rows} cells, the manifest says {entry['n_cells']}: restore it")
        return read_bounded_parquet(file, columns)
