"""A set made to harm, with all hashes right: named, in little memory, with nothing run and nothing outside read."""

import os
import pickle
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scdata.shard.block import COUNTS, encode_block
from scdata.shard.files import read_arrow

KINDS = {}


def kind(expected, base="counts", ways=("load", "verify")):
    """A way to alter a set, what is said, and by what: the loader, one with a filter, `verify_shards`."""

    def add(change):
        KINDS[change.__name__] = (change, expected, base, ways)
        return change

    return add


def arrow(table, compression=None, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression, **options)) as out:
        out.write_table(table)
    return sink.getvalue().to_pybytes()


def with_column(batch, name, column):
    at = batch.schema.names.index(name)
    return batch.set_column(at, name, column).replace_schema_metadata(batch.schema.metadata)


ZEROS = 1 << 30  # bytes, which zstd makes 33 kB of


def zeros(n, kind=None):
    return pa.Array.from_buffers(kind or pa.uint8(), n, [None, pa.py_buffer(np.zeros(n, np.uint8))])


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/pwned",)


# -- manifest.json ------------------------------------------------------------


@kind("split name '../../../etc/cells'")
def a_split_outside(own):
    own.manifest(lambda t: t.update(splits={"../../../etc/cells": t["splits"]["train"], **t["splits"]}))


@kind("split name '/etc/passwd'")
def an_absolute_split(own):
    own.manifest(lambda t: t.update(splits={"/etc/passwd": t["splits"]["train"], **t["splits"]}))


@kind("names the file 'pipe:touch pwned'")
def a_file_that_is_a_command(own):
    own.manifest(lambda t: t["files"].update({"pipe:touch pwned": "0" * 64}))


@kind(r"names the file '\.\./secret'")
def a_file_above(own):
    own.manifest(lambda t: t["files"].update({"../secret": "0" * 64}))


@kind("names the file 'https://example.org/x'")
def a_file_elsewhere(own):
    own.manifest(lambda t: t["files"].update({"https://example.org/x": "0" * 64}))


@kind("n_genes is 1099511627776, over 16777216")
def genes_without_end(own):
    own.manifest(lambda t: t.update(n_genes=2**40))


@kind("n_cells is 1000000000000000000000, expected a whole number")
def cells_without_end(own):
    own.manifest(lambda t: t.update(n_cells=10**21))


@kind("n_tokens is inf, expected a whole number")
def numbers_that_are_none(own):
    own.manifest(lambda t: t["shards"][0].update(n_tokens=float("inf")))


@kind("holds about 3000000 values, 524288 are allowed")
def a_manifest_of_lists(own):
    (own.path / "manifest.json").write_text("[" + ",".join(["[]"] * 1_500_000) + "]")


@kind("recursion")
def a_manifest_of_depth(own):
    (own.path / "manifest.json").write_text("[" * 100_000 + "]" * 100_000)


@kind("manifest.json: it has 10737418240 bytes")
def a_manifest_of_ten_gigabytes(own):
    os.truncate(own.path / "manifest.json", 10 << 30)


# -- files beside it ----------------------------------------------------------


@kind("vocab.json: it holds about 3000000 values")
def a_vocabulary_of_lists(own):
    own.write("vocab.json", b"[" + b",".join([b"[]"] * 1_500_000) + b"]")


@kind("vocab.json: .*recursion")
def a_vocabulary_of_depth(own):
    own.write("vocab.json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000)


@kind("vocab.json: ")
def a_vocabulary_with_an_id_beyond(own):
    data = (own.path / "vocab.json").read_bytes()
    own.write("vocab.json", re.sub(rb'("genes": \{\s*"[^"]+": )\d+', rb"\g<1>2147483647", data, count=1))


@kind("vocab.json: it has 10737418240 bytes")
def a_vocabulary_of_ten_gigabytes(own):
    os.truncate(own.path / "vocab.json", 10 << 30)


@kind("index.arrow: not an Arrow file: .* it was not compressed")
def an_index_that_is_a_bomb(own):
    n = 1 << 24
    table = read_arrow(own.path / "index.arrow").schema.empty_table()
    columns = [pa.nulls(n, f.type).fill_null(b"" if f.name == "split" else 0) for f in table.schema]
    own.write("index.arrow", arrow(pa.table(columns, schema=table.schema), "zstd"))


@kind("categories.arrow: not an Arrow file: .* it was not compressed")
def categories_that_are_a_bomb(own):
    strings = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, ZEROS], np.int32)), pa.py_buffer(np.zeros(ZEROS, np.uint8))]
    )
    lists = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), strings)
    schema = read_arrow(own.path / "categories.arrow").schema
    own.write("categories.arrow", arrow(pa.table([pa.array(["cell_type"]), lists], schema=schema), "zstd"))


