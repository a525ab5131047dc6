"""What stands at a path, looked at once: readers recognize their sources by it."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from scdata._errors import SourceError

_HEAD_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What a user says about a source beside its path; None: the reader's choice.

    Parameters
    ----------
    layer
        Layer with the raw counts.
    measurement
        SOMA: name of the measurement.
    dataset_column
        obs column that tells datasets apart.
    """

    layer: str | None = None
    measurement: str | None = None
    dataset_column: str | None = None


@dataclass(frozen=True)
class Place:
    """A file, a folder, or an address of a reader's own scheme.

    Parameters
    ----------
    uri
        As given.
    name
        What manifests call it: the last part of a path, or the path below the folder or pattern that was named.
    is_file
        True for a file.
    head
        First 16 bytes of a file; empty for all else.
    names
        What a folder holds; empty for all else.
    """

    uri: str
    name: str
    is_file: bool = False
    head: bytes = b""
    names: frozenset[str] = field(default_factory=frozenset)


def look_at(uri: str, name: str | None = None) -> Place:
    """Look at what stands at a path.

    Raises
    ------
    SourceError
        If nothing is there.
    """
    path = Path(uri)
    # not resolved: the target of a link may have a name that says nothing
    name = name or Path(os.path.abspath(uri)).name
    if not path.exists():
        raise SourceError(f"{uri}: not found; looked at {path.absolute()}")
    if path.is_dir():
        return Place(uri, name, names=frozenset(os.listdir(path)))
    with path.open("rb") as file:
        return Place(uri, name, is_file=True, head=file.read(_HEAD_BYTES))
