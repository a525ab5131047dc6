"""What stands beside the cells of an export: roles of a perturbation, which column tells datasets apart, and what they are;
which genes these measured; which obs columns the set had; and feature ids, where a format calls genes by their names, and types
of obs, where it has none.

``scdata export`` writes it as ``scdata.json`` and ``measured.npy`` into a folder, and as ``uns["scdata"]`` into AnnData. What
is damaged or of another's making is left out, and a note says so.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._errors import SourceError, StorageError
from scdata._store_files import is_file, reaching
from scdata.source.anndata_frame import is_text, values_of
from scdata.source.measured_genes import BITS, BITS_FILE, GENE, MEASURED, MOST_BITS, MeasuredGenes, read_bits
from scdata.source.written import stat_of_file

SIDE_FILE, UNS_KEY = "scdata.json", "scdata"
SIDE_FILES = frozenset({SIDE_FILE, BITS_FILE})
VERSION = "scdata_version"
DATASET, FACTS = "dataset", ("title", "collection", "doi", "citation")

# obs columns that an export adds, and lists of others: their names in the export, and what they were called in the set
ADDED, RENAMED, NAME, WAS = "obs_added", "obs_renamed", "name", "was"

# feature ids of genes, of formats that call genes by other names
GENES, FEATURE_ID = "genes", "feature_id"

# types of obs columns, of formats that have none
TYPES, TYPE = "obs_types", "type"

# Two thousand datasets with title and citation take 1 MB, 60,000 genes as much again
_MOST_BYTES, _MOST_STRINGS, _MOST_GENES, _MOST_TEXT = 32 << 20, 1 << 16, 1 << 20, 1 << 14
_MOST_KEYS, _DEPTH = 64, 2
_TYPES = ("string", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float", "double")
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
    added
        obs columns that the set did not have.
    renamed
        Names that obs columns had in the set, by those in the export.
    measured
        Which genes datasets measured; None: all measured all.
    gene_ids
        Feature ids of genes by their names in the export; None: it calls them by their ids, or does not say.
    obs_types
        Types of obs columns by their names in the export, as pyarrow calls them; none where the format has types itself.
    notes
        Why it does not say something, though something stands there.
    """

    perturbation: Mapping[str, Any] | None = None
    dataset_column: str | None = None
    datasets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    measured: MeasuredGenes | None = None
    gene_ids: Mapping[str, str] | None = None
    obs_types: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def obs_names(self, stored: list[str]) -> dict[str, str]:
        """Name in storage of each obs column by that in the set: a column of the set comes before an added one of its name.

        Parameters
        ----------
        stored
            All there are; where one was made since that has a name of the set, all keep theirs.
        """
        own = {name: self.renamed[name] for name in stored if name in self.renamed}
        hidden = set(self.added) & set(own.values())
        shown = [name for name in stored if name not in hidden]
        found = {own.get(name, name): name for name in shown}
        return found if len(found) == len(shown) else {name: name for name in stored}

    def content(self) -> dict[str, Any]:
        """What a fingerprint depends on, for JSON, but for the bits of `measured`, and what genes and obs show themselves."""
        known = self.measured
        return {
            "perturbation": self.perturbation,
            "dataset_column": self.dataset_column,
            "datasets": self.datasets,
            "added": self.added,
            "renamed": self.renamed,
            "measured": None if known is None else [known.datasets, known.genes.to_pylist()],
        }


def facts_beside(folder: Path, uri: str) -> ExportFacts:
    """What ``scdata.json`` in a folder says.

    Raises
    ------
    StorageError
        If the folder's store does not answer, or refuses.
    SourceError
        If a file is there and cannot be read.
    """
    with reaching(uri):
        if not is_file(folder / SIDE_FILE):
            return ExportFacts()
    try:
        table = json.loads(_bytes_of(folder / SIDE_FILE, _MOST_BYTES, uri))
        facts = _checked(table)
    except (ValueError, RecursionError) as error:
        return _ignored(SIDE_FILE, error)
    for key, read in ((GENES, _gene_ids), (TYPES, _obs_types)):
        try:
            facts = replace(facts, **({} if table.get(key) is None else read(table[key])))
        except ValueError as error:
            facts = replace(facts, notes=(*facts.notes, f"{key!r} of {SIDE_FILE} is ignored: {error}"))
    if MEASURED not in table:
        return facts

    def bits(shape: tuple[int, int]) -> Any:
        return read_bits(_bytes_of(folder / BITS_FILE, MOST_BITS, uri), shape)

    return _with_measured(facts, f"{MEASURED!r} of {SIDE_FILE} with {BITS_FILE}", lambda: table[MEASURED], bits)


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
    own = uns[UNS_KEY]
    try:
        facts = _checked(_plain(own, _DEPTH, {MEASURED}))
    except ValueError as error:
        return _ignored(f"uns[{UNS_KEY!r}]", error)
    if MEASURED not in own:
        return facts

    def bits(shape: tuple[int, int]) -> Any:
        item: Any = own[MEASURED].get(BITS)
        if getattr(item, "shape", None) != shape or shape[0] * shape[1] > MOST_BITS:
            raise ValueError(f"there are no {BITS!r} of the shape {shape}: a row a dataset, a bit a gene")
        return np.asarray(item[0 : shape[0]])

    return _with_measured(facts, f"uns[{UNS_KEY!r}][{MEASURED!r}]", lambda: _plain(own[MEASURED], 0, {BITS}), bits)


