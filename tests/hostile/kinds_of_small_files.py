"""Altered: the manifest, and the JSON and Arrow files beside it."""

import os
import pickle
import re

import numpy as np
import pyarrow as pa
from kinds import ZEROS, Evil, arrow, kind

from scdata.shard.files import read_arrow

# -- manifest.json -------------------------------------------------------------


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


# -- files beside it -----------------------------------------------------------


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
    columns = [pa.array(["a"]), pa.array([0], pa.int32()), pa.array(["mouse"]), column]
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
