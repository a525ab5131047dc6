import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata import decode_block
from scdata._errors import CorruptShardError
from scdata.shard import codes
from scdata.shard.block import COUNTS, TOKENS, encode_block, parse_block
from scdata.shard.cells import Cells

I64 = st.integers(0, 2**63 - 1)


def make(lists, values, obs=None, dtype=np.int32):
    """Cells with these ids and values."""
    n = len(lists)
    ids = np.array([i for cell in lists for i in cell], np.int32)
    return Cells(
        indptr=np.cumsum([0, *map(len, lists)]),
        ids=ids,
        values=None if values is None else np.array(values, dtype),
        cell_id=np.arange(n) * 3_000_000_007,
        dataset=np.arange(n, dtype=np.int32) % 3,
        total_counts=np.arange(n) + 2**40,
        vocab_counts=np.arange(n),
        obs=obs or {},
    )


@st.composite
def counts_cells(draw):
    genes = st.lists(st.integers(0, 59_999), unique=True, max_size=12).map(sorted)
    lists = draw(st.lists(genes, max_size=5))
    count = st.one_of(st.integers(1, 4), st.integers(1, 2**31 - 1))
    n = sum(map(len, lists))
    values = draw(st.lists(count, min_size=n, max_size=n))
    obs = {
        "cell_type": np.arange(len(lists), dtype=np.int32) - 1,
        "age": np.where(np.arange(len(lists)) % 2, np.nan, 1.5),
        "is_control": np.arange(len(lists), dtype=np.uint8) % 2,
        "total_counts": np.arange(len(lists)) * 2,
    }
    return make(lists, values, obs)


def same(found, cells):
    for name in ("indptr", "ids", "values", "cell_id", "dataset", "total_counts", "vocab_counts"):
        a, b = getattr(found, name), getattr(cells, name)
        assert (a is None) == (b is None)
        if b is not None:
            np.testing.assert_array_equal(a, b, err_msg=name)
    assert set(found.obs) == set(cells.obs)
    for name, column in cells.obs.items():
        np.testing.assert_array_equal(found.obs[name], column, err_msg=name)
        assert found.obs[name].dtype == column.dtype


@settings(deadline=None)
@given(counts_cells(), st.sampled_from(["zstd", "none"]))
def test_counts_go_through_a_block(cells, codec):
    data = encode_block(cells, COUNTS, codec, 60_000)
    assert data == encode_block(cells, COUNTS, codec, 60_000)
    found = decode_block(data)
    same(found, cells)
    assert found.content_hash() == cells.content_hash()
    table = np.arange(60_000, dtype=np.int32)[::-1] + np.int32(5)
    assert decode_block(data, table).ids.tolist() == table[cells.ids].tolist()


VALUES = [
    (None, None, None),
    ([1, 0, 255], np.int32, np.uint8),
    ([1, 0, 256], np.int32, np.uint16),
    ([1, 0, 65_536], np.int32, np.int32),
    ([1, -2, 3], np.int32, np.int32),
    ([0.5, -1.25, 3e38], np.float32, np.float32),
]


@pytest.mark.parametrize("codec", ["zstd", "none"])
@pytest.mark.parametrize("wide", [65_535, 65_536, 2**31 - 1])
@pytest.mark.parametrize(("values", "dtype", "stored"), VALUES)
def test_tokens_go_through_a_block(values, dtype, stored, wide, codec):
    cells = make([[], [7, wide], [], [3]], values, dtype=dtype)
    data = encode_block(cells, TOKENS, codec, 10)
    found = decode_block(data)
    same(found, cells)
    assert found.ids.dtype == np.int32
    if stored is not None:
        assert parse_block(data).values.dtype == stored  # as narrow as they fit
        assert found.values.dtype == dtype


@pytest.mark.parametrize("encoding", [COUNTS, TOKENS])
def test_no_cells_and_empty_cells(encoding):
    for lists in ([], [[]], [[], []]):
        cells = make(lists, [])
        found = decode_block(encode_block(cells, encoding, "zstd", 5))
        assert found.n_cells == len(lists)
        assert found.indptr.tolist() == [0] * (len(lists) + 1)


def test_the_content_hash_is_of_the_content():
    cells = make([[1, 2], [3]], [1, 1, 1])
    other = [
        make([[1, 2], [4]], [1, 1, 1]),
        make([[1, 2], [3]], [1, 1, 2]),
        make([[1], [2, 3]], [1, 1, 1]),
        make([[1, 2], [3]], [1, 1, 1], {"a": np.zeros(2)}),
        make([[1, 2], [3]], None),
    ]
    assert len({c.content_hash() for c in (cells, *other)}) == 6
    hashes = {decode_block(encode_block(cells, COUNTS, codec, 9)).content_hash() for codec in ("zstd", "none")}
    assert hashes == {cells.content_hash()}


# -- refusing ----------------------------------------------------------------


def write(batch, n_batches=1):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        for _ in range(n_batches):
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def good(encoding=COUNTS):
    cells = make([[1, 200], [3]], [1, 900, 1], {"age": np.array([1.0, 2.0])})
    return pa.ipc.open_file(encode_block(cells, encoding, "none", 500)).get_batch(0)


def with_column(batch, name, column):
    at = batch.schema.names.index(name)
    metadata = batch.schema.metadata
    return batch.set_column(at, name, column).replace_schema_metadata(metadata)


