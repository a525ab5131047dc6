"""The roles of obs columns in a screen: as a build is asked for them, or as its sources have them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scdata._config import nearest
from scdata._errors import BuildError, LayerNotFoundError
from scdata.build.config import BuildConfig
from scdata.build.obs_columns import ObsColumn
from scdata.build.progress import Progress
from scdata.shard.roles import PerturbationRoles, roles_of
from scdata.source import CountSource, perturbation_of
from scdata.tokens.tokenizer import Tokenizer

_DONOR = "donor_id"


class Screen:
    """The roles of a build, while its obs are read.

    Parameters
    ----------
    roles
        None: there are none.
    asked
        True if the build was asked for them: what does not fit is an error. Else they came with the sources, and go.
    origin
        Who says so, where the build was not asked.
    """

    def __init__(self, roles: PerturbationRoles | None, asked: bool, origin: str = "") -> None:
        self._roles, self._asked, self._origin, self._n_controls = roles, asked, origin, 0
        self._values: set[str] = set()

    @classmethod
    def of(
        cls, config: BuildConfig, sources: Sequence[CountSource], tokenizer: Tokenizer, progress: Progress
    ) -> "Screen":
        """What `config` asks for; else the roles that all sources have, if they are the same, and obs keeps their columns."""
        fields: dict[str, pa.DataType] = {field.name: field.type for own in sources for field in own.obs_schema}
        if config.perturbation is None or config.control is None:
            return cls(_kept(config, sources, fields, progress), False, _named(sources))
        match = config.control_match
        if match is None:
            genes = tokenizer.preset.genes
            batch = genes.batch_key if genes.choice == "hvg" else None
            match = (batch or _DONOR,) if (batch or _DONOR) in fields else ()
        roles = PerturbationRoles(config.perturbation, config.control, tuple(match))
        for name, option in ((roles.column, "perturbation"), *((name, "control_match") for name in roles.match)):
            if name not in fields:
                raise LayerNotFoundError(f"{option}: no obs column {name!r}: {nearest(name, list(fields))}")
        if not pa.types.is_string(fields[roles.column]):
            strings = [name for name, kind in fields.items() if pa.types.is_string(kind)]
            raise LayerNotFoundError(
                f"perturbation: the obs column {roles.column!r} holds {fields[roles.column]}, not strings: "
                f"{nearest(roles.column, strings)}"
            )
        if roles.column in roles.match:
            raise ValueError(f"control_match names {roles.column!r}, the perturbation itself: no control would match")
        return cls(roles, True)

    @property
    def columns(self) -> tuple[str, ...]:
        """obs columns that the set must have."""
        return () if self._roles is None else self._roles.columns

    def add(self, obs: pa.Table) -> None:
        """Take in cells that the filter keeps: a table with `columns`."""
        if self._roles is not None:
            values = obs[self._roles.column]
            self._n_controls += pc.sum(pc.equal(values, self._roles.control)).as_py() or 0
            if not self._n_controls:
                self._values.update(value for value in pc.unique(values).to_pylist() if value is not None)

    def found(self, columns: Sequence[ObsColumn], progress: Progress) -> PerturbationRoles | None:
        """The roles, after all cells were taken in; `columns`: those of the set.

        Raises
        ------
        BuildError
            If no cell has the control's value, and the build was asked for the roles.
        LayerNotFoundError
            If controls cannot be matched by a column, because it holds fractions, and the build was asked for it.
        """
        roles = self._roles
        if roles is None:
            return None
        if not self._n_controls:
            told = f"no cell that is kept has {roles.control!r} in the obs column {roles.column!r}"
            if self._asked:
                raise BuildError(f"control: {told}: {nearest(roles.control, sorted(self._values)[:20])}")
            progress.note(_left_out(told))
            return None
        types: Mapping[str, str] = {column.name: column.dtype for column in columns}
        for name in roles.match:
            if np.dtype(types[name]).kind == "f":
                told = f"the obs column {name!r} holds {types[name]} (or whole numbers with nulls), which name no group"
                if self._asked:
                    raise LayerNotFoundError(f"control_match: {told}: take a column of strings or whole numbers")
                progress.note(_left_out(told))
                return None
        if not self._asked:
            progress.note(f"the roles of a perturbation come with {self._origin}; --perturbation names others")
        return roles


def _kept(
    config: BuildConfig, sources: Sequence[CountSource], fields: Mapping[str, pa.DataType], progress: Progress
) -> PerturbationRoles | None:
    """The roles of sources that are sets, or exports of sets."""
    found = [roles_of({"perturbation": perturbation_of(source)}) for source in sources]
    named = next((roles for roles in found if roles is not None), None)
    if named is None:
        return None
    if any(roles != named for roles in found):
        progress.note("the sources do not agree on the roles of a perturbation: none is kept; --perturbation names it")
        return None
    unlike = [name for name in named.columns if any(name not in own.obs_schema.names for own in sources)]
    unkept = [] if config.obs is None else [name for name in named.columns if name not in config.obs]
    if unlike:
        why = f"there is no obs column {', '.join(unlike)}"
    elif not pa.types.is_string(fields[named.column]):
        why = f"the obs column {named.column!r} holds {fields[named.column]}, not strings"
    elif unkept:
        why = f"--obs does not keep {', '.join(unkept)}"
    else:
        return named
    progress.note(_left_out(why))
    return None


def _left_out(why: str) -> str:
    return f"the roles of the source's perturbation are left out: {why}"


def _named(sources: Sequence[CountSource]) -> str:
    return sources[0].name + (f" and {len(sources) - 1:,} other sources" if len(sources) > 1 else "")
