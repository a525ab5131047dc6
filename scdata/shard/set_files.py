"""The small files beside a manifest: their names, and what stands in them."""

from dataclasses import dataclass

import pyarrow as pa

from scdata._blocks import Array

VAR, VOCAB, INDEX = "var.parquet", "vocab.json", "index.arrow"
CATEGORIES, MEASURED = "categories.arrow", "measured.arrow"

INDEX_SCHEMA = pa.schema(
    {
        "split": pa.string(),
        "shard": pa.int32(),
        "block": pa.int32(),
        "offset": pa.int64(),
        "length": pa.int64(),
        "n_cells": pa.int32(),
        "nnz": pa.int64(),
        "xxh3": pa.uint64(),
    }
)
VAR_COLUMNS = {
    "token_id": pa.int32(),
    "code": pa.int32(),
    "feature_id": pa.string(),
    "feature_name": pa.string(),
    "sample_counts": pa.int64(),
}
MEASURED_SCHEMA = pa.schema(
    {"dataset": pa.string(), "source": pa.int32(), "organism": pa.string(), "measured": pa.binary()}
)
# sets built before they knew their species are read as well
WITHOUT_ORGANISM = MEASURED_SCHEMA.remove(MEASURED_SCHEMA.get_field_index("organism"))
CATEGORIES_SCHEMA = pa.schema({"column": pa.string(), "categories": pa.list_(pa.string())})


@dataclass(frozen=True)
class Blocks:
    """The blocks of one split, in order of shard and block: arrays of one entry a block.

    Parameters
    ----------
    shard, block
        int32.
    offset, length
        int64: where a block's bytes stand in its shard.
    n_cells, nnz
        int64.
    xxh3
        uint64: xxh3-64 of the bytes.
    """

    shard: Array
    block: Array
    offset: Array
    length: Array
    n_cells: Array
    nnz: Array
    xxh3: Array
