"""The plan of a build: everything that its tasks need to know, decided once and written down."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scdata._blocks import I32
from scdata._obs_filter import ObsFilter
from scdata._store_files import stamp_of
from scdata.build.genes import SetGenes
from scdata.build.obs_columns import ObsColumn
from scdata.build.splits import SplitRules, Splitter
from scdata.shard.files import read_arrow, write_arrow, write_json, write_parquet
from scdata.shard.set_files import CATEGORIES, CATEGORIES_SCHEMA, MEASURED, MEASURED_SCHEMA, VAR, VOCAB
from scdata.source import CountSource
from scdata.tokens.stored import tokenizer_from_json, tokenizer_to_json
from scdata.tokens.tokenizer import Tokenizer

FORMAT, FORMAT_VERSION, PLAN = "scdata-plan", 1, "plan.json"
TARGETS = "targets.arrow"
_LIBRARIES = ("scdata-engine", "numpy", "pyarrow", "xxhash")


@dataclass(frozen=True)
class Task:
    """Rows `start` to `stop` of a source."""

    source: int
    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """A plan, read back. Files beside ``plan.json`` hold what is not small."""

    table: dict[str, Any]
    tokenizer: Tokenizer
    obs_columns: tuple[ObsColumn, ...]
    genes: SetGenes
    targets: tuple[I32, ...]
    splitter: Splitter
    path: Path

    @property
    def tasks(self) -> list[Task]:
        return [Task(*task) for task in self.table["tasks"]]

    @property
    def splits(self) -> list[str]:
        return [split["name"] for split in self.table["splits"]]

    @property
    def n_shards(self) -> list[int]:
        """Shards of each split, in the order of `splits`."""
        return [int(split["n_shards"]) for split in self.table["splits"]]

    @property
    def fields(self) -> dict[str, pa.DataType]:
        """Source types of the obs columns that tasks read."""
        return {name: _TYPES[kind] for name, kind in self.table["obs_fields"].items()}

    @property
    def obs_filter(self) -> ObsFilter | None:
        text = self.table["config"].get("obs_filter")
        return ObsFilter(text) if text else None

    @property
    def drop_duplicates(self) -> bool:
        """True if of cells that express the same only the first is kept."""
        return bool(self.table["config"].get("drop_duplicates", False))

    @property
    def limit_key(self) -> int | None:
        """Largest key of the cells that the limit keeps; None if it keeps all."""
        text = self.table["limit_key"]
        return None if text is None else int(text, 16)

    @property
    def offsets(self) -> list[int]:
        """cell_id of the first row of each source."""
        return [int(source["cell_id_offset"]) for source in self.table["sources"]]

    @property
    def datasets(self) -> list[str]:
        """Names of the set's datasets, by code."""
        return [str(name) for name in read_arrow(self.path / MEASURED)["dataset"].to_pylist()]

    @property
    def dataset_offsets(self) -> list[int]:
        """Code of the first dataset of each source."""
        return [int(source["dataset_offset"]) for source in self.table["sources"]]


_TYPES = {str(kind): kind for kind in (pa.string(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(),
          pa.uint16(), pa.uint32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64())}  # fmt: skip


def libraries() -> dict[str, str]:
    """Versions that decide the bytes of a set."""
    return {name: version(name) for name in _LIBRARIES}


def load_plan(folder: Path) -> Plan:
    """Read a plan and the files beside it; the last one is kept, until another stands in its place."""
    return _load_plan(folder, stamp_of(folder / PLAN))


@lru_cache(maxsize=1)
def _load_plan(folder: Path, stamp: tuple[Any, ...]) -> Plan:
    table = json.loads((folder / PLAN).read_text())
    categories = read_arrow(folder / CATEGORIES)
    strings = dict(zip(categories["column"].to_pylist(), categories["categories"].to_pylist(), strict=True))
    columns = tuple(
        ObsColumn(c["name"], c["dtype"], tuple(strings[c["name"]]) if c["name"] in strings else None)
        for c in table["obs"]
    )
    var = pq.ParquetFile(io.BytesIO((folder / VAR).read_bytes())).read(use_threads=False)
    tokenizer = tokenizer_from_json(json.loads((folder / VOCAB).read_text()), str(folder / VOCAB))
    index = np.searchsorted(tokenizer.genes().gene_tokens, var["token_id"].to_numpy()).astype(np.int32)
    genes = SetGenes(var, index, var["code"].to_numpy())
    lists = [t.values.to_numpy() for t in read_arrow(folder / TARGETS)["target"]]
    targets = tuple(lists[source["gene_list"]] for source in table["sources"])
    groups = {column: dict(pairs) for column, pairs in table["groups"].items()}
    splitter = Splitter(SplitRules.parse(table["config"].get("splits", ())), table["config"]["seed"], groups)
    return Plan(table, tokenizer, columns, genes, targets, splitter, folder)


def distinct_lists(targets: Sequence[I32]) -> tuple[list[I32], list[int]]:
    """The different ones among the targets of sources, and which is whose: ten thousand files of one study share theirs."""
    key_of = {id(target): target.tobytes() for target in {id(target): target for target in targets}.values()}
    lists = {key_of[id(target)]: target for target in targets}
    number = {key: i for i, key in enumerate(lists)}
    return list(lists.values()), [number[key_of[id(target)]] for target in targets]


@dataclass(frozen=True)
class Draft:
    """A plan that is decided but not written: nothing on disk has changed."""

    table: dict[str, Any]
    tokenizer: Tokenizer
    columns: Sequence[ObsColumn]
    genes: SetGenes
    targets: Sequence[I32]
    sources: Sequence[CountSource]
    organisms: Sequence[Sequence[str]]

    def write(self, folder: Path) -> Plan:
        """Write the plan to `folder`, ``plan.json`` last."""
        named = [column for column in self.columns if column.categories is not None]
        strings = [[c.name for c in named], [list(c.categories or ()) for c in named]]
        write_arrow(folder / CATEGORIES, pa.table(strings, schema=CATEGORIES_SCHEMA))
        lists, _ = distinct_lists(self.targets)
        indptr = np.cumsum([0, *map(len, lists)])
        values = pa.array(np.concatenate(lists).astype(np.int32))
        targets = pa.LargeListArray.from_arrays(pa.array(indptr, pa.int64()), values)
        write_arrow(folder / TARGETS, pa.table({"target": targets}))
        write_arrow(folder / MEASURED, _measured(self.sources, self.organisms, self.targets, len(self.genes.var)))
        write_parquet(folder / VAR, self.genes.var)
        write_json(folder / VOCAB, tokenizer_to_json(self.tokenizer))
        write_json(folder / PLAN, self.table)
        return load_plan(folder)


def _measured(
    sources: Sequence[CountSource], organisms: Sequence[Sequence[str]], targets: Sequence[I32], n_genes: int
) -> pa.Table:
    rows: dict[str, list[Any]] = {name: [] for name in MEASURED_SCHEMA.names}
    for number, (source, species, target) in enumerate(zip(sources, organisms, targets, strict=True)):
        genes = source.genes
        for i, dataset in enumerate(genes.datasets):
            own = target if genes.measured is None else target[genes.measured[i]]
            bits = np.zeros(n_genes, bool)
            bits[own[own >= 0]] = True
            rows["dataset"].append(dataset)
            rows["source"].append(number)
            rows["organism"].append(species[i])
            rows["measured"].append(np.packbits(bits, bitorder="little").tobytes())
    return pa.table(rows, schema=MEASURED_SCHEMA)
