"""What a published file holds: JSON, JSON under gzip, or a table of tabs, read within a limit and checked for its role."""

import gzip
import hashlib
import io
import json
import math
import re
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from scdata._errors import TokenizerError

LIMIT = 64 << 20  # bytes of one file, unpacked: the largest published one takes 8 MB
# what a preset needs a file for
IDS, ALIASES, MEDIANS, AUX = "token ids", "aliases", "medians", "aux ids"
_MOST = int(np.iinfo(np.int32).max)


def read_table(data: bytes, name: str, where: str) -> dict[str, Any]:
    """The table in a file, read as the end of its name says.

    Parameters
    ----------
    data
        The whole file.
    name
        Ends in ``.json``, ``.json.gz`` or ``.tsv``.
    where
        The file, for messages.

    Raises
    ------
    TokenizerError
        If it is not that, is over the limit, or a name stands twice.
    """
    if name.endswith(".tsv"):
        return _read_tsv(data, where)
    if not name.endswith((".json", ".json.gz")):
        raise TokenizerError(f"{name}: a published file is .json, .json.gz or .tsv")
    table = read_json(unzip(data, where) if name.endswith(".gz") else data, where)
    if not isinstance(table, dict):
        raise TokenizerError(f"{where}: expected a JSON object, found {type(table).__name__}")
    return table


def unzip(data: bytes, where: str) -> bytes:
    """What gzip packed, up to the limit."""
    try:
        with gzip.open(io.BytesIO(data)) as file:
            out = file.read(LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise TokenizerError(f"{where}: not a JSON file under gzip: {error}") from error
    return out


def read_json(data: bytes, where: str) -> Any:
    """What a JSON file says; a name that stands twice in an object is an error."""
    if len(data) > LIMIT:
        raise TokenizerError(f"{where}: over {LIMIT >> 20} MB unpacked, so it is no vocabulary")
    try:
        return json.loads(data, object_pairs_hook=lambda pairs: _once(pairs, where))
    except (ValueError, RecursionError, MemoryError) as error:
        raise TokenizerError(f"{where}: not a JSON file: {error or 'it needs more memory than there is'}") from error


def _read_tsv(data: bytes, where: str) -> dict[str, Any]:
    try:
        first, *lines = data.decode("utf-8").rstrip("\r\n").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{where}: not a table of tabs: {error}") from error
    head = first.split("\t")
    if "gene_name" not in head or "index" not in head:
        raise TokenizerError(f"{where}: expected the columns gene_name and index, found {_what(first)}")
    at_name, at_index = head.index("gene_name"), head.index("index")
    rows = []
    for number, line in enumerate(lines, 2):
        cells = line.split("\t")
        if len(cells) != len(head) or not re.fullmatch("[0-9]{1,10}", cells[at_index]):
            raise TokenizerError(f"{where}: line {number}: expected {len(head)} columns, a whole number as index")
        rows.append((cells[at_name], int(cells[at_index])))
    table = _once(rows, where)
    if sorted(table.values()) != list(range(len(table))):
        raise TokenizerError(f"{where}: the index is not 0 to {len(table) - 1}, each once")
    return table


def _once(pairs: Iterable[tuple[str, Any]], where: str) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise TokenizerError(f"{where}: {name!r} stands there twice")
        table[name] = value
    return table


def json_bytes(table: dict[str, Any], name: str) -> bytes:
    """A table as a file of that name: one JSON object, under gzip if the name ends so; the same bytes every time."""
    data = json.dumps(table, separators=(",", ":"), allow_nan=False).encode()
    if not name.endswith(".gz"):
        return data
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=out, mtime=0) as file:
        file.write(data)
    return out.getvalue()


def content_sha256(table: dict[str, Any]) -> str:
    """What a table is known by whatever file it comes in: the sha256 of one JSON object.

    Names are sorted, nothing is spaced, other characters than ASCII are escaped, and whole numbers have no point, since
    programs differ in whether they write ``1.0`` or ``1``.
    """
    plain = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in table.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_role(table: dict[str, Any], role: str, where: str) -> None:
    """Refuse a table that is not what a preset needs it for.

    Raises
    ------
    TokenizerError
        ids: none at all, not whole numbers from 0 to 2**31 − 1, or one for two names; aliases: anything but names; medians:
        none that is a number.
    """
    try:
        "".join(table).encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(f"{where}: a name that is no text: {error}") from error
    if role in (IDS, AUX):
        _check_ids(table, where)
    elif role == ALIASES:
        for name, gene in table.items():
            if not isinstance(gene, str):
                raise TokenizerError(f"{where}: expected the id of a gene for {name!r}, found {_what(gene)}")
    elif any(isinstance(value, float) and not math.isfinite(value) for value in table.values()):
        gene = next(name for name, value in table.items() if isinstance(value, float) and not math.isfinite(value))
        raise TokenizerError(f"{where}: the median of {gene} is {table[gene]}, expected a finite number")
    elif not any(isinstance(value, int | float) for value in table.values()):
        raise TokenizerError(f"{where}: no medians there, but {_what(next(iter(table.values()), {}))}")


def _check_ids(ids: dict[str, Any], where: str) -> None:
    if not ids:
        raise TokenizerError(f"{where}: an empty vocabulary")
    name_of: dict[int, str] = {}
    for name, token in ids.items():
        if not isinstance(token, int) or isinstance(token, bool):
            raise TokenizerError(f"{where}: expected a token id for each name, found {_what(token)} for {name!r}")
        if not 0 <= token <= _MOST:
            raise TokenizerError(f"{where}: the id of {name!r} is {token}, expected 0 to {_MOST} (int32)")
        if token in name_of:
            raise TokenizerError(f"{where}: {name_of[token]!r} and {name!r} share the id {token}")
        name_of[token] = name


def _what(value: Any) -> str:
    return f"{value!r:.40} ({type(value).__name__})"
