"""A finished set of shards: its manifest and the small files beside it, checked when it is opened."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scdata._blocks import I32, Array
from scdata._errors import CorruptShardError, SetNotFoundError, TokenizerError
from scdata._storage import Storage, is_local
from scdata.shard.block import StoredBlock
from scdata.shard.cells import OBS
from scdata.shard.file_cache import FileCache
from scdata.shard.files import parse_arrow
from scdata.shard.manifest import MANIFEST, read_manifest
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
    Blocks,
)
from scdata.shard.set_folder import SetFolder
from scdata.shard.tar import shard_name
from scdata.tokens.stored import tokenizer_from_json
from scdata.tokens.tokenizer import Tokenizer

_ANYWHERE = Storage()
_MOST_TOKENS, _MOST_CELLS = 1 << 24, 1 << 16  # of a vocabulary, of a block: no set of ours has more


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
            data = self.folder.manifest(MANIFEST)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise SetNotFoundError(self._why_not()) from None
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
            data = self.folder.read(name, lambda data: hashlib.sha256(data).hexdigest() == expected)
        except (FileNotFoundError, IsADirectoryError):
            raise CorruptShardError(f"{path}: missing, but named in the manifest") from None
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise CorruptShardError(
                f"{path}: sha256 is {found[:16]}…, the manifest says {expected[:16]}…: restore the file"
            )
        return data

    def _arrow(self, name: str, schema: pa.Schema) -> pa.Table:
        try:
            table = parse_arrow(self.read_file(name))
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise CorruptShardError(f"{self.path / name}: not an Arrow file: {error}") from error
        if not table.schema.equals(schema) or any(column.null_count for column in table.columns):
            raise CorruptShardError(f"{self.path / name}: expected the columns {schema.names} without nulls")
        return table

    @cached_property
    def var(self) -> pa.Table:
        """The genes of the set in order of token id: `token_id`, `code`, `feature_id`, `feature_name`, ids of the source."""
        try:
            table = pq.ParquetFile(io.BytesIO(self.read_file(VAR))).read(use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise CorruptShardError(f"{self.path / VAR}: not a Parquet file: {error}") from error
        for name, kind in VAR_COLUMNS.items():
            if name not in table.column_names or table[name].type != kind or table[name].null_count:
                raise CorruptShardError(f"{self.path / VAR}: expected a column {name!r} of {kind} without nulls")
        if len(table) != self.n_genes:
            raise CorruptShardError(f"{self.path / VAR}: n_genes is {len(table)}, the manifest says {self.n_genes}")
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
            found = tokenizer_from_json(json.loads(self.read_file(VOCAB)), str(self.path / VOCAB))
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
        return [str(name) for name in self._arrow(MEASURED, MEASURED_SCHEMA)["dataset"].to_pylist()]

    @cached_property
    def measured(self) -> Array:
        """bool (D, G): which genes of `var` each dataset measured."""
        rows = self._arrow(MEASURED, MEASURED_SCHEMA)["measured"].to_pylist()
        if {len(row) for row in rows} - {-(-self.n_genes // 8)}:
            raise CorruptShardError(f"{self.path / MEASURED}: its rows are not of {self.n_genes} genes")
        bits = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -(-self.n_genes // 8))
        return np.unpackbits(bits, axis=1, count=self.n_genes, bitorder="little").astype(bool)

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
        for name in ("offset", "length", "n_cells", "nnz", "shard", "block"):
            if len(table) and table[name].to_numpy().min() < 0:
                raise CorruptShardError(f"{self.path / INDEX}: a negative number in the column {name!r}")
        known = {(shard["split"], shard["shard"]) for shard in self.manifest["shards"]}
        for split, shard in set(zip(table["split"].to_pylist(), table["shard"].to_pylist(), strict=True)) - known:
            raise CorruptShardError(f"{self.path / INDEX}: shard {shard} of split {split!r} is not in the manifest")
        if len(table) and table["n_cells"].to_numpy().max() > _MOST_CELLS:
            raise CorruptShardError(f"{self.path / INDEX}: a block of more than {_MOST_CELLS} cells")
        sums = table.group_by("split", use_threads=False).aggregate([("n_cells", "sum")])
        found = dict(zip(sums["split"].to_pylist(), sums["n_cells_sum"].to_pylist(), strict=True))
        for name, split in self.manifest["splits"].items():
            if found.get(name, 0) != split["n_cells"]:
                raise CorruptShardError(
                    f"{self.path / INDEX}: split {name}: n_cells is {found.get(name, 0)}, the manifest says {split['n_cells']}"
                )
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
        if is_local(path):
            with path.open("rb") as file:
                return pq.ParquetFile(file).read(columns=columns, use_threads=False)
        expected = next(s["obs_sha256"] for s in self.shards(split) if s["shard"] == shard)
        name = f"obs/{shard_name(split, shard)}.parquet"
        data = self.folder.read(name, lambda data: hashlib.sha256(data).hexdigest() == expected)
        return pq.ParquetFile(io.BytesIO(data)).read(columns=columns, use_threads=False)
