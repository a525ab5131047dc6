"""Which split a cell falls in: rules, and their pure function of (seed, cell, obs)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scdata._blocks import I64
from scdata._splitmix import key_of_text, keys, stream
from scdata.shard.manifest import check_split_name

REST = "train"
_GRAMMAR = "NAME=FRACTION, NAME=FRACTION:COLUMN or NAME=COLUMN:'value'[,'value']"
_FRACTION = re.compile(r"(\d*\.?\d+)(?::(.+))?")
_VALUES = re.compile(r"([^:]+):((?:'[^']*'|\"[^\"]*\")(?:,(?:'[^']*'|\"[^\"]*\"))*)")


@dataclass(frozen=True)
class SplitRule:
    """One ``--split``: a fraction of cells, a fraction in whole groups of `column`, or values of `column`."""

    name: str
    fraction: float | None
    column: str | None
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitRules:
    """Rules in order; the first that matches a cell wins, and the rest of the cells is ``train``.

    Fractions without a column are consecutive parts of one order of all cells, by a hash of cell_id. Fractions of one column
    are consecutive parts of one order of its groups, by a hash of the group, each taking whole groups until it holds its
    fraction of the cells, and at least one. A null is a group of its own.
    """

    rules: tuple[SplitRule, ...]

    @staticmethod
    def parse(texts: Sequence[str]) -> "SplitRules":
        """Read expressions such as ``val=0.1``, ``val=0.1:donor_id``, ``test=condition:'stim'``.

        Raises
        ------
        ValueError
            If one is not of the grammar, a name repeats, or fractions reach 1.
        """
        rules = tuple(_parse(text) for text in texts)
        names = [rule.name for rule in rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"--split {name} is given twice: give each split one rule")
        for column in {rule.column for rule in rules if rule.fraction is not None}:
            total = sum(rule.fraction or 0 for rule in rules if rule.column == column and rule.fraction is not None)
            if total > 1 + 1e-9 or (total > 1 - 1e-9 and REST not in names):
                beyond = "which leaves nothing for 'train'" if REST not in names else "over 1"
                raise ValueError(f"the fractions of --split add up to {total:g}, {beyond}")
        return SplitRules(rules)

    @property
    def names(self) -> list[str]:
        """All splits, in the order of the rules, ``train`` first unless a rule names it."""
        named = [rule.name for rule in self.rules]
        return named if REST in named else [REST, *named]

    @property
    def columns(self) -> list[str]:
        """The obs columns that the rules look at."""
        return sorted({rule.column for rule in self.rules if rule.column is not None})

    @property
    def group_columns(self) -> list[str]:
        """Columns of which whole groups are taken."""
        return sorted({rule.column for rule in self.rules if rule.column is not None and rule.fraction is not None})

    def resolve(self, seed: int, group_sizes: Mapping[str, Mapping[str | None, int]]) -> "Splitter":
        """Fix which groups each fraction takes.

        Parameters
        ----------
        seed
            Seed of the build.
        group_sizes
            Cells of each group of each of `group_columns`.

        Raises
        ------
        ValueError
            If a column has too few groups for its splits.
        """
        groups: dict[str, dict[str | None, str]] = {}
        for column in self.group_columns:
            sizes = group_sizes[column]
            order = sorted(sizes, key=lambda group: (key_of_text(_text(group), stream(seed, "split", 1)), _text(group)))
            total, taken = sum(sizes.values()), 0
            groups[column] = {}
            rules = [rule for rule in self.rules if rule.column == column and rule.fraction is not None]
            if len(order) < len(rules):
                raise ValueError(
                    f"--split {rules[len(order)].name} would be empty: {column!r} has {len(order)} group(s) for {len(rules)} "
                    "splits; split by another column, or by cells (NAME=FRACTION)"
                )
            for rule, reserve in zip(rules, range(len(rules) - 1, -1, -1), strict=True):
                held = 0
                while taken < len(order) - reserve and (held == 0 or held < (rule.fraction or 0) * total):
                    groups[column][order[taken]] = rule.name
                    held += sizes[order[taken]]
                    taken += 1
        return Splitter(self, seed, groups)


@dataclass(frozen=True)
class Splitter:
    """Rules with the groups of each fraction fixed."""

    rules: SplitRules
    seed: int
    groups: Mapping[str, Mapping[str | None, str]]

    @cached_property
    def _values(self) -> dict[str, Sequence[str | None]]:
        """Of each split that a column decides: the values that fall in it."""
        return {
            rule.name: rule.values
            if rule.fraction is None
            else [group for group, name in self.groups[rule.column].items() if name == rule.name]
            for rule in self.rules.rules
            if rule.column is not None
        }

    def assign(self, cell_id: I64, obs: pa.Table) -> npt.NDArray[np.int16]:
        """int16 (C,): number of each cell's split in ``rules.names``.

        Parameters
        ----------
        cell_id
            int64 (C,).
        obs
            At least the columns that the rules look at, one row a cell.
        """
        number = {name: i for i, name in enumerate(self.rules.names)}
        out = np.full(len(cell_id), number[REST], np.int16)
        open_ = np.ones(len(cell_id), bool)
        # the top 53 bits of the hash, as a float in [0, 1)
        uniform = (keys(cell_id, stream(self.seed, "split", 0)) >> np.uint64(11)) * 2.0**-53
        reached = 0.0
        for rule in self.rules.rules:
            if rule.column is None:
                fraction = rule.fraction or 0.0
                match = (uniform >= reached) & (uniform < reached + fraction)
                reached += fraction
            else:
                match = is_in(obs[rule.column], self._values[rule.name])
            out[match & open_] = number[rule.name]
            open_ &= ~match
        return out


def as_text(column: Any) -> Any:
    """An obs column as strings, as rules and categories write its values: ``True``, ``1``, ``0.5``, the string itself."""
    if pa.types.is_boolean(column.type):
        return pc.if_else(column, "True", "False")
    return column if pa.types.is_string(column.type) else pc.cast(column, pa.string())


def is_in(column: Any, values: Sequence[str | None]) -> npt.NDArray[np.bool_]:
    """bool (C,): cells whose value is one of `values`; None matches nulls."""
    found = pc.is_in(as_text(column), value_set=pa.array(list(values), pa.string()))
    return np.asarray(found.to_numpy(zero_copy_only=False) if isinstance(found, pa.Array) else found.to_numpy(), bool)


def _text(group: str | None) -> str:
    # a null sorts as a group that no string can be
    return "\0null" if group is None else group


def _parse(text: str) -> SplitRule:
    name, equals, rule = text.partition("=")
    if not equals or not rule:
        raise ValueError(f"--split {text!r}: expected {_GRAMMAR}")
    check_split_name(name)
    if match := _FRACTION.fullmatch(rule):
        fraction = float(match.group(1))
        if not 0 < fraction < 1:
            raise ValueError(f"--split {text!r}: the fraction {fraction:g} must lie between 0 and 1")
        return SplitRule(name, fraction, match.group(2))
    if match := _VALUES.fullmatch(rule):
        values = tuple(value[1:-1] for value in re.findall(r"'[^']*'|\"[^\"]*\"", match.group(2)))
        return SplitRule(name, None, match.group(1), values)
    raise ValueError(f"--split {text!r}: expected {_GRAMMAR}")
