"""The cells of a set by the values of an obs column, as filters: batches of a mix may be of one value each."""

import numpy as np

from scdata._config import nearest
from scdata._errors import LayerNotFoundError
from scdata.batch.set_stream import SetStream
from scdata.stream.weights import value_codes

ORGANISM = "organism"
_MOST_KINDS = 64  # each is read by itself, with blocks of its own in memory


def filters_of_kinds(stream: SetStream, column: str) -> list[str]:
    """A filter for each value of a column among the cells of a stream, sorted by value.

    Parameters
    ----------
    column
        An obs column without nulls; ``organism`` need be none, where the table of datasets says it.

    Raises
    ------
    LayerNotFoundError
        If there is no such column.
    ValueError
        If cells have no value, or there are too many values.
    """
    shards, given = stream.shards, stream.options.filter
    there = [own["name"] for own in shards.manifest["obs"]]
    by_dataset = column == ORGANISM and column not in there and all(shards.organisms)
    if column not in there and not by_dataset:
        raise LayerNotFoundError(f"{stream.path} has no obs column {column!r}: {nearest(column, there)}")
    codes, values = value_codes(shards, stream.options.split, stream.selection, "dataset" if by_dataset else column)
    n_cells = np.bincount(codes, minlength=len(values)).tolist()
    found = [value for value, n in zip(values, n_cells, strict=True) if n]
    if None in found:
        n = n_cells[values.index(None)]
        raise ValueError(
            f"{n:,} cells of {stream.path} have no {column!r}, so they fit no batch: leave them out by filter="
        )
    if by_dataset:
        species = dict(zip(shards.datasets, shards.organisms, strict=True))
        kinds = [
            f"dataset in {[name for name in sorted(found) if species[name] == own]!r}"
            for own in sorted({species[name] for name in found})
        ]
    else:
        kinds = [f"{column} == {value!r}" for value in sorted(found)]
    if len(kinds) > _MOST_KINDS:
        raise ValueError(
            f"{column!r} has {len(kinds):,} values in {stream.path}: at most {_MOST_KINDS}, each of which is read by itself"
        )
    return kinds if given is None else [f"({given}) and {own}" for own in kinds]
