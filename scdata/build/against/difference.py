"""Which cells of a range differ between a set and its source, and in what."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from scdata._blocks import Array
from scdata.build.against.digests import RANGE_CELLS
from scdata.build.against.records import PlacedCells, cells_of_shard, cells_of_source
from scdata.build.plan import Plan, Task
from scdata.shard.block import COUNTS
from scdata.shard.cells import Cells
from scdata.shard.shard_set import ShardSet
from scdata.source import CountSource


@dataclass(frozen=True)
class _One:
    """A cell, and a text that says where it was found."""

    placed: PlacedCells
    row: int
    record: bytes
    where: str


def differing_cells(shards: ShardSet, plan: Plan, sources: Mapping[int, CountSource], first_cell: int) -> Iterator[str]:
    """A line for each cell of a range of `RANGE_CELLS` cell_ids that is not in the set as it is in its source."""
    end = first_cell + RANGE_CELLS
    here, there = _of_set(shards, first_cell, end), _of_sources(plan, sources, first_cell, end)
    for cell_id in sorted({*here, *there}):
        ours, theirs = here.get(cell_id, []), there.get(cell_id)
        if len(ours) > 1:
            yield f"cell {cell_id}: stands {len(ours)} times in the set ({'; '.join(one.where for one in ours)})"
        elif not ours:
            assert theirs is not None
            yield f"cell {cell_id}: not in the set; {theirs.where}"
        elif theirs is None:
            yield f"cell {cell_id}: {ours[0].where}, but its source has no such cell, or it should have been left out"
        elif ours[0].record != theirs.record:
            yield f"cell {cell_id} ({ours[0].where}; {theirs.where}): {_what(shards, plan, ours[0], theirs)}"


def _of_set(shards: ShardSet, first_cell: int, end: int) -> dict[int, list[_One]]:
    found: dict[int, list[_One]] = {}
    for split in shards.splits:
        for shard in shards.shards(split):
            number = int(shard["shard"])
            ids = shards.read_obs_of(split, number, ["cell_id"])["cell_id"]
            if not pc.any(pc.and_(pc.greater_equal(ids, first_cell), pc.less(ids, end))).as_py():
                continue
            for block, placed in cells_of_shard(shards, split, number):
                where = f"{split} shard {number} block {block}"
                for cell_id, one in _cells(placed, first_cell, end, lambda _, where=where: where):  # type: ignore[misc]
                    found.setdefault(cell_id, []).append(one)
    return found


def _of_sources(plan: Plan, sources: Mapping[int, CountSource], first_cell: int, end: int) -> dict[int, _One]:
    found: dict[int, _One] = {}
    for number, offset in enumerate(plan.offsets):
        start, stop = max(first_cell - offset, 0), min(end - offset, sources[number].n_obs)
        if start < stop:
            name = plan.table["sources"][number]["name"]
            for placed in cells_of_source(plan, sources, Task(number, start, stop)):
                found.update(
                    _cells(placed, first_cell, end, lambda i, o=offset, n=name: f"row {i - o} of {n}")  # type: ignore[misc]
                )
    return found


def _cells(placed: PlacedCells, first: int, end: int, where: Callable[[int], str]) -> Iterator[tuple[int, _One]]:
    for row, (cell_id, record) in enumerate(zip(placed.cells.cell_id.tolist(), placed.records(), strict=True)):
        if first <= cell_id < end:
            yield cell_id, _One(placed, row, record, where(cell_id))


def _what(shards: ShardSet, plan: Plan, ours: _One, theirs: _One) -> str:
    """The first thing in which two cells differ."""
    a, b = ours.placed.cells, theirs.placed.cells
    i, j = ours.row, theirs.row
    facts = {
        "split": tuple(sorted(shards.splits)[one.placed.split[one.row]] for one in (ours, theirs)),
        "dataset": (shards.datasets[a.dataset[i]], plan.datasets[b.dataset[j]]),
        "total_counts": (a.total_counts[i], b.total_counts[j]),
        "vocab_counts": (a.vocab_counts[i], b.vocab_counts[j]),
        "name": (ours.placed.obs_names[i].as_py(), theirs.placed.obs_names[j].as_py()),
        **{f"obs {name!r}": (a.obs[name][i], b.obs[name][j]) for name in a.obs},
    }
    for what, (in_set, in_source) in facts.items():
        if in_set != in_source and not (in_set != in_set and in_source != in_source):  # two NaN are alike
            return f"{what} is {in_set} in the set, {in_source} in the source"
    return _tokens(shards, _part(a, i), _part(b, j))


def _part(cells: Cells, row: int) -> tuple[Array, Array | None]:
    part = slice(cells.indptr[row], cells.indptr[row + 1])
    return cells.ids[part], None if cells.values is None else cells.values[part]


def _tokens(shards: ShardSet, ours: tuple[Array, Array | None], theirs: tuple[Array, Array | None]) -> str:
    if len(ours[0]) != len(theirs[0]):
        return f"{len(ours[0])} tokens in the set, {len(theirs[0])} in the source"
    differ = ours[0] != theirs[0]
    if ours[1] is not None and theirs[1] is not None:
        differ |= ours[1] != theirs[1]
    at = int(np.flatnonzero(differ)[0])
    said = [f"{_name(shards, ids[at])}{'' if values is None else f' {values[at]}'}" for ids, values in (ours, theirs)]
    return f"token {at} is {said[0]} in the set, {said[1]} in the source"


def _name(shards: ShardSet, token: int) -> str:
    """What an id of a block stands for: a gene code in sets of counts, else a token."""
    token = int(shards.token_of_code[token]) if shards.encoding == COUNTS else int(token)
    at = np.flatnonzero(shards.var["token_id"].to_numpy() == token)
    return str(shards.var["feature_id"][int(at[0])]) if len(at) else f"the special token {token}"
