"""The roles of obs columns in a screen: as a build is asked for them, or as its sources have them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scdata._config import nearest
from scdata._errors import BuildError, LayerNotFoundError
from scdata.build.config import BuildConfig
from scdata.build.finished_set import FinishedSetSource
from scdata.build.obs_columns import ObsColumn
from scdata.build.progress import Progress
from scdata.shard.roles import PerturbationRoles
from scdata.source import CountSource
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
    """

    def __init__(self, roles: PerturbationRoles | None, asked: bool) -> None:
        self._roles, self._asked, self._n_controls = roles, asked, 0
        self._values: set[str] = set()

    @classmethod
    def of(
        cls, config: BuildConfig, sources: Sequence[CountSource], tokenizer: Tokenizer, progress: Progress
    ) -> "Screen":
        """What `config` asks for; else the roles that all sources have, if they are the same, and obs keeps their columns."""
        fields: dict[str, pa.DataType] = {field.name: field.type for own in sources for field in own.obs_schema}
        if config.perturbation is None or config.control is None:
            return cls(_kept(config, sources, progress), False)
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
            If no cell has the control's value.
        LayerNotFoundError
            If controls cannot be matched by a column, because it holds fractions.
        """
        roles = self._roles
        if roles is None:
            return None
        if not self._n_controls:
            told = f"no cell that is kept has {roles.control!r} in the obs column {roles.column!r}"
            if self._asked:
                raise BuildError(f"control: {told}: {nearest(roles.control, sorted(self._values)[:20])}")
            progress.note(f"the roles of the source's perturbation are left out: {told}")
            return None
        types: Mapping[str, str] = {column.name: column.dtype for column in columns}
        for name in roles.match:
            if np.dtype(types[name]).kind == "f":
                raise LayerNotFoundError(
                    f"control_match: the obs column {name!r} holds {types[name]} (or whole numbers with nulls), which name no "
                    "group: take a column of strings or whole numbers"
                )
        return roles


def _kept(config: BuildConfig, sources: Sequence[CountSource], progress: Progress) -> PerturbationRoles | None:
    """The roles of sources that are sets."""
    found = [source.perturbation if isinstance(source, FinishedSetSource) else None for source in sources]
    named = next((roles for roles in found if roles is not None), None)
    if named is None:
        return None
    if any(roles != named for roles in found):
        progress.note("the sources do not agree on the roles of a perturbation: none is kept; --perturbation names it")
        return None
    if config.obs is not None and (lost := [name for name in named.columns if name not in config.obs]):
        progress.note(f"the roles of the source's perturbation are left out: --obs does not keep {', '.join(lost)}")
        return None
    return named
