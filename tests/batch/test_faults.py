"""Shards that change under a loader are refused by name; the consumer's thread gets the error."""

import shutil

import pytest

from scdata import ShardDataset
from scdata._errors import CorruptShardError


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
