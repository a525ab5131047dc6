"""What stands beside the cells of an export: roles of a perturbation, which column tells datasets apart, and what they are.

``scdata export`` writes it as ``scdata.json`` into a folder, and as ``uns["scdata"]`` into AnnData. The cells are whole
without it, so what is damaged or of another's making is left out, and a note says so.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from scdata._store_files import is_file, reaching
from scdata.source.anndata_frame import is_text, values_of
from scdata.source.written import stat_of_file

SIDE_FILE, UNS_KEY = "scdata.json", "scdata"
VERSION = "scdata_version"
DATASET, FACTS = "dataset", ("title", "collection", "doi", "citation")

# Two thousand datasets with title and citation take 1 MB
_MOST_BYTES, _MOST_STRINGS, _MOST_TEXT = 8 << 20, 1 << 16, 1 << 14
_MOST_KEYS, _DEPTH = 64, 2
_ROLES = {"column", "control", "match"}
_REMEDY = "--perturbation, --control, --control-match and --dataset-column say what it would"


@dataclass(frozen=True)
class ExportFacts:
    """What an export says; nothing, if it says nothing that can be read.

    Parameters
    ----------
    perturbation
        ``column``, ``control`` and ``match``, as a manifest has them.
    dataset_column
        obs column that tells datasets apart.
    datasets
        ``title``, ``collection``, ``doi`` and ``citation`` of datasets by name.
    note
        Why it says nothing, though something stands there.
    """

    perturbation: Mapping[str, Any] | None = None
    dataset_column: str | None = None
    datasets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    note: str | None = None


def facts_beside(folder: Path, uri: str) -> ExportFacts:
    """What ``scdata.json`` in a folder says.

    Raises
    ------
    StorageError
        If the folder's store does not answer, or refuses.
    """
    path = folder / SIDE_FILE
    try:
        with reaching(uri):
            if not is_file(path):
                return ExportFacts()
            size = stat_of_file(path, uri)["size"]
            if size > _MOST_BYTES:
                raise ValueError(f"it has {size:,} bytes, and {_MOST_BYTES:,} are read at most")
            return _checked(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        return _ignored(SIDE_FILE, error)


def facts_within(root: Any) -> ExportFacts:
    """What ``uns["scdata"]`` of an open AnnData file or store says.

    Parameters
    ----------
    root
        Group of h5py or zarr; errors of reading it are the caller's.
    """
    uns = root.get("uns")
    if uns is None or hasattr(uns, "shape") or UNS_KEY not in uns:
        return ExportFacts()
    try:
        return _checked(_plain(uns[UNS_KEY], _DEPTH))
    except ValueError as error:
        return _ignored(f"uns[{UNS_KEY!r}]", error)


def _ignored(what: str, error: Exception) -> ExportFacts:
    return ExportFacts(note=f"{what} is ignored: {error or type(error).__name__}; {_REMEDY}")


def _plain(item: Any, depth: int) -> Any:
    """Groups as dictionaries, text as str, arrays as lists."""
    if not hasattr(item, "shape"):
        names = list(islice(item, _MOST_KEYS + 1))
        if depth < 0 or len(names) > _MOST_KEYS:
            raise ValueError(f"it is nested deeper than {_DEPTH}, or has more than {_MOST_KEYS} keys")
        return {str(name): _plain(item[name], depth - 1) for name in names}
    if item.shape == ():
        value = item[()]
        return value.decode() if isinstance(value, bytes) else value
    if item.shape is None or len(item.shape) != 1 or item.shape[0] > _MOST_STRINGS:
        raise ValueError(f"it holds an array of the shape {item.shape}; lists of {_MOST_STRINGS:,} at most are read")
    if item.shape[0] and not is_text(item.dtype):
        raise ValueError(f"it holds a list of {item.dtype}, expected strings")
    return values_of(item, slice(None)).to_pylist() if item.shape[0] else []


def _checked(table: Any) -> ExportFacts:
    """The facts in what was read.

    Raises
    ------
    ValueError
        If they are not as they should be.
    """
    if not isinstance(table, dict) or VERSION not in table:
        raise ValueError(f"it has no {VERSION!r}, so it is not of scdata export")
    roles, column, datasets = (table.get(name) for name in ("perturbation", "dataset_column", "datasets"))
    if roles is not None:
        if not isinstance(roles, dict) or set(roles) != _ROLES:
            raise ValueError(f"perturbation is {_shown(roles)}, expected column, control and match")
        named = {name: _text(f"perturbation.{name}", roles[name]) for name in ("column", "control")}
        roles = {**named, "match": _texts("perturbation.match", roles["match"])}
        if roles["column"] in roles["match"]:
            raise ValueError(f"perturbation.match names {_shown(roles['column'])}, the perturbation itself")
    return ExportFacts(
        perturbation=roles,
        dataset_column=None if column is None else _text("dataset_column", column),
        datasets={} if datasets is None else _by_dataset(datasets),
    )


def _by_dataset(columns: Any) -> dict[str, dict[str, str]]:
    if not isinstance(columns, dict) or DATASET not in columns:
        raise ValueError(f"datasets is {_shown(columns)}, expected lists, one of them {DATASET!r}")
    lists = {name: _texts(f"datasets.{name}", columns[name]) for name in (DATASET, *FACTS) if name in columns}
    if len({len(own) for own in lists.values()}) > 1:
        raise ValueError(f"the lists of datasets have {', '.join(str(len(own)) for own in lists.values())} values")
    rows = (dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True))
    return {row[DATASET]: {name: row[name] for name in FACTS if row.get(name)} for row in rows}


def _texts(name: str, found: Any) -> list[str]:
    if not isinstance(found, list) or len(found) > _MOST_STRINGS:
        raise ValueError(f"{name} is {_shown(found)}, expected a list of at most {_MOST_STRINGS:,} strings")
    return [_text(name, value) for value in found]


def _text(name: str, found: Any) -> str:
    if not isinstance(found, str) or len(found) > _MOST_TEXT:
        raise ValueError(f"{name} has {_shown(found)}, expected a string of at most {_MOST_TEXT:,} characters")
    return found


def _shown(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= 80 else f"{said[:80]}…"
