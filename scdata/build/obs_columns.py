"""Which obs columns a set keeps, in which type, and the codes of their strings."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scdata._blocks import Array
from scdata._config import nearest
from scdata._errors import LayerNotFoundError, SourceError

_MOST_CATEGORIES = 1000
_MOST_OF_ALL = 1_000_000  # strings of one column that a build can hold, whatever the number of cells


@dataclass(frozen=True)
class ObsColumn:
    """A column of the set.

    Parameters
    ----------
    name
        As in the source.
    dtype
        NumPy name of what blocks hold: ``int32`` codes of strings, ``uint8`` for bool, else the source's own.
    categories
        Sorted strings behind the codes; None for numbers.
    """

    name: str
    dtype: str
    categories: tuple[str, ...] | None = None

    def encode(self, column: pa.ChunkedArray) -> Array:
        """(C,) of `dtype`, from the source's values: null strings −1, null numbers NaN."""
        if self.categories is not None:
            codes = pc.index_in(column, value_set=pa.array(self.categories, pa.string()))
            return np.asarray(pc.fill_null(codes, -1).to_numpy(), np.int32)
        if self.dtype == "float64":
            return np.asarray(_cast(self.name, column, pa.float64()).to_numpy(), np.float64)
        return np.asarray(column.to_numpy()).astype(self.dtype)

    def decode(self, values: Array) -> pa.Array:
        """What `encode` was given, for the files that people read (bool and integers with nulls as stored)."""
        if self.categories is None:
            return pa.array(values)
        indices = pa.array(values, mask=values < 0)
        return pa.DictionaryArray.from_arrays(indices, pa.array(self.categories, pa.string()))


class ObsScan:
    """Collects, slice by slice, what decides the columns of a set: distinct strings, nulls, types.

    Parameters
    ----------
    wanted
        Columns to keep; None: all that pass the limit on distinct strings.
    schemas
        obs schema of each source.
    n_obs
        Cells of all sources.
    always
        Columns to keep however many strings they have.
    unasked
        Columns to keep only if they are wanted by name.

    Raises
    ------
    LayerNotFoundError
        If no source has a wanted column.
    SourceError
        If a wanted column is text in one source and numbers in another.
    """

    def __init__(
        self,
        wanted: Sequence[str] | None,
        schemas: Sequence[pa.Schema],
        n_obs: int,
        always: Sequence[str] = (),
        unasked: Collection[str] = (),
    ) -> None:
        kinds: dict[str, list[pa.DataType]] = {}
        for schema in schemas:
            for field in schema:
                kinds.setdefault(field.name, []).append(field.type)
        for name in wanted or ():
            if name not in kinds:
                raise LayerNotFoundError(f"no obs column {name!r}: {nearest(name, list(kinds))}")
        asked = set(kinds) - set(unasked) if wanted is None else set(wanted)
        # a column that is not asked for may be text here and numbers there
        self.fields = {
            name: _common(name, own) for name, own in kinds.items() if name in asked or len({*map(_is_text, own)}) == 1
        }
        self.names = [n for n in self.fields if n in asked] if wanted is None else list(dict.fromkeys(wanted))
        self._limit = min(max(_MOST_CATEGORIES, n_obs // 10), _MOST_OF_ALL) if wanted is None else None
        self._strings: dict[str, set[str]] = {n: set() for n in self.names if _is_text(self.fields[n])}
        self._nulls: set[str] = set()
        self._always = frozenset(always)
        self.left_out: list[str] = []

    def add(self, obs: pa.Table) -> None:
        """Take in some cells: a table with the columns `names`."""
        for name in list(self.names):
            column = obs[name]
            if name in self._strings:
                self._strings[name].update(v for v in pc.unique(column).to_pylist() if v is not None)
                limit = None if name in self._always else self._limit
                if limit is not None and len(self._strings[name]) > limit:
                    self.left_out.append(name)
                    self.names.remove(name)
                    del self._strings[name]
            elif column.null_count:
                self._nulls.add(name)

    def columns(self) -> list[ObsColumn]:
        """The columns of the set, after all cells were taken in."""
        out = []
        for name in self.names:
            kind = self.fields[name]
            if name in self._strings:
                out.append(ObsColumn(name, "int32", tuple(sorted(self._strings[name]))))
            elif name in self._nulls and not pa.types.is_floating(kind):
                out.append(ObsColumn(name, "float64"))
            else:
                out.append(ObsColumn(name, "uint8" if pa.types.is_boolean(kind) else kind.to_pandas_dtype().__name__))
        return out


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind))


def _common(name: str, kinds: Sequence[pa.DataType]) -> pa.DataType:
    """The type that holds a column's values of all sources."""
    a = kinds[0]
    for b in kinds[1:]:
        if _is_text(a) != _is_text(b):
            raise SourceError(
                f"obs column {name!r} is {a} in one source and {b} in another: leave it out, with --obs and the columns to keep"
            )
        if a != b:
            a = pa.from_numpy_dtype(np.result_type(a.to_pandas_dtype(), b.to_pandas_dtype()))
    return a


def _cast(name: str, column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return pc.cast(column, kind)
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"obs column {name!r} is kept as {kind}, because it has nulls or is of several types: {error}; leave it out "
            "with --obs"
        ) from error


def read_obs(
    read: Callable[[slice, Sequence[str]], pa.Table],
    schema: pa.Schema,
    rows: slice,
    fields: Mapping[str, pa.DataType],
    names: Sequence[str],
) -> pa.Table:
    """Some columns of a source in the set's types; a column that this source lacks is null.

    Parameters
    ----------
    read, schema
        ``source.obs`` and ``source.obs_schema``.
    rows
        Which cells.
    fields
        Type of each column in the set.
    names
        Which columns.
    """
    there = read(rows, [name for name in names if name in schema.names])
    n = rows.stop - rows.start
    columns = {
        name: pc.cast(there[name], fields[name])
        if name in schema.names
        else pa.chunked_array([pa.nulls(n, fields[name])])
        for name in names
    }
    return pa.table(columns) if columns else pa.table({"": pa.nulls(n)})
