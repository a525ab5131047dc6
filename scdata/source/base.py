"""What a source of counts gives, whatever it is stored in."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from scdata._blocks import I32, I64, CellBlock, GeneSpace
from scdata._errors import LayerNotFoundError


@dataclass(frozen=True, kw_only=True)
class DefaultFilter:
    """Which cells of a source are meant to be used, unless the user says otherwise.

    Parameters
    ----------
    text
        Filter on obs that they pass, as for ``--obs-filter``; void where the user's filter looks at one of its columns.
    reason
        Why the others are dropped: ``"not …"``.
    """

    text: str
    reason: str


class CountSource(Protocol):
    """Raw counts of C cells by G genes, read in contiguous slices of rows.

    A source is an address: it pickles to a few hundred bytes and opens its files in the process that reads.
    ``rows`` is always a slice ``start:stop`` within ``0:n_obs``, without a step. A source may have
    ``default_filter``, a `DefaultFilter`; ``dataset_facts`` and ``dataset_organisms``, as the functions of these names give;
    ``perturbation``, as `perturbation_of` gives; ``added_obs``, as that function gives; and, where it may be written to
    meanwhile, ``version``, an integer that tells which state it gives, and ``pin(version)``, after which it gives that again,
    or fails.
    """

    @property
    def uri(self) -> str:
        """Where the source is, without user, password and query."""

    @property
    def name(self) -> str:
        """Last part of the uri, without any local folder: what a manifest may contain."""

    @property
    def n_obs(self) -> int:
        """C, the number of cells."""

    @property
    def var(self) -> pa.Table:
        """One row a gene: first ``var_name`` (string, the var index), then strings, bools and numbers."""

    @property
    def genes(self) -> GeneSpace:
        """The genes of the columns and the datasets of the cells."""

    @property
    def obs_schema(self) -> pa.Schema:
        """The obs columns there are, without the index; categoricals count as strings."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user, such as that raw.X is used in place of X."""

    def obs(self, rows: slice, columns: Sequence[str]) -> pa.Table:
        """Some obs columns of the cells in `rows`: nulls stay nulls, NaN stays NaN.

        Raises
        ------
        LayerNotFoundError
            If a column is not there.
        """

    def dataset(self, rows: slice) -> I32:
        """int32 (C,): place of each cell's dataset in ``genes.datasets``."""

    def read(self, rows: slice, columns: Sequence[str] = ()) -> CellBlock:
        """Counts of the cells in `rows`, checked, with some obs columns.

        Raises
        ------
        NotCountsError
            If a value is negative, fractional, not finite or over 2**31 − 1.
        LayerNotFoundError
            If a column is not there.
        SourceError
            If the storage is damaged.
        """

    def row_nnz(self, rows: slice) -> I64 | None:
        """int64 (C,): values stored for each cell in `rows`; None where telling is not cheap."""

    def fingerprint(self, columns: Sequence[str]) -> str:
        """SHA-256, hex, of the content that a build with these obs columns depends on; no path, no time."""

    def stat(self) -> Mapping[str, int]:
        """``size`` in bytes and ``mtime_ns`` of the storage; equal ones: not written since."""


def default_filter(source: CountSource) -> DefaultFilter | None:
    """The filter that a source comes with, if it has one."""
    found: DefaultFilter | None = getattr(source, "default_filter", None)
    return found


def dataset_facts(source: CountSource) -> Mapping[str, Mapping[str, str]]:
    """``title``, ``collection``, ``doi`` and ``citation`` of the source's datasets by name, as far as it knows them."""
    found: Mapping[str, Mapping[str, str]] = getattr(source, "dataset_facts", {})
    return found


def dataset_organisms(source: CountSource) -> Sequence[str] | None:
    """The species of the source's datasets in their order, ``""`` where it does not know one; None if it knows nothing."""
    found: Sequence[str] | None = getattr(source, "dataset_organisms", None)
    return found


def perturbation_of(source: CountSource) -> Mapping[str, Any] | None:
    """``column``, ``control`` and ``match`` of the perturbation that a source names, as in manifests, if it names one."""
    found: Mapping[str, Any] | None = getattr(source, "perturbation", None)
    return found


def added_obs(source: CountSource) -> frozenset[str]:
    """obs columns that an export added to those of the set, and that say nothing new in a set that is built from it."""
    found: frozenset[str] = getattr(source, "added_obs", frozenset())
    return found


def version_of(source: CountSource) -> int | None:
    """Which state of its storage a source gives, if it tells."""
    found: int | None = getattr(source, "version", None)
    return found


def pin(source: CountSource, version: int) -> None:
    """Let a source give the state that its storage had, whatever was written since."""
    if hasattr(source, "pin"):
        source.pin(version)


def bounds(rows: slice, n_obs: int, uri: str) -> tuple[int, int]:
    """Start and stop of a contiguous slice of rows.

    Raises
    ------
    ValueError
        If the slice has a step, is reversed, or leaves ``0:n_obs``.
    """
    start = 0 if rows.start is None else int(rows.start)
    stop = n_obs if rows.stop is None else int(rows.stop)
    if rows.step not in (None, 1) or not 0 <= start <= stop <= n_obs:
        raise ValueError(
            f"{uri}: rows {rows.start}:{rows.stop}:{rows.step} is no contiguous slice of 0:{n_obs}, its rows"
        )
    return start, stop


def not_there(what: str, name: str, there: Iterable[str], uri: str) -> LayerNotFoundError:
    """The error for a name that a source does not have: lists those it has, the most similar one first.

    Parameters
    ----------
    what
        Kind of the thing, such as ``"obs column"``.
    """
    names = list(there)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.6)
    names.sort(key=lambda n: [n.lower()] != near)  # stable: the others keep their order
    return LayerNotFoundError(f"{uri}: no {what} {name!r}; there are: {', '.join(names) or 'none'}")
