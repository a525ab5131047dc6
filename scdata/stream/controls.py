"""Controls of a screen: where they stand, and which one goes with a cell."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scdata._blocks import I32, I64, Array
from scdata._errors import CorruptShardError
from scdata._splitmix import U64
from scdata.shard.block import COUNTS
from scdata.shard.cells import OBS, reserved_name
from scdata.shard.roles import PerturbationRoles, roles_of
from scdata.shard.shard_set import ShardSet
from scdata.stream.obs import iter_obs
from scdata.stream.places import Places
from scdata.stream.selection import Selection

KEPT_BYTES = 1 << 30  # of controls, as they are stored: more than that are read again and again
_ENTRY_BYTES = {COUNTS: 1.5}  # a gene of a cell, with its exceptions; of tokens, with values
_TOKEN_BYTES, _CELL_BYTES = 6, 64
_SHOWN = 3


@dataclass(frozen=True)
class Groups:
    """Numbers of groups of cells that are alike in K columns.

    Parameters
    ----------
    levels
        Of each column: its values, rising, and the pairs (number so far × values + place of the value) there are, rising.
    """

    levels: tuple[tuple[I64, I64], ...]

    @classmethod
    def of(cls, keys: I64) -> tuple["Groups", I64]:
        """The groups of the rows of `keys`, int64 (C, K), and the number of each row's: int64 (C,)."""
        levels, number = [], np.zeros(len(keys), np.int64)
        for column in keys.T:
            values, at = np.unique(column, return_inverse=True)
            pairs, number = np.unique(number * len(values) + at, return_inverse=True)
            levels.append((values, pairs))
        return cls(tuple(levels)), number

    def find(self, keys: I64) -> I64:
        """int64 (C,): the number of each row's group, -1 where there is none."""
        number, there = np.zeros(len(keys), np.int64), np.ones(len(keys), bool)
        for column, (values, pairs) in zip(keys.T, self.levels, strict=True):
            at = np.minimum(np.searchsorted(values, column), len(values) - 1)
            pair = number * len(values) + at
            number = np.minimum(np.searchsorted(pairs, pair), len(pairs) - 1)
            there &= (values[at] == column) & (pairs[number] == pair)
        return np.where(there, number, -1)


@dataclass(frozen=True)
class Controls:
    """The N controls of a split: some 30 bytes each.

    Parameters
    ----------
    roles
        Which column and value they are known by, and in which columns they are matched.
    selection
        Which cells of the split they are.
    groups
        What is alike in dataset and matched columns.
    first
        int64 (groups + 1,): where each group's controls begin.
    block, row
        int32 (N,), group by group: where they stand, counted among `selection`.
    cell_id, place
        int64 (N,), rising, and int32 (N,): where the control of that id stands in its group.
    code
        What blocks hold for the control's value.
    dataset_of
        int64: of each dataset's code, the first one of the same name.
    """

    roles: PerturbationRoles
    selection: Selection
    groups: Groups
    first: I64
    block: I32
    row: I32
    cell_id: I64
    place: I32
    code: int
    dataset_of: I64

    @property
    def columns(self) -> tuple[str, ...]:
        """The stored columns that `draw` looks at."""
        return ("cell_id", "dataset", *(OBS + name for name in self.roles.columns))

    def draw(self, columns: Mapping[str, Array], key: U64) -> Places:
        """A control for each of C cells, evenly from those of its group; for a control another one, if there is one.

        Parameters
        ----------
        columns
            `columns` of the cells, (C,) each.
        key
            uint64 (C,): a random number for each cell.

        Raises
        ------
        CorruptShardError
            If a cell is of no group that it was found in when the loader was made.
        """
        keys = [self.dataset_of[columns["dataset"]], *(columns[OBS + name] for name in self.roles.match)]
        group = self.groups.find(np.stack([own.astype(np.int64) for own in keys], axis=1))
        if (group < 0).any():
            cell = int(columns["cell_id"][np.flatnonzero(group < 0)[0]])
            raise CorruptShardError(
                f"cell {cell} is of another dataset or {', '.join(self.roles.match)} than obs/ says: restore the set"
            )
        n = self.first[group + 1] - self.first[group]
        others = (columns[OBS + self.roles.column] == self.code) & (n > 1)
        # the upper half of the key, scaled: uneven by less than n / 2**32
        drawn = ((key >> np.uint64(32)) * (n - others).astype(np.uint64) >> np.uint64(32)).astype(np.int64)
        at = np.minimum(np.searchsorted(self.cell_id, columns["cell_id"]), len(self.cell_id) - 1)
        drawn += others & (drawn >= self.place[at])
        found = self.first[group] + drawn
        return Places(self.block[found].astype(np.int64), self.row[found].astype(np.int64))

    def capacity(self, shards: ShardSet, split: str) -> tuple[int, float]:
        """How many blocks of controls `KEPT_BYTES` hold, and about how many bytes all of them take."""
        index, n = shards.blocks(split), self.selection.n_cells
        a_token = _ENTRY_BYTES.get(shards.encoding, _TOKEN_BYTES)
        share = n / np.maximum(index.n_cells, 1)
        n_bytes = float((share * index.nnz).sum() * a_token + n.sum() * _CELL_BYTES)
        n_blocks = int(np.count_nonzero(n))
        return (n_blocks if n_bytes <= KEPT_BYTES else max(1, int(n_blocks * KEPT_BYTES / n_bytes))), n_bytes


