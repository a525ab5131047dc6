"""What obs columns of a screen mean: which one names the perturbation, and which of its values is the control."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scdata._errors import CorruptShardError


@dataclass(frozen=True)
class PerturbationRoles:
    """Roles that a manifest names.

    Parameters
    ----------
    column
        obs column, of strings, that names what was done to a cell.
    control
        Its value of cells to which nothing was done.
    match
        obs columns in which a cell and its control are alike, beside the dataset.
    """

    column: str
    control: str
    match: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All obs columns that have a role."""
        return tuple(dict.fromkeys((self.column, *self.match)))

    def as_json(self) -> dict[str, Any]:
        """For a manifest."""
        return {"column": self.column, "control": self.control, "match": list(self.match)}

    def line(self) -> str:
        """In words, for those who look at a set."""
        alike = ", ".join(("dataset", *self.match))
        return f"perturbation: {self.column}, controls are {self.control!r}, matched within {alike}"


def roles_of(manifest: Mapping[str, Any]) -> PerturbationRoles | None:
    """The roles that a manifest names; None: none, as before there were any."""
    found = manifest.get("perturbation")
    return None if found is None else PerturbationRoles(found["column"], found["control"], tuple(found["match"]))


def check_roles(manifest: Mapping[str, Any], where: str) -> None:
    """Refuse roles that are no roles, or of columns that the set does not have.

    Raises
    ------
    CorruptShardError
        If so.
    """
    found = manifest.get("perturbation")
    if found is None:
        return
    if (
        not isinstance(found, dict)
        or set(found) != {"column", "control", "match"}
        or not isinstance(found["match"], list)
    ):
        raise CorruptShardError(f"{where}: perturbation is {found!r}, expected column, control and match")
    if not all(isinstance(text, str) for text in (found["column"], found["control"], *found["match"])):
        raise CorruptShardError(f"{where}: perturbation is {found!r}, expected strings")
    there = [column["name"] for column in manifest["obs"]]
    for name in (found["column"], *found["match"]):
        if name not in there:
            raise CorruptShardError(f"{where}: perturbation names the obs column {name!r}, which the set does not have")
