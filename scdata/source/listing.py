"""Patterns, folders and lists of sources: what they name, in order."""

import glob
import os
import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scdata._errors import SourceError
from scdata._storage import Storage, is_remote, public_uri
from scdata._store_files import reaching
from scdata.source.place import Place, look_at, name_of

_PATTERN = "*?["
_LIST = ".txt"
_STORES = ("s3", "hf")  # what can tell what they hold; web servers cannot


def expand(uri: str, known: Callable[[Place], bool], storage: Storage) -> list[tuple[str, str]] | None:
    """The sources that a pattern, a list (``.txt``) or a folder of h5ad files names, each with its name; None for a single one.

    Patterns and folders are sorted by relative path; a list keeps its order. Names are relative to what was named, so that
    files of one name in several folders differ.

    Parameters
    ----------
    known
        Tells whether a folder is itself a source.

    Raises
    ------
    SourceError
        If it names nothing, or a list names one source twice.
    StorageError
        If a store does not answer, or refuses.
    """
    if is_remote(uri):
        with reaching(uri):
            return _expand_far(uri, known, storage)
    if any(sign in uri for sign in _PATTERN) and not os.path.exists(uri):
        return _matches(uri)
    if uri.endswith(_LIST) and os.path.isfile(uri):
        return _listed(uri, Path(uri).read_bytes())
    if os.path.isdir(uri) and not known(look_at(uri)):
        found = sorted(path.relative_to(uri).as_posix() for path in Path(uri).rglob("*.h5ad") if path.is_file())
        return [(os.path.join(uri, name), name) for name in found] or None
    return None


def _expand_far(uri: str, known: Callable[[Place], bool], storage: Storage) -> list[tuple[str, str]] | None:
    path: Any = storage.path(uri)
    scheme, _, rest = uri.partition("://")
    if public_uri(uri).endswith(_LIST):
        return _listed(uri, path.read_bytes()) if look_at(uri, storage=storage).is_file else None
    if scheme not in _STORES:
        return None
    if any(sign in rest for sign in _PATTERN) and not path.fs.exists(path.path):
        root = _fixed_part(path.path)
        found = {posixpath.relpath(name, root): f"{scheme}://{name}" for name in path.fs.glob(path.path)}
        return _found(uri, found)
    place = look_at(uri, storage=storage)
    if place.is_file or known(place):
        return None
    root = path.path.rstrip("/")
    names = sorted(posixpath.relpath(name, root) for name in path.fs.find(root) if name.endswith(".h5ad"))
    return [(f"{scheme}://{root}/{name}", name) for name in names] or None


def _fixed_part(pattern: str) -> str:
    """The folder that a pattern begins with."""
    return pattern[: min(pattern.index(sign) for sign in _PATTERN if sign in pattern)].rpartition("/")[0]


def _matches(uri: str) -> list[tuple[str, str]]:
    root = _fixed_part(uri)
    if uri.startswith("/"):
        root = root or "/"
    return _found(uri, {os.path.relpath(path, root or "."): path for path in glob.glob(uri, recursive=True)})


def _found(uri: str, found: dict[str, str]) -> list[tuple[str, str]]:
    if not found:
        raise SourceError(f"{uri}: no file matches; quote the pattern in a shell, and look into folders with **/")
    return [(found[name], name) for name in sorted(found)]


def _listed(uri: str, data: bytes) -> list[tuple[str, str]]:
    """One source a line, relative to the list's folder; empty lines and those that begin with ``#`` are left out."""
    said = public_uri(uri)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{said}: a list of sources has one path a line, in UTF-8 ({error})") from error
    names = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    if not names:
        raise SourceError(f"{said}: an empty list; write one source a line, each a path beside it or an absolute one")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SourceError(
            f"{said}: {public_uri(twice)!r} is listed twice, and its cells would count twice; name it once"
        )
    return [_entry(uri, name) for name in names]


def _entry(uri: str, name: str) -> tuple[str, str]:
    if is_remote(name):
        return name, name_of(name)
    outside = os.path.isabs(name) or ".." in Path(name).parts
    own = Path(name).name if outside else Path(name).as_posix()
    if not is_remote(uri):
        return os.path.join(os.path.dirname(uri), name), own
    if os.path.isabs(name):
        raise SourceError(
            f"{public_uri(uri)}: {name!r} is a path of this machine; name paths beside the list, or addresses"
        )
    scheme, _, rest = public_uri(uri).partition("://")
    return f"{scheme}://{posixpath.normpath(posixpath.join(posixpath.dirname(rest), name))}", own