def find_controls(shards: ShardSet, split: str, streamed: Selection) -> Controls:
    """The controls of a split, found from ``obs/`` once.

    Parameters
    ----------
    streamed
        The cells that need one.

    Raises
    ------
    ValueError
        If the manifest names no roles, or a cell of `streamed` has no control of its group.
    CorruptShardError
        If obs of a shard is missing, or of another length than the shard, or roles are of columns that cannot have them.
    """
    roles = roles_of(shards.manifest)
    if roles is None:
        raise ValueError(
            f"pair_controls: the manifest of {shards.path} does not say which cells are controls: build the set with "
            "--perturbation COL --control VALUE (from a set of counts: scdata build SET -o NEW --perturbation …)"
        )
    if roles.control not in shards.categories.get(roles.column, ()):
        raise CorruptShardError(
            f"{shards.path}: the manifest says that controls have {roles.control!r} in the obs column {roles.column!r}, and "
            "it is no string of that column"
        )
    datasets, wanted, start = shards.datasets, streamed.cells(), 0
    first_of = {name: code for code, name in reversed(list(enumerate(datasets)))}
    names = [reserved_name(name) for name in (roles.column, *roles.match)]
    ids, at, keys = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, 1 + len(roles.match)), np.int64)]
    alone: Counter[tuple[int, ...]] = Counter()
    for table in iter_obs(shards, split, ["cell_id", "dataset", *names], "pair_controls"):
        is_control = pc.fill_null(pc.equal(table[names[0]], roles.control), False).to_numpy(zero_copy_only=False)
        coded = [_codes(table["dataset"], list(first_of), list(first_of.values()))]
        coded += [
            _codes(table[name], shards.categories.get(own)) for name, own in zip(names[1:], roles.match, strict=True)
        ]
        rows = np.stack(coded, axis=1)
        own = np.flatnonzero(is_control)
        ids.append(table["cell_id"].to_numpy()[own].astype(np.int64))
        at.append(start + own)
        keys.append(rows[own])
        found, n = np.unique(rows[~is_control & wanted[start : start + len(rows)]], axis=0, return_counts=True)
        alone.update(dict(zip(map(tuple, found.tolist()), n.tolist(), strict=True)))
        start += len(rows)
    groups, number = Groups.of(np.concatenate(keys))
    _check(shards, split, roles, groups, number, alone)
    position, cell_id, order = np.concatenate(at), np.concatenate(ids), np.argsort(number, kind="stable")
    kept = np.zeros(start, bool)
    kept[position] = True
    selection = Selection.of(kept, streamed.starts)
    block = np.searchsorted(streamed.starts, position, side="right") - 1
    row = np.arange(len(position)) - (np.cumsum(selection.n_cells) - selection.n_cells)[block]
    first = np.searchsorted(number[order], np.arange(number.max() + 2))
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order)) - first[number[order]]
    by_id = np.argsort(cell_id)
    return Controls(
        roles=roles,
        selection=selection,
        groups=groups,
        first=first,
        block=block[order].astype(np.int32),
        row=row[order].astype(np.int32),
        cell_id=cell_id[by_id],
        place=place[by_id],
        code=shards.categories[roles.column].index(roles.control),
        dataset_of=np.array([first_of[name] for name in datasets], np.int64),
    )


def _codes(
    column: pa.Array | pa.ChunkedArray, strings: Sequence[str] | None, codes: Sequence[int] | None = None
) -> I64:
    """int64 (C,): what blocks hold for a column of obs: the place of a string among `strings`, or its code; else the number."""
    if strings is None:
        if not pa.types.is_integer(column.type):
            raise CorruptShardError(f"controls are matched by an obs column of {column.type}, which names no group")
        return np.asarray(column.to_numpy(), np.int64)
    found = pc.fill_null(pc.index_in(column, value_set=pa.array(strings, pa.string())), -1).to_numpy().astype(np.int64)
    return found if codes is None else np.asarray(np.array([*codes, -1], np.int64)[found])


def _check(
    shards: ShardSet,
    split: str,
    roles: PerturbationRoles,
    groups: Groups,
    number: I64,
    alone: Mapping[tuple[int, ...], int],
) -> None:
    """Refuse cells that no control goes with."""
    told = f"control ({roles.control!r} in {roles.column!r})"
    if not len(number):
        raise ValueError(f"pair_controls: split {split!r} of {shards.path} has no {told}: take another split")
    keys = np.array(list(alone), np.int64).reshape(len(alone), 1 + len(roles.match))
    missing = keys[groups.find(keys) < 0].tolist()
    if not missing:
        return
    names = {"dataset": shards.datasets, **{name: shards.categories.get(name) for name in roles.match}}
    shown = "; ".join(
        f"{_said(names, key)}: {alone[tuple(key)]:,} cells"
        for key in sorted(missing, key=lambda key: -alone[tuple(key)])[:_SHOWN]
    )
    raise ValueError(
        f"pair_controls: {sum(alone[tuple(key)] for key in missing):,} cells of split {split!r} of {shards.path}, in "
        f"{len(missing):,} groups, have no {told} with the same {', '.join(names)}: {shown}: leave them out with filter=, or "
        "build the set with fewer columns in --control-match"
    )


def _said(names: Mapping[str, Sequence[str] | None], key: Sequence[int]) -> str:
    parts: list[Any] = []
    for (name, strings), code in zip(names.items(), key, strict=True):
        parts.append(f"{name} {code if strings is None else 'null' if code < 0 else repr(strings[code])}")
    return ", ".join(parts)
