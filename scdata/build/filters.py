"""Which cells obs alone leaves out: the filter that a source comes with, and the one that the user gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scdata._obs_filter import ObsFilter
from scdata.source import CountSource, DefaultFilter, default_filter

FILTERED = "obs filter"


@dataclass(frozen=True)
class ObsFilters:
    """The filters of one source, with the reasons that drops are counted under; a cell is dropped for the first that holds.

    Parameters
    ----------
    by_reason
        Filters that a cell must pass, by reason.
    default
        The source's own one, if it is among them.
    """

    by_reason: Mapping[str, ObsFilter]
    default: DefaultFilter | None = None

    @property
    def columns(self) -> set[str]:
        """obs columns that they look at."""
        return {column for own in self.by_reason.values() for column in own.columns}

    def mask(self, obs: pa.Table) -> npt.NDArray[np.bool_]:
        """bool (C,): the cells that pass all."""
        keep = np.ones(len(obs), bool)
        for own in self.by_reason.values():
            keep &= own.mask(obs)
        return keep

    def left_out(self, obs: pa.Table) -> list[tuple[str, npt.NDArray[np.bool_]]]:
        """For each reason, bool (C,): the cells that it leaves out."""
        return [(reason, ~own.mask(obs)) for reason, own in self.by_reason.items()]


def filters_of(source: CountSource, given: ObsFilter | None) -> ObsFilters:
    """The filters of a source: its default is left out where the user's filter looks at one of the same columns."""
    default = default_filter(source)
    if default is not None and given is not None and set(ObsFilter(default.text).columns) & set(given.columns):
        default = None
    return _filters(default, given)


def planned_filters(table: Mapping[str, Any], given: ObsFilter | None) -> ObsFilters:
    """The same of a source of a plan, from its table."""
    default = table.get("default_filter")
    return _filters(None if default is None else DefaultFilter(**default), given)


def _filters(default: DefaultFilter | None, given: ObsFilter | None) -> ObsFilters:
    own = {} if default is None else {default.reason: ObsFilter(default.text)}
    return ObsFilters({**own, **({} if given is None else {FILTERED: given})}, default)
