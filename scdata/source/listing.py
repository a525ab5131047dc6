"""Patterns, folders and lists of sources: what they name, in order."""

import glob
import os
from collections.abc import Callable
from pathlib import Path

from scdata._errors import SourceError
from scdata.source.place import Place, look_at

_PATTERN = "*?["
_LIST = ".txt"


def expand(uri: str, known: Callable[[Place], bool]) -> list[tuple[str, str]] | None:
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
    """
    if any(sign in uri for sign in _PATTERN) and not os.path.exists(uri):
        return _matches(uri)
    if uri.endswith(_LIST) and os.path.isfile(uri):
        return _listed(uri)
    if os.path.isdir(uri) and not known(look_at(uri)):
        found = sorted(path.relative_to(uri).as_posix() for path in Path(uri).rglob("*.h5ad") if path.is_file())
        return [(os.path.join(uri, name), name) for name in found] or None
    return None


def _matches(uri: str) -> list[tuple[str, str]]:
    root = uri[: min(uri.index(sign) for sign in _PATTERN if sign in uri)].rpartition("/")[0]
    if uri.startswith("/"):
        root = root or "/"
    found = {os.path.relpath(path, root or "."): path for path in glob.glob(uri, recursive=True)}
    if not found:
        raise SourceError(f"{uri}: no file matches; quote the pattern in a shell, and look into folders with **/")
    return [(found[name], name) for name in sorted(found)]


def _listed(uri: str) -> list[tuple[str, str]]:
    """One source a line, relative to the list's folder; empty lines and those that begin with ``#`` are left out."""
    try:
        text = Path(uri).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{uri}: a list of sources has one path a line, in UTF-8 ({error})") from error
    names = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    if not names:
        raise SourceError(f"{uri}: an empty list; write one source a line, each a path beside it or an absolute one")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SourceError(f"{uri}: {twice!r} is listed twice, and its cells would count twice; name it once")
    folder = os.path.dirname(uri)
    outside = [os.path.isabs(name) or ".." in Path(name).parts for name in names]
    return [
        (os.path.join(folder, name), Path(name).name if out else Path(name).as_posix())
        for name, out in zip(names, outside, strict=True)
    ]
