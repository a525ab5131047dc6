"""Altered: blocks."""

import pickle

import numpy as np
import pyarrow as pa
from kinds import ZEROS, Evil, arrow, kind, with_column, zeros

from scdata.shard.block import COUNTS, encode_block


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