@kind("measured.arrow: not an Arrow file: .* it was not compressed")
def measured_that_is_a_bomb(own):
    table = read_arrow(own.path / "measured.arrow")
    column = pa.Array.from_buffers(
        pa.binary(), 1, [None, pa.py_buffer(np.array([0, ZEROS], np.int32)), pa.py_buffer(np.zeros(ZEROS, np.uint8))]
    )
    columns = [pa.array(["a"]), pa.array([0], pa.int32()), column]
    own.write("measured.arrow", arrow(pa.table(columns, schema=table.schema), "zstd"))


@kind("measured.arrow: not an Arrow file")
def a_pickle_in_place_of_arrow(own):
    own.write("measured.arrow", pickle.dumps(Evil()))


@kind("index.arrow: expected the columns")
def an_index_of_other_types(own):
    table = read_arrow(own.path / "index.arrow")
    own.write("index.arrow", arrow(table.set_column(3, "offset", table["offset"].cast(pa.float64()))))


@kind("a negative number in the column 'offset'")
def an_index_before_the_file(own):
    own.index(lambda rows: rows[0].update(offset=-(2**62)))


@kind(r"index\.arrow: row 0 has a block of \d+ cells and \d+ tokens in 4611686018427387904 bytes")
def an_index_beyond_everything(own):
    own.index(lambda rows: rows[0].update(length=2**62))


@kind("ends at byte [0-9]+, (a|the) block needs 10995116[0-9]+")
def an_index_behind_the_shard(own):
    last = {}

    def change(rows):
        for row in rows:
            last[row["split"], row["shard"]] = row
        last["train", 0].update(offset=2**40 + 8000)

    own.index(change)


@kind("index.arrow: row 1 overlaps the block before it")
def an_index_that_overlaps(own):
    own.index(lambda rows: rows[1].update({name: rows[0][name] for name in ("offset", "length", "nnz", "xxh3")}))


@kind("index.arrow: row 1 is not the next block|index.arrow: row 0 is not the next block")
def an_index_out_of_order(own):
    own.index(lambda rows: [rows[1], rows[0], *rows[2:]])


@kind("index.arrow: row 2 is (out of order|not the next block)")
def an_index_with_a_row_twice(own):
    def change(rows):
        mine = [i for i, row in enumerate(rows) if row["split"] == "train"]
        a, b = rows[mine[1]], rows[mine[2]]
        b.update(a)
        rows[mine[2]] = dict(a)

    own.index(change)


# -- parquet ------------------------------------------------------------------


def with_text(table, name, texts):
    return table.set_column(table.column_names.index(name), name, texts)


def parquet(path, table, **options):
    pq.write_table(table, path, compression="zstd", **{"use_dictionary": False, **options})


@kind("var.parquet: not a Parquet file: its [0-9]+ bytes say that their pages have 10[0-9]{8} bytes")
def genes_that_are_a_bomb(own):
    table = pq.read_table(own.path / "var.parquet")
    offsets = np.zeros(len(table) + 1, np.int32)
    offsets[-1] = ZEROS
    texts = pa.Array.from_buffers(
        pa.string(), len(table), [None, pa.py_buffer(offsets), pa.py_buffer(np.zeros(ZEROS, np.uint8))]
    )
    parquet(
        own.path / "var.parquet",
        with_text(table, "feature_name", texts),
        data_page_size=1 << 31,
        write_statistics=False,
    )
    own.sign("var.parquet")


@kind("var.parquet: not a Parquet file: the texts of its column 'feature_name' take 251658240 bytes")
def genes_with_one_name_of_megabytes(own):
    table = pq.read_table(own.path / "var.parquet")
    texts = pa.array(["A" * (4 << 20)]).take(pa.array(np.zeros(len(table), np.int64)))
    options = {"use_dictionary": True, "dictionary_pagesize_limit": 1 << 25, "write_statistics": False}
    parquet(own.path / "var.parquet", with_text(table, "feature_name", texts), **options)
    own.sign("var.parquet")


@kind("var.parquet: not a Parquet file: a page is encoded in a way that scdata does not write")
def genes_whose_names_share_megabytes(own):
    table = pq.read_table(own.path / "var.parquet")
    texts = pa.array(["A" * (4 << 20)]).take(pa.array(np.zeros(len(table), np.int64)))
    options = {"column_encoding": {"feature_name": "DELTA_BYTE_ARRAY"}, "write_statistics": False}
    parquet(own.path / "var.parquet", with_text(table, "feature_name", texts), **options)
    own.sign("var.parquet")


