"""Shards that change under a loader are refused by name; the consumer's thread gets the error."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from scdata import ShardDataset, decode_block, verify_shards
from scdata._errors import CorruptShardError
from scdata.shard import ShardSet
from scdata.shard.block import TOKENS, encode_block
from scdata.shard.files import sha256_of, write_arrow
from scdata.shard.set_files import INDEX_SCHEMA
from scdata.shard.tar import write_tar


@pytest.fixture
def copy(counts_set, tmp_path):
    shutil.copytree(counts_set, tmp_path / "set")
    return tmp_path / "set"


@pytest.mark.parametrize("num_threads", [0, 2])
def test_flipped_bit(copy, num_threads):
    shard = next((copy / "shards").rglob("train-*.tar"))
    data = bytearray(shard.read_bytes())
    data[1500] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptShardError, match=r"train-000000.*block train-000000-000000\.arrow differs"):
        list(ShardDataset(copy, num_threads=num_threads))


def test_cut_at_a_member_boundary(copy):
    shard = next((copy / "shards").rglob("train-*.tar"))
    shard.write_bytes(shard.read_bytes()[: 512 * 8])
    with pytest.raises(CorruptShardError, match=r"has 4096 bytes, the manifest says \d+"):
        list(ShardDataset(copy))


def test_missing_shard(copy):
    next((copy / "shards").rglob("train-*.tar")).unlink()
    with pytest.raises(CorruptShardError, match="shard is missing"):
        list(ShardDataset(copy))


@pytest.mark.parametrize("name", ["index.arrow", "var.parquet", "vocab.json", "measured.arrow"])
def test_changed_files_beside_the_manifest(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes().replace(b"a", b"b", 1))
    with pytest.raises(CorruptShardError, match="sha256 is") as caught:
        list(ShardDataset(copy, columns=("measured",)))
    assert name in str(caught.value)


def test_hostile_manifest(copy):
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"train"', '"../../etc"'))
    with pytest.raises(CorruptShardError, match=r"split name '\.\./\.\./etc'"):
        ShardDataset(copy, split="../../etc")


@pytest.mark.parametrize("output", ["padded", "packed", "dense"])
def test_token_ids_beyond_the_vocabulary(ranks_set, tmp_path, output):
    """A hostile set whose hashes are all right: its ids must not reach the kernels, which look them up unchecked."""
    path = tmp_path / "set"
    shutil.copytree(ranks_set, path)
    shards = ShardSet(path)
    blocks = shards.blocks("val")
    shard = shards.shard_path("val", 0)
    data = shard.read_bytes()
    offset, length = int(blocks.offset[0]), int(blocks.length[0])
    cells = decode_block(data[offset : offset + length])
    wild = dataclasses.replace(cells, ids=cells.ids + 100_000)
    block = encode_block(wild, TOKENS, "none", shards.n_genes)
    with shard.open("wb") as file:
        places = write_tar(file, "val", 0, [block])
    index = shards.index.to_pylist()
    rows = [row for row in index if row["split"] != "val"]
    rows.append({**index[-1], "split": "val", "shard": 0, "block": 0, "offset": places[0][0], "length": places[0][1],
                 "n_cells": cells.n_cells, "nnz": int(cells.indptr[-1]), "xxh3": xxhash.xxh3_64_intdigest(block)})  # fmt: skip
    write_arrow(path / "index.arrow", pa.Table.from_pylist(rows, INDEX_SCHEMA))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["index.arrow"] = sha256_of(path / "index.arrow")
    manifest["splits"]["val"]["n_cells"] = cells.n_cells
    for entry in manifest["shards"]:
        if entry["split"] == "val":
            entry.update(bytes=shard.stat().st_size, sha256=sha256_of(shard), n_cells=cells.n_cells)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptShardError, match=r"holds the token id 100\d+, the vocabulary ends at"):
        list(ShardDataset(path, split="val", output=output))
    assert any("holds the token id" in problem for problem in verify_shards(path).problems)


def test_an_index_row_of_no_shard(copy):
    shards = ShardSet(copy)
    rows = shards.index.to_pylist()
    rows[0]["shard"] = 7
    write_arrow(copy / "index.arrow", pa.Table.from_pylist(rows, INDEX_SCHEMA))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["index.arrow"] = sha256_of(copy / "index.arrow")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptShardError, match="shard 7 of split 'train' is not in the manifest"):
        ShardDataset(copy)


def signed(path, name):
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][name] = sha256_of(path / name)
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("shift", [1, 10**6, -(10**6)])
def test_genes_that_trade_places(copy, shift):
    table = pq.read_table(copy / "var.parquet")
    tokens = table["token_id"].to_numpy()
    tokens = np.roll(tokens, 1) if shift == 1 else tokens + np.int32(shift)
    at = table.schema.get_field_index("token_id")
    pq.write_table(table.set_column(at, "token_id", pa.array(tokens, pa.int32())), copy / "var.parquet")
    signed(copy, "var.parquet")
    with pytest.raises(CorruptShardError, match=r"var\.parquet: its genes are not those of vocab\.json"):
        ShardDataset(copy)
    assert not verify_shards(copy).ok


def test_an_index_of_impossible_blocks(copy):
    rows = ShardSet(copy).index.to_pylist()
    write_arrow(copy / "index.arrow", pa.Table.from_pylist([{**r, "n_cells": 2**31 - 1} for r in rows], INDEX_SCHEMA))
    signed(copy, "index.arrow")
    with pytest.raises(CorruptShardError, match="a block of more than 65536 cells"):
        ShardDataset(copy)


def test_a_pipe_in_place_of_a_shard(copy):
    shard = next((copy / "shards").rglob("train-*.tar"))
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(CorruptShardError, match="the shard is no plain file"):
        list(ShardDataset(copy))
