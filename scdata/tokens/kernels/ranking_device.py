"""`rank_order` and `rank_tokens` on a device: rows are sorted in shared memory, longer ones together by one packed key.

Memory beside the input: the result, 8 or 4 bytes a value; for rows over `BLOCK_ROW` entries about 150 bytes a value of theirs,
at most `CHUNK_ROWS` such rows at a time. One launch a block of cells, and one sort a chunk of long rows.
"""

from typing import Any

import numpy as np

from scdata import _cuda
from scdata._backend import backend, row_of_entry
from scdata._blocks import I32, I64
from scdata.counts.csr import ragged_rows
from scdata.normalize.library_size import F64
from scdata.tokens.kernels.rank_tokens import rank_tokens_numpy

BLOCK_ROW = 1 << 13  # entries of a row that a block of threads sorts: 96 KB of shared memory (compute capability 8.0)
CHUNK_ROWS = 1 << 10  # rows that one packed key tells apart
_THREADS = 512

_PLACE_BITS, _VALUE_BITS = 16, 38
_CUT_BITS = 21  # of the 52 of a fraction
_LEAST = np.uint64((1023 - 64) << 52)  # the bits of 2**-64


def rank_order_device(indptr: I64, values: F64) -> I64:
    """`rank_order` of arrays on a device."""
    xp = backend(values)
    order: I64 = xp.empty(len(values), xp.int64)
    bits = _cuda.laid_out(values, np.float64).view(xp.uint64)
    for long in _sort_short_rows(indptr, "rank_rows", (bits,), order):
        own, take = ragged_rows(indptr, long)
        order[take] = take[rank_packed(own, values[take])]
    return order


def rank_tokens_device(
    indptr: I64, genes: I32, counts: I32, total: I64, target_sum: float, medians: F64, gene_tokens: I32
) -> I32:
    """`rank_tokens` of arrays on a device; no value leaves the shared memory of its row."""
    xp = backend(counts)
    token_ids: I32 = xp.empty(len(genes), xp.int32)
    given = (
        _cuda.laid_out(genes, np.int32),
        _cuda.laid_out(counts, np.int32),
        _cuda.laid_out(total, np.int64),
        np.float64(target_sum),
        _cuda.laid_out(medians, np.float64),
        _cuda.laid_out(gene_tokens, np.int32),
    )
    for long in _sort_short_rows(indptr, "rank_tokens", given, token_ids):
        own, take = ragged_rows(indptr, long)
        token_ids[take] = rank_tokens_numpy(
            own, genes[take], counts[take], total[long], target_sum, medians, gene_tokens
        )
    return token_ids


def _sort_short_rows(indptr: I64, kernel: str, arguments: tuple[Any, ...], result: Any) -> list[I64]:
    """Run a kernel over the rows of at most `BLOCK_ROW` entries; the numbers of the others, in chunks."""
    xp = backend(indptr)
    lengths = xp.diff(indptr)
    longest = int(lengths.max()) if len(lengths) else 0
    capacity = 1 << max(min(longest, BLOCK_ROW) - 1, 1).bit_length()
    _cuda.launch(
        xp,
        "tokens/kernels/ranking.cu",
        kernel,
        len(lengths),
        min(_THREADS, max(32, capacity // 2)),
        (_cuda.laid_out(indptr, np.int64), *arguments, np.int32(capacity), result),
        shared_bytes=capacity * 12,
    )
    if longest <= BLOCK_ROW:
        return []
    long = xp.flatnonzero(lengths > BLOCK_ROW)
    return [long[start : start + CHUNK_ROWS] for start in range(0, len(long), CHUNK_ROWS)]


def rank_packed(indptr: I64, values: F64) -> I64:
    """`rank_order` of at most `CHUNK_ROWS` rows by one sort of integers, on either machine.

    A key is row (10 bits) | value (38 bits) | place in the row (16 bits). The value is the exponent from −64 to 63 (7 bits)
    and the first 31 bits of the fraction, inverted. Values that agree in these and do not in the rest are put right by
    sorting their rows again; where a value is outside [2**−64, 2**64), or a row has more than 65,536 entries, all rows are
    sorted in two stable passes.
    """
    xp = backend(values)
    rows = row_of_entry(indptr)
    place = xp.arange(len(values)) - indptr[rows]
    code = (xp.ascontiguousarray(values).view(xp.uint64) - _LEAST) >> np.uint64(_CUT_BITS)
    fits = len(values) == 0 or (int(code.max()) >> _VALUE_BITS == 0 and int(place.max()) >> _PLACE_BITS == 0)
    if not fits:
        return _two_passes(rows, values)
    key = rows.astype(xp.uint64) << np.uint64(_VALUE_BITS + _PLACE_BITS)
    key |= (np.uint64((1 << _VALUE_BITS) - 1) - code) << np.uint64(_PLACE_BITS)
    key |= place.astype(xp.uint64)
    key.sort()
    order = (key & np.uint64((1 << _PLACE_BITS) - 1)).astype(xp.int64) + indptr[rows]
    ranked = values[order]
    wrong = xp.flatnonzero((ranked[1:] > ranked[:-1]) & (rows[1:] == rows[:-1]))
    if len(wrong):
        again = xp.unique(rows[wrong])
        own, take = ragged_rows(indptr, again)
        order[take] = take[_two_passes(row_of_entry(own), values[take])]
    return order


def _two_passes(rows: I64, values: F64) -> Any:
    """Order by falling value, then by row; both sorts keep the order of equals."""
    xp = backend(values)
    order = xp.argsort(-values, kind="stable")
    return order[xp.argsort(rows[order], kind="stable")]
