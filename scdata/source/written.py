"""Size and time of change of what a source is stored in."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scdata._errors import SourceError
from scdata._storage import info_of, is_local, reaching

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


def stat_of_folder(path: Path, uri: str) -> Mapping[str, int]:
    """The same of all files in a folder together.

    Raises
    ------
    SourceError
        If there are none.
    StorageError
        If the store does not answer, or refuses.
    """
    if is_local(path):
        files = [file.stat() for file in path.rglob("*") if file.is_file()]
        if files:
            return {"size": sum(f.st_size for f in files), "mtime_ns": max(f.st_mtime_ns for f in files)}
        raise SourceError(f"{uri}: no files in {path.absolute()}")
    place: Any = path
    with reaching(uri):
        infos = place.fs.find(place.path, detail=True)
    if not infos:
        raise SourceError(f"{uri}: no files there")
    size = sum(int(info["size"] or 0) for info in infos.values())
    return {"size": size, "mtime_ns": _number([[name, *_marks(infos[name])] for name in sorted(infos)])}


def _marks(info: Mapping[str, Any]) -> list[str]:
    return [str(info[key]) for key in _MARKS if info.get(key) is not None]


def _number(marks: Any) -> int:
    return int.from_bytes(hashlib.sha256(json.dumps(marks).encode()).digest()[:7], "big")