def _with_measured(
    facts: ExportFacts, what: str, names: Callable[[], Any], bits: Callable[[tuple[int, int]], Any]
) -> ExportFacts:
    """The facts with what `names` (lists of datasets and genes) and `bits` (of a shape) say; a note where that is damaged."""
    try:
        found = names()
        if not isinstance(found, dict) or not {DATASET, GENE} <= set(found):
            raise ValueError(f"it is {_shown(found)}, expected lists {DATASET!r} and {GENE!r}")
        datasets = _texts(f"{MEASURED}.{DATASET}", found[DATASET])
        genes = _texts(f"{MEASURED}.{GENE}", found[GENE], _MOST_GENES)
        own = bits((len(datasets), -(-len(genes) // 8)))
        return replace(facts, measured=MeasuredGenes(tuple(datasets), pa.array(genes, pa.string()), own))
    except ValueError as error:
        said = f"{what} is ignored: {error}; genes that were not measured are read as zeros"
        return replace(facts, notes=(*facts.notes, said))


def _bytes_of(path: Path, most: int, uri: str) -> bytes:
    # what is not read for a moment is not left out: the set would be another
    try:
        with reaching(uri):
            if not is_file(path):
                raise ValueError(f"there is no {path.name}")
            size = stat_of_file(path, uri)["size"]
            if size > most:
                raise ValueError(f"it has {size:,} bytes, and {most:,} are read at most")
            return path.read_bytes()
    except StorageError:
        raise
    except OSError as error:
        raise SourceError(f"{uri}: {path.name} cannot be read ({error.strerror}); see to that, or delete it") from error


def _ignored(what: str, error: Exception) -> ExportFacts:
    return ExportFacts(notes=(f"{what} is ignored: {error or type(error).__name__}; {_REMEDY}",))


def _plain(item: Any, depth: int, without: set[str]) -> Any:
    """Groups as dictionaries, but for some of their items, text as str, arrays as lists."""
    if not hasattr(item, "shape"):
        names = list(islice(item, _MOST_KEYS + 1))
        if depth < 0 or len(names) > _MOST_KEYS:
            raise ValueError(f"it is nested deeper than {_DEPTH}, or has more than {_MOST_KEYS} keys")
        return {str(name): _plain(item[name], depth - 1, without) for name in names if name not in without}
    if item.shape == ():
        value = item[()]
        return value.decode() if isinstance(value, bytes) else value
    if item.shape is None or len(item.shape) != 1 or item.shape[0] > _MOST_GENES:
        raise ValueError(f"it holds an array of the shape {item.shape}; lists of {_MOST_GENES:,} at most are read")
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
        added=tuple(_texts(ADDED, table.get(ADDED, []))),
        renamed=_renamed(table.get(RENAMED)),
    )


def _by_dataset(columns: Any) -> dict[str, dict[str, str]]:
    if not isinstance(columns, dict) or DATASET not in columns:
        raise ValueError(f"datasets is {_shown(columns)}, expected lists, one of them {DATASET!r}")
    lists = {name: _texts(f"datasets.{name}", columns[name]) for name in (DATASET, *FACTS) if name in columns}
    if len({len(own) for own in lists.values()}) > 1:
        raise ValueError(f"the lists of datasets have {', '.join(str(len(own)) for own in lists.values())} values")
    rows = (dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True))
    return {row[DATASET]: {name: row[name] for name in FACTS if row.get(name)} for row in rows}


def _renamed(columns: Any) -> dict[str, str]:
    return {} if columns is None else _distinct(RENAMED, _pairs(RENAMED, columns, WAS))


def _gene_ids(columns: Any) -> dict[str, Any]:
    found = _distinct(GENES, _pairs(GENES, columns, FEATURE_ID, _MOST_GENES))
    if "" in found.values():
        raise ValueError("a gene has an empty id")
    return {"gene_ids": found}


def _obs_types(columns: Any) -> dict[str, Any]:
    found = _pairs(TYPES, columns, TYPE)
    for name, kind in found.items():
        if kind not in _TYPES:
            raise ValueError(f"the type of {name!r} is {_shown(kind)}, expected one of {', '.join(_TYPES)}")
    return {"obs_types": found}


def _pairs(key: str, columns: Any, second: str, most: int = _MOST_STRINGS) -> dict[str, str]:
    """Values of the list `second` by those, distinct, of ``name``."""
    if not isinstance(columns, dict) or set(columns) != {NAME, second}:
        raise ValueError(f"{key} is {_shown(columns)}, expected lists {NAME!r} and {second!r}")
    names, others = (_texts(f"{key}.{name}", columns[name], most) for name in (NAME, second))
    if not len(names) == len(others) == len(set(names)):
        raise ValueError(f"the lists of {key} have {len(names)} and {len(others)} values, or one twice")
    return dict(zip(names, others, strict=True))


def _distinct(key: str, found: dict[str, str]) -> dict[str, str]:
    if len(set(found.values())) < len(found):
        raise ValueError(f"the lists of {key} have {len(found)} and {len(found)} values, or one twice")
    return found


def _texts(name: str, found: Any, most: int = _MOST_STRINGS) -> list[str]:
    if not isinstance(found, list) or len(found) > most:
        raise ValueError(f"{name} is {_shown(found)}, expected a list of at most {most:,} strings")
    return [_text(name, value) for value in found]


def _text(name: str, found: Any) -> str:
    if not isinstance(found, str) or len(found) > _MOST_TEXT:
        raise ValueError(f"{name} has {_shown(found)}, expected a string of at most {_MOST_TEXT:,} characters")
    return found


def _shown(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= 80 else f"{said[:80]}…"
