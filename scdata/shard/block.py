"""A block: some cells ↔ bytes of one Arrow IPC file. docs/format.md says it byte by byte."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scdata._blocks import I32, I64, Array
from scdata._cached import cached_property
from scdata._errors import CorruptShardError
from scdata.shard.cells import OBS, Cells
from scdata.shard.codes import GAP_BITS, Bytes, CodedCounts, decode_counts, encode_counts
from scdata.shard.ipc_bounds import declared, most_bytes

COUNTS = "gap-count-1"
TOKENS = "ragged-tokens-1"
CODECS = ("zstd", "none")
_ZSTD_LEVEL = 1
MOST_GENES, MOST_CELLS = 1 << 24, 1 << 16  # of a set, of a block
_CODED = ("codes", "gap_at", "gap_more", "count_at", "count_more")
_OF_A_CELL = {"cell_id": pa.int64(), "dataset": pa.int32(), "total_counts": pa.int64(), "vocab_counts": pa.int64()}


# -- write -----------------------------------------------------------------


def encode_block(cells: Cells, encoding: str, codec: str, n_genes: int) -> bytes:
    """Bytes of a block.

    Parameters
    ----------
    cells
        What to store.
    encoding
        `COUNTS` or `TOKENS`.
    codec
        ``"zstd"`` or ``"none"``: compression of the Arrow buffers.
    n_genes
        Number of gene codes of the set.
    """
    columns: dict[str, pa.Array] = {name: pa.array(getattr(cells, name), kind) for name, kind in _OF_A_CELL.items()}
    metadata = {"encoding": encoding, "n_genes": str(n_genes)}
    if encoding == COUNTS:
        coded = encode_counts(cells.indptr, cells.ids, np.asarray(cells.values, np.int32))
        metadata["gap_bits"] = str(coded.gap_bits)
        for name in _CODED:
            columns[name] = _binary(getattr(coded, name))
    else:
        offsets = pa.array(cells.indptr.astype(np.int32))
        wide = cells.ids.max(initial=0) >= 1 << 16
        columns["token_ids"] = pa.ListArray.from_arrays(offsets, cells.ids.astype(np.uint32 if wide else np.uint16))
        if cells.values is not None:
            columns["values"] = pa.ListArray.from_arrays(offsets, _narrow(cells.values))
    for name, column in cells.obs.items():
        columns[OBS + name] = pa.array(column)
    batch = pa.record_batch(list(columns.values()), names=list(columns)).replace_schema_metadata(metadata)
    data = _file_of(batch, pa.Codec("zstd", compression_level=_ZSTD_LEVEL) if codec == "zstd" else None)
    # cells that are nearly all the same
    return data if declared(data).n_bytes <= most_bytes(len(data)) else _file_of(batch, None)


def _file_of(batch: pa.RecordBatch, compression: pa.Codec | None) -> bytes:
    options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def _binary(column: Bytes) -> pa.Array:
    offsets = np.ascontiguousarray(column.offsets, np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(column.data))]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def _narrow(values: Array) -> Array:
    if values.dtype.kind == "f":
        return values
    for dtype in (np.uint8, np.uint16):
        if values.min(initial=0) >= 0 and values.max(initial=0) <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.int32)


# -- read ------------------------------------------------------------------


@dataclass(frozen=True)
class StoredBlock:
    """A block as it is stored, its columns checked but its cells not yet decoded.

    Parameters
    ----------
    encoding
        `COUNTS` or `TOKENS`.
    n_genes
        Number of gene codes of the set.
    lengths
        int64 (C,): entries of each cell.
    columns
        Per-cell columns and obs columns (``obs.NAME``) by name.
    coded
        The counts, where the encoding is `COUNTS`.
    tokens, values
        Ragged arrays with int64 offsets, where it is `TOKENS`.
    """

    encoding: str
    n_genes: int
    lengths: I64
    columns: Mapping[str, Array]
    coded: CodedCounts | None = None
    offsets: I64 | None = None
    tokens: Array | None = None
    values: Array | None = None

    @property
    def n_cells(self) -> int:
        return len(self.lengths)

    @cached_property
    def addresses(self) -> dict[str, int]:
        """Where the columns are in memory, and, under ``""``, the lengths: for compiled loops, while this object is held."""
        arrays = {"": self.lengths, **self.columns}
        return {name: array.ctypes.data for name, array in arrays.items() if array.flags.c_contiguous}

    def check(self, n_tokens: int, n_codes: Mapping[str, int]) -> None:
        """Refuse what lies outside the set.

        Parameters
        ----------
        n_tokens
            Token ids of the vocabulary.
        n_codes
            Codes of the columns that hold codes; `dataset` from 0, obs columns from −1.

        Raises
        ------
        CorruptShardError
            If an id or a code is not there, or a cell is longer than it can be.
        """
        if self.tokens is not None and len(self.tokens) and int(self.tokens.max()) >= n_tokens:
            raise CorruptShardError(f"holds the token id {self.tokens.max()}, the vocabulary ends at {n_tokens - 1}")
        if self.values is not None and self.values.dtype.kind == "f" and not np.isfinite(self.values).all():
            raise CorruptShardError("holds values that are not finite")
        for name in ("total_counts", "vocab_counts"):
            if self.columns[name].min(initial=0) < 0:
                raise CorruptShardError(f"holds {name} below 0")
        most = self.n_genes if self.tokens is None else n_tokens
        if self.lengths.max(initial=0) > most:
            raise CorruptShardError(f"holds a cell of {self.lengths.max()} tokens, more than the {most} there are")
        for name, n in n_codes.items():
            codes = self.columns.get(name)
            if (
                codes is not None
                and len(codes)
                and not (0 if name == "dataset" else -1) <= codes.min() <= codes.max() < n
            ):
                raise CorruptShardError(f"holds a code from {codes.min()} to {codes.max()} of {name!r}, which has {n}")

    def decode(self, token_of_code: I32 | None = None) -> Cells:
        """All cells. Gene codes become what `token_of_code` (int32, one a code) says; without it they stay codes."""
        indptr = np.concatenate(([0], np.cumsum(self.lengths)))
        values: Array | None
        if self.coded is not None:
            if token_of_code is None:
                token_of_code = np.arange(self.n_genes, dtype=np.int32)
            ids, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.int32)
            rows = np.arange(self.n_cells)
            decode_counts([self.coded], np.zeros_like(rows), rows, token_of_code, indptr[:-1], ids, values)
        else:
            assert self.tokens is not None  # the encoding is TOKENS
            ids, values = self.tokens.astype(np.int32), self.values
            if values is not None and values.dtype.kind != "f":
                values = values.astype(np.int32)  # stored as narrow as they fit
        return Cells(
            indptr=indptr,
            ids=ids,
            values=values,
            cell_id=self.columns["cell_id"],
            dataset=self.columns["dataset"],
            total_counts=self.columns["total_counts"],
            vocab_counts=self.columns["vocab_counts"],
            obs={name[len(OBS) :]: column for name, column in self.columns.items() if name.startswith(OBS)},
        )


def parse_block(data: Any) -> StoredBlock:
    """Read a block without decoding its cells.

    Parameters
    ----------
    data
        Its bytes (any buffer).

    Raises
    ------
    CorruptShardError
        If it is not an Arrow IPC file with one batch, lacks a column, or has one of another type; and, before anything is
        decompressed, if it says that it takes more memory than a block does.
    """
    try:
        says = declared(data)
        if says.n_batches != 1:
            raise CorruptShardError(f"a block holds {says.n_batches} record batches instead of 1")
        if says.n_rows > MOST_CELLS or says.n_bytes > most_bytes(len(data)):
            raise CorruptShardError(
                f"a block of {len(data)} bytes says that it holds {says.n_rows} cells in {says.n_bytes} bytes; {MOST_CELLS} "
                f"and {most_bytes(len(data))} are allowed"
            )
        options = pa.ipc.IpcReadOptions(use_threads=False)
        reader = pa.ipc.open_file(pa.py_buffer(data), options=options)
        batch = reader.get_batch(0)
        batch.validate(full=True)
        metadata = {key.decode(): value.decode() for key, value in (batch.schema.metadata or {}).items()}
        names = batch.schema.names  # decoded here, where an altered name that is no UTF-8 is caught
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptShardError(f"a block is not an Arrow IPC file: {error}") from error
    columns = {name: _numbers(batch, names, name, kind) for name, kind in _OF_A_CELL.items()}
    columns |= {name: _numbers(batch, names, name, None) for name in names if name.startswith(OBS)}
    encoding, n_genes = metadata.get("encoding"), _n_genes(metadata)
    if encoding == COUNTS:
        gap_bits = metadata.get("gap_bits", "")
        if gap_bits not in {str(bits) for bits in GAP_BITS}:
            raise CorruptShardError(f"a block says gap_bits = {gap_bits!r}, expected one of {GAP_BITS}")
        parts = [_bytes_column(batch, names, name) for name in _CODED]
        lengths = np.diff(parts[0].offsets).astype(np.int64)
        return StoredBlock(encoding, n_genes, lengths, columns, CodedCounts(int(gap_bits), *parts))
    if encoding == TOKENS:
        offsets, tokens = _list_column(batch, names, "token_ids", (pa.uint16(), pa.uint32()))
        values = None
        if "values" in names:
            kinds = (pa.uint8(), pa.uint16(), pa.int32(), pa.float32())
            value_offsets, values = _list_column(batch, names, "values", kinds)
            if not np.array_equal(offsets, value_offsets):
                raise CorruptShardError("a block has cells with more values than tokens, or fewer")
        return StoredBlock(encoding, n_genes, np.diff(offsets), columns, None, offsets, tokens, values)
    raise CorruptShardError(f"a block has the encoding {encoding!r}; this version reads {COUNTS} and {TOKENS}")


def _n_genes(metadata: Mapping[str, str]) -> int:
    text = metadata.get("n_genes", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 8 and int(text) <= MOST_GENES):
        raise CorruptShardError(f"a block says n_genes = {text!r}, expected a number up to {MOST_GENES}")
    return int(text)


def _column(batch: pa.RecordBatch, names: Sequence[str], name: str) -> pa.Array:
    if names.count(name) != 1:
        raise CorruptShardError(f"a block {'has twice' if name in names else 'lacks'} the column {name!r}")
    column = batch.column(names.index(name))
    if column.null_count:
        raise CorruptShardError(f"a block has nulls in the column {name!r}")
    return column


def _numbers(batch: pa.RecordBatch, names: Sequence[str], name: str, kind: pa.DataType | None) -> Array:
    column = _column(batch, names, name)
    is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if (kind is not None and column.type != kind) or not is_number:
        raise CorruptShardError(
            f"the column {name!r} of a block has the type {column.type}, expected {kind or 'a number'}"
        )
    return column.to_numpy(zero_copy_only=False)


def _bytes_column(batch: pa.RecordBatch, names: Sequence[str], name: str) -> Bytes:
    column = _column(batch, names, name)
    if column.type != pa.binary():
        raise CorruptShardError(f"the column {name!r} of a block has the type {column.type}, expected binary")
    offsets = _raw_offsets(column)
    return Bytes(offsets, _raw(column.buffers()[2], np.uint8)[: offsets[-1]])


def _list_column(
    batch: pa.RecordBatch, names: Sequence[str], name: str, kinds: tuple[pa.DataType, ...]
) -> tuple[I64, Array]:
    column = _column(batch, names, name)
    if not pa.types.is_list(column.type) or column.type.value_type not in kinds or column.values.null_count:
        raise CorruptShardError(f"the column {name!r} of a block has the type {column.type}")
    offsets = _raw_offsets(column).astype(np.int64)
    return offsets, column.values.to_numpy(zero_copy_only=True)[: offsets[-1]]


def _raw_offsets(column: pa.Array) -> I32:
    if len(column) == 0:
        return np.zeros(1, np.int32)
    offsets = np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4)
    if offsets[0] != 0:
        raise CorruptShardError("a block has a column that does not begin at 0")
    return offsets


def _raw(buffer: pa.Buffer | None, dtype: npt.DTypeLike) -> Array:
    return np.frombuffer(buffer, dtype) if buffer is not None and buffer.size else np.empty(0, dtype)
