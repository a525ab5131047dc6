"""Gather: the parts of one shard in all scatter files → a tar of blocks and its obs."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from scdata._blocks import I64, Array
from scdata.build.cells_table import ragged_arrays, read_parts
from scdata.build.plan import Plan, load_plan
from scdata.build.scattered import parts_of_shard
from scdata.counts.csr import take_rows
from scdata.shard.block import encode_block
from scdata.shard.cells import Cells, reserved_name
from scdata.shard.files import atomic_file, write_json, write_parquet
from scdata.shard.set_files import INDEX_SCHEMA
from scdata.shard.tar import shard_name, write_tar


def gather_mark(folder: Path, shard: int) -> Path:
    """Written last: the shard is done, with its hashes and index."""
    return folder / "shards" / f"shard-{shard:06d}.json"


def gather_task(folder: Path, scratch: Path, out: Path, number: int) -> dict[str, Any]:
    """Write shard `number` (counted over all splits) and its obs file."""
    plan = load_plan(folder)
    split, shard = _split_and_shard(plan, number)
    cells = ShardCells.read(plan, scratch, number)
    index: list[dict[str, Any]] = []
    content: list[str] = []
    path = out / "shards" / f"{shard_name(split, shard)}.tar"
    with atomic_file(path) as tar:
        places = write_tar(tar, split, shard, _blocks(plan, cells, index, content))
    for block, (entry, (offset, length)) in enumerate(zip(index, places, strict=True)):
        entry.update(split=split, shard=shard, block=block, offset=offset, length=length)
    obs_path = out / "obs" / f"{shard_name(split, shard)}.parquet"
    obs_sha256 = write_parquet(obs_path, cells.obs_table())
    entry = {
        "split": split,
        "shard": shard,
        "n_cells": cells.n_cells,
        "n_tokens": len(cells.ids),
        "bytes": tar.size,
        "sha256": tar.sha256,
        "obs_sha256": obs_sha256,
    }
    index_rows = [[row[name] for name in INDEX_SCHEMA.names] for row in index]
    write_json(gather_mark(folder, number), {"shard": entry, "index": index_rows, "content": content})
    return {"cells": cells.n_cells}


def _split_and_shard(plan: Plan, number: int) -> tuple[str, int]:
    for split, n_shards in zip(plan.splits, plan.n_shards, strict=True):
        if number < n_shards:
            return split, number
        number -= n_shards
    raise IndexError(f"the plan has {sum(plan.n_shards)} shards")


@dataclass(frozen=True)
class ShardCells:
    """The cells of one shard as the scatter files have them, and the order they go in.

    Parameters
    ----------
    plan
        Names the columns.
    table
        One row a cell: everything but the ragged columns.
    order
        int64 (C,): rows of `table` by rising key.
    indptr, ids, values
        Ragged columns, in the order of `table`: the largest part, never copied as a whole again.
    """

    plan: Plan
    table: pa.Table
    order: I64
    indptr: I64
    ids: Array
    values: Array | None

    @staticmethod
    def read(plan: Plan, scratch: Path, number: int) -> "ShardCells":
        """Shard `number`, counted over all splits; at least one cell of it."""
        batches = read_parts(parts_of_shard(plan, scratch, number), plan.obs_columns)
        ragged = [name for name in ("ids", "values") if name in batches[0].schema.names]
        plain = [name for name in batches[0].schema.names if name not in ragged]
        indptr, ids = ragged_arrays([batch.column("ids") for batch in batches])
        values = ragged_arrays([batch.column("values") for batch in batches])[1] if "values" in ragged else None
        table = pa.Table.from_batches([batch.select(plain) for batch in batches]).combine_chunks()
        return ShardCells(plan, table, np.argsort(table["key"].to_numpy()), indptr, ids, values)

    @property
    def n_cells(self) -> int:
        return len(self.order)

    def cells(self, part: slice) -> Cells:
        """Some of the cells, by their place in the shard."""
        rows = self.order[part]
        ragged = [self.ids] if self.values is None else [self.ids, self.values]
        floats = self.values is not None and self.values.dtype.kind == "f"
        indptr, [ids, *values] = take_rows(
            self.indptr, rows, *ragged, dtypes=(np.int32, None if floats else np.int32)[: len(ragged)]
        )
        return Cells(
            indptr=indptr,
            ids=ids,
            values=values[0] if values else None,
            cell_id=self._column("cell_id", rows),
            dataset=self._column("dataset", rows),
            total_counts=self._column("total_counts", rows),
            vocab_counts=self._column("vocab_counts", rows),
            obs={column.name: self._column(f"obs.{column.name}", rows) for column in self.plan.obs_columns},
        )

    def _column(self, name: str, rows: I64) -> Array:
        return np.asarray(self.table[name].to_numpy()[rows])

    def obs_table(self) -> pa.Table:
        """What the obs file of the shard holds: strings as people know them."""
        columns = {
            "cell_id": pa.array(self._column("cell_id", self.order)),
            "dataset": self._datasets(),
            "n_tokens": pa.array(np.diff(self.indptr)[self.order].astype(np.int32)),
            "total_counts": pa.array(self._column("total_counts", self.order)),
            "vocab_counts": pa.array(self._column("vocab_counts", self.order)),
            "obs_name": self.table["obs_name"].take(pa.array(self.order)),
        }
        for column in self.plan.obs_columns:
            values = self._column(f"obs.{column.name}", self.order)
            columns[reserved_name(column.name)] = column.decode(values)
        return pa.table(columns)

    def _datasets(self) -> pa.Array:
        # sources may share a name, and a dictionary must not: Parquet would write bytes that were never set
        names, code_of = np.unique(np.array(self.plan.datasets, object), return_inverse=True)
        codes = pa.array(code_of.astype(np.int32)[self._column("dataset", self.order)])
        return pa.DictionaryArray.from_arrays(codes, pa.array(names.tolist(), pa.string()))


def _blocks(plan: Plan, cells: ShardCells, index: list[dict[str, Any]], content: list[str]) -> Iterator[bytes]:
    """Encode block after block; adds to `index` and to the content hashes on the way."""
    config = plan.table["config"]
    n_blocks = -(-cells.n_cells // config["block_size"])
    bounds = [cells.n_cells * i // max(n_blocks, 1) for i in range(n_blocks + 1)]
    for start, stop in pairwise(bounds):
        part = cells.cells(slice(start, stop))
        data = encode_block(part, plan.table["encoding"], config["codec"], len(plan.genes.var))
        index.append({"n_cells": part.n_cells, "nnz": int(part.indptr[-1]), "xxh3": xxhash.xxh3_64_intdigest(data)})
        content.append(part.content_hash().hex())
        yield data