@kind("var.parquet: n_genes is 100000000, the manifest says 60")
def genes_of_too_many_rows(own):
    table = pq.read_table(own.path / "var.parquet").select(["token_id"])
    one = pa.table({"token_id": pa.array(np.zeros(10**7, np.int32))}, schema=table.schema)
    with pq.ParquetWriter(own.path / "var.parquet", table.schema, compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(one)
    own.sign("var.parquet")


def obs_with(own, change, **options):
    parquet(own.obs, change(pq.read_table(own.obs)), **options)
    own.sign_shard()


@kind("pages have 10[0-9]{8} bytes", ways=("filter", "verify"))
def obs_that_are_a_bomb(own):
    def change(table):
        offsets = np.zeros(len(table) + 1, np.int32)
        offsets[-1] = ZEROS
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.zeros(ZEROS, np.uint8))]
        table = with_text(table, "is_control", pa.Array.from_buffers(pa.string(), len(table), buffers))
        return with_text(table, "cell_id", pa.Array.from_buffers(pa.string(), len(table), buffers))

    obs_with(own, change, data_page_size=1 << 31, write_statistics=False)


@kind("has 20000000 cells, the manifest says|its cell_id differ", ways=("filter", "verify"))
def obs_of_too_many_rows(own):
    def change(table):
        ids = pa.array(np.zeros(2 * 10**7, np.int64))
        return pa.table({"cell_id": ids, "is_control": ids.cast(pa.uint8())})

    obs_with(own, change, use_dictionary=True)


@kind("it is no plain file|the obs file is missing", ways=("filter", "verify"))
def a_pipe_in_place_of_obs(own):
    path = own.obs
    path.unlink()
    os.mkfifo(path)


@kind("it is no plain file|the obs file is missing", ways=("filter", "verify"))
def a_device_in_place_of_obs(own):
    path = own.obs
    path.unlink()
    path.symlink_to("/dev/zero")


# -- blocks -------------------------------------------------------------------


@kind("a block of [0-9]+ bytes says that it holds [0-9]+ cells in 10[0-9]{8} bytes")
def a_block_that_is_a_bomb(own):
    batch, n = own.batch(), own.batch().num_rows
    offsets = np.zeros(n + 1, np.int32)
    offsets[-1] = ZEROS
    column = pa.Array.from_buffers(
        pa.binary(), n, [None, pa.py_buffer(offsets), pa.py_buffer(np.zeros(ZEROS, np.uint8))]
    )
    own.block(arrow(pa.Table.from_batches([with_column(batch, "gap_more", column)]), "zstd"))


@kind("a block of [0-9]+ bytes says that it holds [0-9]+ cells in 10[0-9]{8} bytes")
def a_block_with_one_more_column_that_is_a_bomb(own):
    batch, n = own.batch(), own.batch().num_rows
    column = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(ZEROS // n), n, [None, pa.py_buffer(np.zeros(ZEROS, np.uint8))]
    )
    more = batch.append_column("more", column).replace_schema_metadata(batch.schema.metadata)
    own.block(arrow(pa.Table.from_batches([more]), "zstd"))


@kind("a block is not an Arrow IPC file: it has dictionaries")
def a_block_with_dictionaries(own):
    batch, n = own.batch(), own.batch().num_rows
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), zeros(1 << 20))
    own.block(arrow(pa.Table.from_batches([with_column(batch, "dataset", column)]), "zstd"))


@kind("a block is not an Arrow IPC file: a record batch is of another format version")
def a_block_of_the_old_format(own):
    own.block(arrow(pa.Table.from_batches([own.batch()]), metadata_version=pa.ipc.MetadataVersion.V4))


@kind("a block is not an Arrow IPC file")
def a_pickle_in_place_of_a_block(own):
    own.block(pickle.dumps(Evil()))


@kind("the column 'cell_id' of a block has the type double, expected int64")
def a_block_of_other_types(own):
    batch = own.batch()
    own.block(arrow(pa.Table.from_batches([with_column(batch, "cell_id", batch["cell_id"].cast(pa.float64()))])))