def with_metadata(batch, **changes):
    metadata = {k.decode(): v.decode() for k, v in batch.schema.metadata.items()}
    metadata = {k: v for k, v in {**metadata, **changes}.items() if v is not None}
    return batch.replace_schema_metadata(metadata)


def refuse(batch, message, n_batches=1):
    with pytest.raises(CorruptShardError, match=message):
        decode_block(write(batch, n_batches))


@pytest.mark.parametrize("encoding", [COUNTS, TOKENS])
def test_every_column_is_needed_once_without_nulls_and_of_its_type(encoding):
    batch = good(encoding)
    decode_block(write(batch))
    for name in batch.schema.names:
        optional = name in ("values", "obs.age")
        at = batch.schema.names.index(name)
        if not optional:
            refuse(batch.remove_column(at).replace_schema_metadata(batch.schema.metadata), f"lacks the column '{name}'")
        twice = batch.append_column(name, batch.column(name)).replace_schema_metadata(batch.schema.metadata)
        refuse(twice, f"has twice the column '{name}'")
        nulls = pa.array([None, batch.column(name)[1].as_py()], batch.column(name).type)
        refuse(with_column(batch, name, nulls), f"nulls in the column '{name}'")
        for wrong in (pa.array(["a", "b"]), pa.array([[b"a"], [b"b"]]), pa.array([True, False])):
            refuse(with_column(batch, name, wrong), f"the column '{name}' of a block has the type")


def test_lists_with_nulls_or_of_other_lengths():
    batch = good(TOKENS)
    refuse(with_column(batch, "token_ids", pa.array([[1, None], [3]], pa.list_(pa.uint16()))), "token_ids")
    refuse(with_column(batch, "values", pa.array([[1], [2, 3]], pa.list_(pa.uint8()))), "more values than tokens")
    refuse(with_column(batch, "token_ids", pa.array([[1, 2], [3]], pa.list_(pa.int64()))), "token_ids")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoding": "gap-count-2"}, "has the encoding 'gap-count-2'; this version reads gap-count-1"),
        ({"encoding": None}, "has the encoding None"),
        ({"gap_bits": "3"}, r"gap_bits = '3', expected one of \(4, 5, 6, 7\)"),
        ({"gap_bits": "x"}, "gap_bits = 'x'"),
        ({"gap_bits": None}, "gap_bits = ''"),
        ({"n_genes": None}, "n_genes = ''"),
        ({"n_genes": "-1"}, "n_genes = '-1'"),
        ({"n_genes": "16777217"}, "n_genes = '16777217', expected a number up to 16777216"),
        ({"n_genes": "٣"}, "n_genes"),
        ({"n_genes": "9" * 30}, "n_genes"),
        ({"n_genes": "200"}, "row 0 of the block does not decode"),
    ],
)
def test_wrong_metadata(changes, message):
    refuse(with_metadata(good(), **changes), message)


def test_no_metadata_and_another_number_of_batches():
    refuse(good().replace_schema_metadata(None), "n_genes = ''")
    refuse(good(), "holds 2 record batches instead of 1", 2)
    refuse(good(), "holds 0 record batches instead of 1", 0)


@pytest.mark.parametrize("data", [b"", b"ARROW1", b"PK\x03\x04", b"\x80\x04N.", bytes(5000)])
def test_what_is_no_arrow_file(data):
    with pytest.raises(CorruptShardError, match="not an Arrow IPC file"):
        parse_block(data)


def test_bytes_that_no_cell_owns_do_not_count():
    batch = good()
    column = batch.column("gap_at")
    offsets, data = column.buffers()[1], column.buffers()[2].to_pybytes()[: column[0].as_buffer().size + 9]
    longer = pa.Array.from_buffers(pa.binary(), 2, [None, offsets, pa.py_buffer(data + b"\x01\xff\x01")])
    stored = parse_block(write(with_column(batch, "gap_at", longer)))
    cells = stored.decode()
    assert cells.ids.tolist() == [1, 200, 3]
    ids, values = np.empty(3, np.int32), np.empty(3, np.int32)
    table = np.arange(500, dtype=np.int32)
    codes._decode_numpy(stored.coded, np.arange(2), table, cells.indptr[:-1], ids, values)
    assert (ids.tolist(), values.tolist()) == (cells.ids.tolist(), cells.values.tolist())


@pytest.mark.parametrize("codec", ["zstd", "none"])
@pytest.mark.parametrize("encoding", [COUNTS, TOKENS])
def test_altered_and_cut_blocks_are_refused_or_decode(encoding, codec):
    rng = np.random.default_rng(5)
    lists = [sorted(rng.choice(400, n, replace=False).tolist()) for n in (60, 0, 100)]
    data = encode_block(make(lists, rng.integers(1, 500, 160)), encoding, codec, 400)
    refused = 0
    for _ in range(1000):
        altered = bytearray(data)
        if rng.random() < 0.1:
            altered = altered[: rng.integers(len(data))]
        for _ in range(rng.integers(1, 4)):
            if altered:
                altered[rng.integers(len(altered))] ^= 1 << rng.integers(8)
        try:
            cells = decode_block(bytes(altered))
        except CorruptShardError:
            refused += 1
        else:
            assert cells.indptr[-1] == len(cells.ids)
    assert refused > 100
