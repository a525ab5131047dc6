"""Sets at addresses: the batches of local ones, copies on disk, and stores that fail."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import scdata
from scdata._errors import CorruptShardError, SetNotFoundError, StorageError
from scdata.shard import set_folder

SOURCE = "synthetic:cells=2000,genes=100,mean_genes=40"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "set"
    roles = {"perturbation": "cell_type", "control": "B cell", "control_match": []}
    scdata.build_shards(SOURCE, out, splits=["val=0.1"], block_size=64, shard_size=1 << 16, **roles)
    return out


@pytest.fixture(scope="module")
def uri(s3, local):
    return s3.upload(local, "streamed/set")


@pytest.fixture
def at(monkeypatch, s3):
    """A function: stores are reached at an endpoint from now on."""
    monkeypatch.setenv("AWS_REGION", s3.region)

    def set_endpoint(endpoint):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)

    set_endpoint(s3.endpoint)
    return set_endpoint


def batches(path, epoch=0, **arguments):
    dataset = scdata.ShardDataset(path, batch_size=50, lanes=4, window=128, seed=3, **arguments)
    dataset.set_epoch(epoch)
    return list(dataset)


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            if key == "controls":
                assert_equal([ours[key]], [value])
            else:
                assert torch.equal(ours[key], value) if isinstance(value, torch.Tensor) else ours[key] == value


def test_batches_are_those_of_the_local_set(at, uri, local, tmp_path):
    for arguments in (
        {},
        {"output": "dense"},
        {"filter": "batch == 1"},
        {"split": "val", "shuffle": False},
        {"pair_controls": "batch"},
    ):
        expected = batches(local, **arguments)
        assert_equal(batches(uri, **arguments), expected)
        assert_equal(batches(uri, cache_dir=tmp_path / "copies", **arguments), expected)


def test_over_http(at, s3, local):
    # the store gives public objects, and ranges of them, without a signature
    s3.upload(local, "streamed/public", ACL="public-read")
    address = f"{s3.endpoint}/{s3.bucket}/streamed/public"
    assert_equal(batches(address), batches(local))
    with pytest.raises(SetNotFoundError, match="streamed/nothing"):
        scdata.ShardDataset(f"{s3.endpoint}/{s3.bucket}/streamed/nothing")


def test_in_workers(at, uri, local, tmp_path):
    dataset = scdata.ShardDataset(uri, batch_size=50, cache_dir=tmp_path / "copies")
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="spawn")
    found = np.sort(np.concatenate([batch["cell_id"] for batch in loader]))
    assert found.tolist() == np.sort(np.concatenate([b["cell_id"] for b in batches(local)])).tolist()


def test_blocks_are_on_their_way_together(at, faulty, uri):
    server = faulty(lambda *_: "slow", latency=0.1)
    at(server.endpoint)
    batches(uri)
    assert server.most_at_once >= 4


def test_offline_after_a_full_pass(at, faulty, uri, local, tmp_path, monkeypatch):
    server = faulty(lambda *_: None)
    at(server.endpoint)
    copies = tmp_path / "copies"
    assert_equal(batches(uri, cache_dir=copies), batches(local))
    asked = server.n_requests
    assert_equal(batches(uri, cache_dir=copies, epoch=1), batches(local, epoch=1))
    assert server.n_requests - asked <= 3  # the manifest
    at("http://127.0.0.1:9")
    monkeypatch.setattr(set_folder, "_PATIENCE_S", 1.0)
    with pytest.warns(UserWarning, match=r"s3://cells/streamed/set/manifest.json: .*going on with the copies in"):
        found = batches(uri, cache_dir=copies, epoch=2)
    assert_equal(found, batches(local, epoch=2))


def test_a_damaged_copy_is_fetched_again(at, uri, local, tmp_path):
    copies = tmp_path / "copies"
    batches(uri, cache_dir=copies)
    for path in copies.rglob("*"):
        if path.is_file() and "manifests" not in path.parts and path.stat().st_size:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
    assert_equal(batches(uri, cache_dir=copies, epoch=1), batches(local, epoch=1))


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_copies_stay_below_their_limit(at, uri, local, tmp_path):
    copies = tmp_path / "copies"
    limit = sum(path.stat().st_size for path in local.rglob("*.tar")) // 2
    for epoch in range(3):
        assert_equal(batches(uri, cache_dir=copies, cache_size=limit, epoch=epoch), batches(local, epoch=epoch))
        assert 0 < size_of(copies) <= limit


def test_a_set_that_was_written_anew_shares_no_copies(at, s3, local, tmp_path):
    copies = tmp_path / "copies"
    uri = s3.upload(local, "streamed/anew")
    batches(uri, cache_dir=copies)
    other = tmp_path / "other"
    scdata.build_shards(SOURCE.replace("2000", "500"), other, block_size=32)
    s3.upload(other, "streamed/anew")
    assert_equal(batches(uri, cache_dir=copies), batches(other))


def test_a_folder_that_cannot_be_written_is_refused(at, uri, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cache_dir = .*file/copies.*name a folder"):
        scdata.ShardDataset(uri, cache_dir=tmp_path / "file" / "copies")
    with pytest.raises(ValueError, match="cache_size = 0"):
        scdata.ShardDataset(uri, cache_dir=tmp_path / "copies", cache_size=0)


@pytest.mark.parametrize(
    "fault",
    [
        lambda n, method, path: "cut" if method == "GET" and n % 3 == 0 else None,
        lambda n, method, path: (500, "InternalError") if n % 9 == 0 else None,
    ],
    ids=["cut", "500"],
)
def test_a_store_that_fails_now_and_then(at, faulty, uri, local, fault):
    server = faulty(fault)
    at(server.endpoint)
    assert_equal(batches(uri), batches(local))
    assert server.n_faults > 2


def test_a_store_that_refuses_for_good(at, faulty, uri):
    begun = False
    server = faulty(lambda n, method, path: (403, "AccessDenied") if begun and ".tar" in path else None)
    at(server.endpoint)
    dataset = scdata.ShardDataset(uri, batch_size=50)
    begun = True
    with pytest.raises(StorageError, match=r"shards/000/train-\d{6}.tar: .*; check the address, .*credentials"):
        next(iter(dataset))


def test_a_shard_that_is_gone_or_shorter_is_named(at, s3, local):
    uri = s3.upload(local, "streamed/gone")
    dataset = scdata.ShardDataset(uri, batch_size=50, shuffle=False)
    key = "streamed/gone/shards/000/train-000000.tar"
    data = (local / "shards" / "000" / "train-000000.tar").read_bytes()
    s3.client.put_object(Bucket=s3.bucket, Key=key, Body=data[: len(data) // 3])
    with pytest.raises((CorruptShardError, StorageError), match=r"train-000000.tar"):
        list(dataset)
    s3.client.delete_object(Bucket=s3.bucket, Key=key)
    with pytest.raises(CorruptShardError, match=r"train-000000.tar: the shard is missing"):
        list(dataset)


PASS = """
import sys, scdata
if __name__ == "__main__":
    for epoch in range(1000):
        uri, copies, limit = sys.argv[1:]
        dataset = scdata.ShardDataset(uri, batch_size=10, cache_dir=copies, cache_size=int(limit), seed=epoch)
        for batch in dataset:
            print(len(batch["cell_id"]), flush=True)
"""


def test_processes_that_share_copies_may_be_killed(at, uri, local, tmp_path):
    copies = tmp_path / "copies"
    limit = size_of(local) // 3
    script = tmp_path / "pass.py"
    script.write_text(PASS)
    command = [sys.executable, script, uri, copies, str(limit)]
    for kills in range(2):
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
        for process in processes:
            for _ in range(30):
                assert process.stdout.readline(), "it ended by itself"
        time.sleep(0.2 * kills)
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
    assert_equal(batches(uri, cache_dir=copies, cache_size=limit), batches(local))
