"""Cells of a sparse TileDB array, which come tile after tile, as rows."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from scdata._blocks import I64, Array
from scdata._errors import SourceError
from scdata._optional import need

_LARGEST_COLUMN = 2**31 - 1


def csr_of_triples(tables: Iterable[pa.Table], start: int, stop: int, where: str) -> tuple[I64, Array, Array]:
    """CSR of rows ``start:stop`` of a sparse array.

    Parameters
    ----------
    tables
        Its triples in any order, as columns ``soma_dim_0``, ``soma_dim_1`` and ``soma_data``.
    where
        URI and layer, for messages.

    Returns
    -------
    indptr : int64 (C+1,)
    columns : int32 (T,)
    values : (T,) of the stored dtype

    Raises
    ------
    SourceError
        If a triple is not in the rows, or its column over 2**31 − 1.
    """
    parts = []
    for table in tables:
        row, column = table["soma_dim_0"].to_numpy() - start, table["soma_dim_1"].to_numpy()
        if len(row) and not (row.min() >= 0 and row.max() < stop - start and column.max() <= _LARGEST_COLUMN):
            raise SourceError(
                f"{where}: asked for rows {start}:{stop}, got {start + row.min()} to {start + row.max()} "
                f"and columns up to {column.max()}; the array is damaged, write it again"
            )
        # half as wide before the next table comes
        parts.append((row.astype(np.int32), column.astype(np.int32), table["soma_data"].to_numpy()))
    if not parts:
        return np.zeros(stop - start + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32)
    rows, columns, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    # several tiles lie side by side in the same rows, so rows come again and again: a counting sort
    triples = need("scipy.sparse", "read SOMA experiments").coo_array(
        (values, (rows, columns)), shape=(stop - start, int(columns.max(initial=0)) + 1)
    )
    csr = triples.tocsr()
    return csr.indptr.astype(np.int64), csr.indices, csr.data
