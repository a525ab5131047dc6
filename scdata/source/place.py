"""What stands at a path or an address, looked at once: readers recognize their sources by it."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scdata._errors import SourceError
from scdata._storage import Storage, is_local, is_remote, public_uri
from scdata._store_files import info_of, open_ranges, reaching

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
    storage
        How to reach an address; means something to every reader.
    """

    layer: str | None = None
    measurement: str | None = None
    dataset_column: str | None = None
    storage: Storage = field(default_factory=Storage)


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
    storage
        How to reach it.
    """

    uri: str
    name: str
    is_file: bool = False
    head: bytes = b""
    names: frozenset[str] = field(default_factory=frozenset)
    storage: Storage = field(default_factory=Storage)

    @property
    def path(self) -> Path:
        """The place as a path, here or in a store."""
        return self.storage.path(self.uri)


def name_of(uri: str) -> str:
    """The last part of a path or an address: what a manifest may contain."""
    if is_remote(uri):
        return public_uri(uri).rstrip("/").rpartition("/")[2]
    # not resolved: the target of a link may have a name that says nothing
    return Path(os.path.abspath(uri)).name


def look_at(uri: str, name: str | None = None, storage: Storage | None = None) -> Place:
    """Look at what stands at a path or an address.

    Raises
    ------
    SourceError
        If nothing is there.
    StorageError
        If its store does not answer, or refuses.
    """
    storage = storage or Storage()
    path = storage.path(uri)
    name = name or name_of(uri)
    if not is_local(path):
        with reaching(uri):
            return _look_far(uri, name, storage)
    if not path.exists():
        raise SourceError(f"{uri}: not found; looked at {path.absolute()}")
    if path.is_dir():
        return Place(uri, name, names=frozenset(os.listdir(path)), storage=storage)
    with path.open("rb") as file:
        return Place(uri, name, is_file=True, head=file.read(_HEAD_BYTES), storage=storage)


def _look_far(uri: str, name: str, storage: Storage) -> Place:
    path: Any = storage.path(uri)
    try:
        kind = info_of(path)["type"]
    except FileNotFoundError as error:
        raise SourceError(f"{public_uri(uri)}: not found") from error
    if kind == "directory":
        own = path.path.rstrip("/")
        found = {entry.rstrip("/") for entry in path.fs.ls(path.path, detail=False)} - {own}
        return Place(uri, name, names=frozenset(entry.rpartition("/")[2] for entry in found), storage=storage)
    with open_ranges(path) as file:
        return Place(uri, name, is_file=True, head=file.read(_HEAD_BYTES), storage=storage)
