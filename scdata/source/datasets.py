"""Which dataset each cell of a source belongs to."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scdata._blocks import I32
from scdata._errors import SourceError
from scdata.source.base import not_there
from scdata.source.columns import text

# The column of CELLxGENE's schema
DATASET_ID = "dataset_id"

# Name of the dataset of the cells whose column is null
NULL = "null"


def dataset_column(asked: str | None, there: Sequence[str], uri: str) -> str | None:
    """The obs column that tells datasets apart: the one asked for, else ``dataset_id``, else None (one).

    Raises
    ------
    LayerNotFoundError
        If the column asked for is not there.
    """
    if asked is None:
        return DATASET_ID if DATASET_ID in there else None
    if asked not in there:
        raise not_there("obs column", asked, there, uri)
    return asked


def distinct(parts: Iterable[pa.Array]) -> tuple[str, ...]:
    """Sorted distinct values of a column that comes in parts, as strings, null as ``"null"``."""
    seen: set[str] = set()
    for part in parts:
        seen.update(NULL if value is None else value for value in text(part.unique()).to_pylist())
    return tuple(sorted(seen))


def dataset_codes(column: pa.Array, names: Sequence[str], uri: str) -> I32:
    """int32 (C,): place of each cell's dataset in `names`.

    Raises
    ------
    SourceError
        If a value is not among `names`, because the source was written to in between.
    """
    encoded = column.dictionary_encode()
    values = text(encoded.dictionary).fill_null(NULL)
    if column.null_count:
        values = pa.concat_arrays([values, pa.array([NULL])])
    place = pc.index_in(values, value_set=pa.array(names, pa.string()))
    if place.null_count:
        new = values.filter(place.is_null())[0].as_py()
        raise SourceError(f"{uri}: dataset {new!r} was not there when the source was opened; open it again")
    codes = encoded.indices.fill_null(len(values) - 1).to_numpy()
    return place.to_numpy()[codes].astype(np.int32)
