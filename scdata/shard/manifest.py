"""The manifest of a set: parsed, and what readers rely on checked."""

import re
from collections.abc import Mapping
from typing import Any

from scdata._errors import CorruptShardError
from scdata.shard.block import COUNTS, MOST_GENES, TOKENS
from scdata.shard.bounded import parse_bounded_json
from scdata.shard.roles import check_roles

FORMAT = "scdata-shards"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_FILE_NAME = re.compile("[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_MOST = 1 << 62  # sums of such numbers fit an int64
# A corpus of ten thousand files and 300 M cells has half of that
MOST_BYTES, _MOST_VALUES = 1 << 24, 1 << 19


def read_manifest(data: bytes, where: str) -> dict[str, Any]:
    """Parse a manifest and check what readers rely on.

    Raises
    ------
    CorruptShardError
        If it is not JSON, is of another format, or lacks something.
    """
    try:
        table = parse_bounded_json(data, _MOST_VALUES)
        if table["format"] != FORMAT:
            raise CorruptShardError(f"{where}: the format is {table['format']!r}, expected {FORMAT!r}")
        if table["format_version"] != FORMAT_VERSION:
            raise CorruptShardError(
                f"{where}: format version {table['format_version']}; this scdata reads {FORMAT_VERSION}: "
                "use the version that wrote it, or build the set again"
            )
        if table["encoding"] not in (COUNTS, TOKENS) or not isinstance(table["n_genes"], int):
            raise CorruptShardError(f"{where}: unknown encoding {table['encoding']!r}")
        if not all(isinstance(table[name], str) for name in ("content_hash", "vocab_sha256")):
            raise CorruptShardError(f"{where}: no hash of its content or vocabulary")
        for shard in table["shards"]:
            if shard["split"] not in table["splits"] or not isinstance(shard["shard"], int):
                raise CorruptShardError(f"{where}: a shard of a split that the manifest does not name")
            if not all(isinstance(shard[name], str) for name in ("sha256", "obs_sha256")):
                raise CorruptShardError(f"{where}: a shard without hashes")
        if not all(isinstance(column["name"], str) for column in table["obs"]):
            raise CorruptShardError(f"{where}: an obs column without a name")
        check_roles(table, where)
        _check_numbers(table, ("n_cells", "n_genes"), where)
        if table["n_genes"] > MOST_GENES:
            raise CorruptShardError(f"{where}: n_genes is {table['n_genes']}, over {MOST_GENES}")
        for entry in [*table["shards"], *table["splits"].values()]:
            _check_numbers(entry, ("n_cells", "n_tokens", "bytes"), where)
        for entry in table["splits"].values():
            _check_numbers(entry, ("n_shards",), where)
        for name in table["splits"]:
            check_split_name(name)
        for name, sha256 in dict(table["files"]).items():
            if not _FILE_NAME.fullmatch(name) or not isinstance(sha256, str):
                raise CorruptShardError(f"{where}: names the file {name!r} with the hash {sha256!r}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptShardError(f"{where}: not a manifest of scdata: {error!r}") from error
    return dict(table)


def _check_numbers(entry: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in names:
        if type(entry[name]) is not int or not 0 <= entry[name] < _MOST:
            raise CorruptShardError(f"{where}: {name} is {entry[name]!r}, expected a whole number below 2**62")


def check_split_name(name: str) -> None:
    """Refuse names of splits that could not stand in a file name.

    Raises
    ------
    ValueError
        Unless the name is 1 to 32 of ``A-Z a-z 0-9 _ -``.
    """
    plain = name.isascii() and name.replace("_", "a").replace("-", "a").isalnum()
    if not plain or len(name) > 32:
        raise ValueError(f"split name {name!r}: use 1 to 32 letters, digits, '_' and '-'")
