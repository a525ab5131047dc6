"""The user's cache of published files, laid out as the presets name them.

Beside each file stands ``NAME.origin.json``: where it came from, with the sha256 of what was read there, and the sha256 of the
file as it was kept.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from scdata._errors import AssetsError


def cache_folder() -> Path:
    """``tokenizers/`` in ``$SCDATA_CACHE``, else in ``$XDG_CACHE_HOME/scdata``, else in ``~/.cache/scdata``."""
    if own := os.environ.get("SCDATA_CACHE"):
        return Path(own).expanduser() / "tokenizers"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "scdata" / "tokenizers"


@dataclass(frozen=True)
class Origin:
    """Where a file of the cache came from.

    Parameters
    ----------
    source
        sha256 of each original by its url, or its base name where the user brought it.
    kept
        sha256 of the file in the cache.
    """

    source: Mapping[str, str]
    kept: str


def origin_of(folder: Path, name: str) -> Origin | None:
    """What was noted when the file was kept; None where nothing was (a file put there by hand)."""
    try:
        table = json.loads(_note(folder / name).read_bytes())
        return Origin({str(key): str(value) for key, value in table["source"].items()}, str(table["kept"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssetsError(
            f"{_note(folder / name)}: not a note of scdata: {error!r}; remove it and fetch again"
        ) from error


def sha256_of(path: Path) -> str:
    """sha256 of a file, which need not fit into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(folder: Path, name: str, data: bytes, source: Mapping[str, str]) -> None:
    """Put a file into the cache, whole or not at all, and note where it came from.

    Parameters
    ----------
    source
        As in `Origin`.
    """
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # an old note would speak of another file, were this to stop in between
    _note(path).unlink(missing_ok=True)
    _write(path, data)
    origin = asdict(Origin(dict(source), hashlib.sha256(data).hexdigest()))
    _write(_note(path), json.dumps(origin, indent=1).encode())


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.origin.json")


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
