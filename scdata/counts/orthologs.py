"""Tables of orthologs: which genes of two species are the same."""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from scdata._errors import MappingError
from scdata.counts.genes import cut_version

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".parquet", *_SEPARATORS)


@dataclass(frozen=True)
class OrthologTable:
    """A table with a row for each pair of genes, and columns of ids for each species.

    Parameters
    ----------
    name
        Of its file, without folder.
    sha256
        Of its bytes, hex.
    columns
        The columns of strings or whole numbers, by name: Ensembl versions are cut, and an empty cell is ``""``.
    """

    name: str
    sha256: str
    columns: Mapping[str, tuple[str, ...]]

    def pairs(self, one: str, other: str, one_to_one: bool = False) -> list[tuple[str, str]]:
        """The pairs of ids in two columns, each once, in order of rows; those without one of both are left out.

        With `one_to_one` only those both of whose genes stand in no other pair.
        """
        rows = zip(self.columns[one], self.columns[other], strict=True)
        found = list(dict.fromkeys(pair for pair in rows if all(pair)))
        if not one_to_one:
            return found
        times = Counter(theirs for _, theirs in found)
        return [pair for pair in _with_one(found) if times[pair[1]] == 1]

    def first(self, by: str, wanted: str) -> dict[str, str]:
        """For each id in column `by`, what stands beside it in column `wanted`: the first that is there."""
        out: dict[str, str] = {}
        for own, beside in self.pairs(by, wanted):
            out.setdefault(own, beside)
        return out

    def mapping(self, of: str, to: str, many_to_one: bool = False) -> dict[str, str | None]:
        """From the genes in one column to those in another.

        Parameters
        ----------
        of, to
            Columns of ids.
        many_to_one
            False: only genes that the table pairs with one gene, which is paired with no other. True: all genes that it pairs
            with one gene, so that several may go to the same.

        Returns
        -------
        dict
            The ortholog of each gene of `of` that has any; None for those whose orthologs are ambiguous.
        """
        pairs = self.pairs(of, to)
        out: dict[str, str | None] = dict.fromkeys((own for own, _ in pairs), None)
        out.update(_with_one(pairs) if many_to_one else self.pairs(of, to, one_to_one=True))
        return out


def _with_one(pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    times = Counter(own for own, _ in pairs)
    return (pair for pair in pairs if times[pair[0]] == 1)


def read_orthologs(path: str | os.PathLike[str]) -> OrthologTable:
    """Read a table of orthologs, such as an export of Ensembl BioMart.

    Parameters
    ----------
    path
        ``.parquet``, ``.csv`` or ``.tsv`` with a row for each pair of genes and a column of ids for each species; other columns
        do no harm.

    Returns
    -------
    OrthologTable

    Raises
    ------
    MappingError
        If there is no such table, or it cannot be read.
    """
    file = Path(path)
    if file.suffix not in SUFFIXES or not file.is_file():
        raise MappingError(f"orthologs: {file}: no such file, or none of {', '.join(SUFFIXES)}")
    return parse_orthologs(file.read_bytes(), file.name)


def parse_orthologs(data: bytes, name: str) -> OrthologTable:
    """`read_orthologs` of a file's bytes.

    Raises
    ------
    MappingError
        If it is no table with two columns of ids.
    """
    suffix = PurePosixPath(name).suffix
    try:
        table = pq.read_table(io.BytesIO(data)) if suffix == ".parquet" else _read_text(data, _SEPARATORS[suffix])
    except KeyError:
        raise MappingError(f"orthologs: {name}: none of {', '.join(SUFFIXES)}") from None
    except (pa.ArrowException, OSError) as error:
        raise MappingError(f"orthologs: {name} cannot be read as {suffix}: {error}") from error
    columns = {field.name: _ids(table[field.name]) for field in table.schema if _may_hold_ids(field.type)}
    if len(columns) < 2:
        raise MappingError(f"orthologs: {name} has {len(columns)} column(s) of ids: one for each species is needed")
    return OrthologTable(name, hashlib.sha256(data).hexdigest(), columns)


def _read_text(data: bytes, separator: str) -> pa.Table:
    # a gene may be called NaN or NULL
    as_they_are = csv.ConvertOptions(strings_can_be_null=True, null_values=[""])
    return csv.read_csv(io.BytesIO(data), None, csv.ParseOptions(delimiter=separator), as_they_are)


def _may_hold_ids(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind))


def _ids(column: Any) -> tuple[str, ...]:
    return tuple(cut_version(text.strip()) if text else "" for text in column.cast(pa.string()).to_pylist())
