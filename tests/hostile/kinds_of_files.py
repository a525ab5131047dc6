"""Altered: Parquet, and what stands in place of a file."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from kinds import ZEROS, kind

# -- parquet -------------------------------------------------------------------


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


# -- what stands in place of a file --------------------------------------------


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
