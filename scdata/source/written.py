"""Size and time of change of what a source is stored in."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scdata._errors import SourceError
from scdata._storage import is_local
from scdata._store_files import info_of, reaching

# What stores say about an object that changes when it is written anew
_MARKS = ("ETag", "LastModified", "Last-Modified", "blob_id", "oid", "last_commit")


def stat_of_file(path: Path, uri: str) -> Mapping[str, int]:
    """``size`` in bytes and ``mtime_ns`` of a file; at an address the latter is a number made of its tag or time.

    Raises
    ------
    SourceError
        If it is not there.
    StorageError
        If its store does not answer, or refuses.
    """
    if is_local(path):
        try:
            found = path.stat()
        except OSError as error:
            raise SourceError(f"{uri}: {error.strerror}; looked at {path.absolute()}") from error
        return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}
    with reaching(uri):
        try:
            info = info_of(path)
        except FileNotFoundError as error:
            raise SourceError(f"{uri}: not found") from error
    return {"size": int(info["size"] or 0), "mtime_ns": _number([_marks(info)])}


def files_below(path: Path, uri: str) -> dict[str, tuple[int, list[str]]]:
    """Size of every file in a folder, and what changes when it is written anew, by relative path.

    Raises
    ------
    SourceError
        If there are none.
    StorageError
        If the store does not answer, or refuses.
    """
    found: dict[str, tuple[int, list[str]]] = {}
    if is_local(path):
        for file in path.rglob("*"):
            if file.is_file():
                own = file.stat()
                found[file.relative_to(path).as_posix()] = own.st_size, [str(own.st_mtime_ns)]
    else:
        place: Any = path
        root = place.path.rstrip("/") + "/"
        with reaching(uri):
            infos = place.fs.find(root, detail=True)
        found = {name.removeprefix(root): (int(info["size"] or 0), _marks(info)) for name, info in infos.items()}
    if not found:
        raise SourceError(f"{uri}: no files" + (f" in {path.absolute()}" if is_local(path) else " there"))
    return found


def stat_of_folder(path: Path, uri: str, among: Callable[[str], bool] | None = None) -> Mapping[str, int]:
    """The same of all files in a folder together; `among` says which, by relative path (None: all).

    Raises
    ------
    SourceError, StorageError
        As `files_below`.
    """
    found = {name: own for name, own in files_below(path, uri).items() if among is None or among(name)}
    size = sum(own for own, _ in found.values())
    if is_local(path):
        return {"size": size, "mtime_ns": max((int(mark) for _, (mark,) in found.values()), default=0)}
    return {"size": size, "mtime_ns": _number([[name, *found[name][1]] for name in sorted(found)])}


def _marks(info: Mapping[str, Any]) -> list[str]:
    return [str(info[key]) for key in _MARKS if info.get(key) is not None]


def _number(marks: Any) -> int:
    return int.from_bytes(hashlib.sha256(json.dumps(marks).encode()).digest()[:7], "big")
