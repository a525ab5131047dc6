"""Lists of gene ids and counts, one of each a cell, as rows of CSR."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scdata._blocks import I32, I64, Array
from scdata._errors import SourceError
from scdata.source.ragged_genes import RaggedGenes


def csr_of_lists(genes: Any, values: Any, table: RaggedGenes, where: str, first: int) -> tuple[I64, I32, Array]:
    """Rows of CSR: lengths, columns, values.

    Parameters
    ----------
    genes, values
        Chunked arrays of lists, one a cell.
    table
        Which column an id is.
    where, first
        File, and the row in it of the first cell, for messages.

    Returns
    -------
    lengths : int64 (C,)
    columns : int32 (T,)
    values : (T,), as stored

    Raises
    ------
    SourceError
        If a cell has no lists, or they differ in length; or an id is missing, or not in the table.
    """
    lengths, ids = _flat(genes, "genes", where, first)
    other, numbers = _flat(values, "expressions", where, first)
    if not np.array_equal(lengths, other):
        at = int(np.argmax(lengths != other))
        raise SourceError(
            f"{where}, row {first + at}: {lengths[at]} genes and {other[at]} expressions; the file is damaged, write it again"
        )
    if ids.dtype.kind not in "iu":
        raise SourceError(f"{where}: gene ids of the type {ids.dtype}; whole numbers are expected")
    ends = np.cumsum(lengths)
    # the first entry of a cell may be a marker: it is known by a negative number
    begins = (ends - lengths)[lengths > 0]
    markers = begins[numbers[begins] < 0]
    if len(markers):
        lengths = lengths.copy()
        lengths[np.searchsorted(ends, markers, side="right")] -= 1
        ids, numbers = np.delete(ids, markers), np.delete(numbers, markers)
    known = table.column_of
    outside = (ids < 0) | (ids >= len(known))
    columns = known[np.where(outside, 0, ids)]
    unknown = np.flatnonzero(outside | (columns < 0))
    if len(unknown):
        row = int(np.searchsorted(np.cumsum(lengths), unknown[0], side="right"))
        raise SourceError(
            f"{where}, row {first + row}: no gene has the id {ids[unknown[0]]} in {table.name}; name the table that belongs "
            "to these files"
        )
    return lengths, columns, numbers


def _flat(column: Any, name: str, where: str, first: int) -> tuple[I64, Array]:
    """Lengths of the lists, and what they hold."""
    array = column.combine_chunks()
    if array.null_count:
        row = first + int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
        raise SourceError(f"{where}, row {row}: no list in the column {name!r}; leave such cells out")
    lengths = np.asarray(pc.list_value_length(array).to_numpy(zero_copy_only=False), np.int64)
    flat: pa.Array = array.flatten()
    if flat.null_count:
        at = int(np.argmax(flat.is_null().to_numpy(zero_copy_only=False)))
        row = first + int(np.searchsorted(np.cumsum(lengths), at, side="right"))
        raise SourceError(
            f"{where}, row {row}: nothing stands at a place of the list of {name!r}; write the file again"
        )
    return lengths, flat.to_numpy(zero_copy_only=False)
