"""Blocks that pass for Arrow files and would have a decoder read outside: each number that it relies on, altered in place."""

import struct

import numpy as np
import pyarrow as pa
import pytest

from scdata import decode_block
from scdata._errors import CorruptShardError
from scdata.shard.block import COUNTS, MOST_CELLS, TOKENS, encode_block, parse_block
from scdata.shard.cells import Cells
from scdata.shard.ipc_bounds import declared

CODED = ("codes", "gap_at", "gap_more", "count_at", "count_more")


def block(encoding=COUNTS, codec="none", n=5):
    ids = np.tile(np.array([0, 3, 90, 450], np.int32), n)
    cells = Cells(
        indptr=np.arange(n + 1) * 4,
        ids=ids,
        values=np.tile(np.array([1, 900, 2, 70_000], np.int32), n),
        cell_id=np.arange(n),
        dataset=np.zeros(n, np.int32),
        total_counts=np.arange(n),
        vocab_counts=np.arange(n),
        obs={"age": np.arange(n) / 2},
    )
    return encode_block(cells, encoding, codec, 500)


def place(data, column, buffer):
    """Where a buffer of a column stands in the bytes of an uncompressed file, and how long it is."""
    held = pa.py_buffer(data)
    array = pa.ipc.open_file(held).get_batch(0).column(column)
    found = array.buffers()[buffer]
    return found.address - held.address, found.size


def patched(data, at, kind, *values):
    out = bytearray(data)
    struct.pack_into("<" + kind, out, at, *values)
    return bytes(out)


def refused(data, message=None):
    with pytest.raises(CorruptShardError, match=message):
        decode_block(data)


@pytest.mark.parametrize("column", CODED)
@pytest.mark.parametrize("row", range(6))
@pytest.mark.parametrize("value", [-(2**31), -1, 1, 2, 2**20, 2**31 - 1])
def test_offsets_of_bytes(column, row, value):
    data = block()
    assert decode_block(data).n_cells == 5
    at, _ = place(data, column, 1)
    (own,) = struct.unpack_from("<i", data, at + 4 * row)
    if value != own:
        refused(patched(data, at + 4 * row, "i", value))


@pytest.mark.parametrize("column", ["token_ids", "values"])
@pytest.mark.parametrize("row", range(6))
@pytest.mark.parametrize("value", [-(2**31), -1, 1, 2**20, 2**31 - 1])
def test_offsets_of_lists(column, row, value):
    data = block(TOKENS)
    at, _ = place(data, column, 1)
    refused(patched(data, at + 4 * row, "i", value))


@pytest.mark.parametrize("encoding", [COUNTS, TOKENS])
@pytest.mark.parametrize("size", [0, 1, -8, 2**40, 2**63 - 1])
def test_buffers_of_other_lengths_and_places(encoding, size):
    data = block(encoding)
    for column in pa.ipc.open_file(data).schema.names:
        for buffer in (1, 2) if column in CODED else (1,):
            at, own = place(data, column, buffer)
            body = pa.ipc.open_file(data).get_batch(0)
            first = min(place(data, name, 1)[0] for name in body.schema.names)
            entry = data.index(struct.pack("<qq", at - first, own))
            refused(patched(data, entry + 8, "q", size))
            for where in (-8, 3, 2**40, 2**63 - 8):
                refused(patched(data, entry, "q", where))


@pytest.mark.parametrize("encoding", [COUNTS, TOKENS])
@pytest.mark.parametrize("rows", [0, 4, 6, 1000, MOST_CELLS + 1, 2**40, 2**63 - 1, -1])
def test_more_rows_than_there_are(encoding, rows):
    data = block(encoding)
    nodes = [i for i in range(0, len(data) - 16, 8) if data[i : i + 16] == struct.pack("<qq", 5, 0)]
    assert len(nodes) >= 6
    altered = data
    for at in nodes:
        refused(patched(data, at, "q", rows))
        altered = patched(altered, at, "q", rows)
    # the number of rows of the batch itself
    lengths = [i for i in range(0, len(data) - 8, 8) if data[i : i + 8] == struct.pack("<q", 5) and i not in nodes]
    assert lengths
    for at in lengths:
        altered = patched(altered, at, "q", rows)
    if rows in (0, 4):  # what is left is a block
        assert decode_block(altered).n_cells == rows
    else:
        refused(altered)


@pytest.mark.parametrize("encoding", [COUNTS, TOKENS])
@pytest.mark.parametrize("change", [-8, -1, 1, 8, 2**20, 2**35])
def test_compressed_buffers_that_lie_about_their_length(encoding, change):
    data = block(encoding, "zstd")
    assert declared(data).n_bytes == declared(block(encoding, "none")).n_bytes
    frames = [i for i in range(8, len(data)) if data[i : i + 4] == b"\x28\xb5\x2f\xfd"]
    assert len(frames) > 6
    for at in frames:
        (own,) = struct.unpack_from("<q", data, at - 8)
        refused(patched(data, at - 8, "q", own + change))
        refused(patched(data, at - 8, "q", -2))
        refused(patched(data, at - 8, "q", -1))  # as if it were not compressed


def test_types_that_look_like_others():
    batch = pa.ipc.open_file(block()).get_batch(0)

    def refused_with(name, column):
        at = batch.schema.names.index(name)
        sink = pa.BufferOutputStream()
        altered = batch.set_column(at, name, column).replace_schema_metadata(batch.schema.metadata)
        with pa.ipc.new_file(sink, altered.schema) as writer:
            writer.write_batch(altered)
        refused(sink.getvalue().to_pybytes(), f"'{name}' of a block has the type")

    ints = pa.array(np.zeros(5, np.int8))
    refused_with("obs.age", pa.ExtensionArray.from_storage(pa.bool8(), ints))
    refused_with("obs.age", pa.RunEndEncodedArray.from_arrays(pa.array([5], pa.int32()), pa.array([1.0])))
    refused_with("dataset", pa.RunEndEncodedArray.from_arrays(pa.array([5], pa.int32()), pa.array([1], pa.int32())))
    refused_with("codes", batch["codes"].cast(pa.large_binary()))
    refused_with("codes", batch["codes"].cast(pa.binary_view()))
    refused_with("codes", pa.nulls(5, pa.null()).cast(pa.binary()).fill_null(b"").cast(pa.string()))


def test_what_declared_reads_of_bytes_that_are_none():
    for data in (b"", b"ARROW1", b"\xff" * 40 + b"ARROW1", b"\x7f" * 40 + b"ARROW1"):
        with pytest.raises(ValueError):
            declared(data)
    data = block()
    for at in range(len(data) - 400, len(data) - 6):
        for value in (0, 0x7F, 0x80, 0xFF):
            altered = patched(data, at, "B", value)
            try:
                found = declared(altered)
            except ValueError:
                continue
            assert found.n_bytes >= 0


def test_cells_that_are_nearly_the_same_are_written_so_that_they_can_be_read():
    n = 1024
    indptr = np.arange(n + 1) * 70_000
    cells = Cells(
        indptr=indptr,
        ids=np.tile(np.arange(70_000, dtype=np.int32), n),
        values=np.broadcast_to(np.int32(1), indptr[-1]),
        cell_id=np.arange(n),
        dataset=np.zeros(n, np.int32),
        total_counts=np.arange(n),
        vocab_counts=np.arange(n),
    )
    data = encode_block(cells, COUNTS, "zstd", 70_000)
    assert len(data) > indptr[-1]
    assert parse_block(data).lengths.sum() == indptr[-1]