@kind("a block is not an Arrow IPC file: .*[Oo]ffset")
def a_block_with_falling_offsets(own):
    batch, n = own.batch(), own.batch().num_rows
    column = batch["codes"]
    offsets = np.frombuffer(column.buffers()[1], np.int32, n + 1).copy()
    offsets[5] = -(2**31)
    altered = pa.Array.from_buffers(pa.binary(), n, [None, pa.py_buffer(offsets), column.buffers()[2]])
    own.block(arrow(pa.Table.from_batches([with_column(batch, "codes", altered)])))


@kind("row [0-9]+ of the block does not decode")
def gaps_that_overflow(own):
    batch, n = own.batch(), own.batch().num_rows
    lengths = np.diff(np.frombuffer(batch["codes"].buffers()[1], np.int32, n + 1)).tolist()
    # 2**32 − 2**28 more at each of the first entries: the sum of sixteen is 0 in 32 bits
    at = pa.array([b"\x00" + b"\x01" * (min(k, 16) - 1) if k else b"" for k in lengths], pa.binary())
    more = pa.array([b"\x80\x80\x80\x80\x0f" * min(k, 16) for k in lengths], pa.binary())
    batch = with_column(with_column(batch, "gap_at", at), "gap_more", more)
    own.block(arrow(pa.Table.from_batches([batch])))


@kind(r"holds \d+ cells of \d+ tokens, the index says \d+ of 5")
def a_block_longer_than_the_index_says(own):
    own.block(encode_block(own.cells(), COUNTS, "none", 60), nnz=5)


@kind("total_counts.* below 0")
def a_block_of_negative_totals(own):
    own.block(encode_block(own.cells(total_counts=own.cells().total_counts - 2**62), COUNTS, "zstd", 60))


@kind("holds a code from -2 to")
def a_category_before_the_first(own):
    cells = own.cells()
    own.block(encode_block(own.cells(obs={**cells.obs, "cell_type": cells.obs["cell_type"] - 2}), COUNTS, "zstd", 60))


@kind("holds the token id 4000000000, the vocabulary ends at", base="tokens")
def a_token_beyond_the_vocabulary(own):
    batch = own.batch()
    column = batch["token_ids"]
    values = np.full(len(column.values), 4_000_000_000, np.uint32)
    altered = pa.ListArray.from_arrays(column.offsets, pa.array(values))
    own.block(arrow(pa.Table.from_batches([with_column(batch, "token_ids", altered)])))


@kind("holds values that are not finite", base="tokens")
def values_that_are_no_numbers(own):
    batch = own.batch()
    column = batch["token_ids"]
    values = pa.ListArray.from_arrays(column.offsets, pa.array(np.full(len(column.values), np.nan, np.float32)))
    own.block(arrow(pa.Table.from_batches([batch.append_column("values", values)])))


# -- what stands in place of a file -------------------------------------------


@kind("the shard is (no plain file|missing)")
def a_pipe_in_place_of_a_shard(own):
    path = own.shard
    path.unlink()
    os.mkfifo(path)


@kind("the shard is (no plain file|missing)")
def a_device_in_place_of_a_shard(own):
    path = own.shard
    path.unlink()
    path.symlink_to("/dev/zero")


@kind("(the shard has|size in bytes is) [0-9]+( bytes)?, the manifest says [0-9]+")
def a_link_in_place_of_a_shard(own):
    path = own.shard
    path.unlink()
    path.symlink_to("/proc/self/environ")


@kind("index.arrow: it is no plain file")
def a_pipe_in_place_of_the_index(own):
    (own.path / "index.arrow").unlink()
    os.mkfifo(own.path / "index.arrow")


@pytest.fixture(scope="module")
def outcomes(hostile_copy, probe):
    """By kind: what came of it."""
    sets = {}
    for name, (change, _, base, _) in KINDS.items():
        own = hostile_copy(base)
        change(own)
        sets[name] = own.path
    return dict(zip(sets, probe(sets.values()), strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_it_is_named(outcomes, name):
    found, (_, expected, _, ways) = outcomes[name], KINDS[name]
    for way in ways:
        said = found[way]["said"]
        assert said is not None, f"{way} took it"
        assert re.search(expected, said), (way, said)
    # what a filter meets in obs/ may be fine, and then it meets what the loader met
    assert found["filter"]["said"] is not None
    assert not found["filter"]["said"].startswith("!"), found["filter"]


@pytest.mark.parametrize("name", KINDS)
def test_it_takes_little_memory_and_touches_nothing_else(outcomes, name):
    found = outcomes[name]
    assert found["seen"] == []
    for way in ("load", "filter", "verify"):
        assert found[way]["mb"] < 100, (way, found[way])
