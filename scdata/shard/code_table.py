"""The code table of the set that a lone shard belongs to."""

from functools import cache
from pathlib import Path
from typing import Any

from scdata._blocks import I32
from scdata._errors import SetNotFoundError
from scdata.shard.block import COUNTS
from scdata.shard.manifest import MANIFEST
from scdata.shard.shard_set import ShardSet


@cache
def _token_of_code(path: Path, written: tuple[int, int] | None) -> I32 | None:
    opened = ShardSet(path)
    return opened.token_of_code if opened.encoding == COUNTS else None


def token_of_code_of(set_path: Any, url: Any) -> I32 | None:
    """The code table of the set that a shard belongs to, from the set's folder or the shard's path; None for token sets.

    Raises
    ------
    SetNotFoundError
        If neither leads to a set on local disk.
    """
    if set_path is None:
        if not isinstance(url, str) or len(Path(url).parents) < 3:
            raise SetNotFoundError(
                f"no set found for the shard {url!r}: pass the set's folder, iter_cells(samples, set_path)"
            )
        set_path = Path(url.removeprefix("file:")).resolve().parents[2]
    manifest = Path(set_path) / MANIFEST
    written = (manifest.stat().st_mtime_ns, manifest.stat().st_ino) if manifest.is_file() else None
    return _token_of_code(Path(set_path), written)  # another set may be built at a place that was read before
