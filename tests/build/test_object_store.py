"""Output and scratch in an object store: the same bytes, one builder at a time, and what a killed one leaves."""

import hashlib
import subprocess
import sys
import time

import pytest

import scdata
from scdata._errors import BuildLockedError, OutputExistsError, StorageError
from scdata._storage import Storage
from scdata.build import lease as lease_module
from scdata.build.lease import lease
from scdata.shard.shard_set import ShardSet


@pytest.fixture
def storage(s3):
    return Storage(endpoint=s3.endpoint, region=s3.region)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_set_in_a_bucket_is_that_of_a_local_build(corpus, build_process, s3, storage, tree, remote_tree, workers):
    arguments, reference = corpus
    out = f"s3://{s3.bucket}/sets-{workers}/one"
    build = build_process(out=out, endpoint=s3.endpoint, region=s3.region, workers=workers, **arguments)
    _, errors = build.communicate(timeout=300)
    assert build.returncode == 0, errors
    assert remote_tree(out) == tree(reference)
    opened = ShardSet(out, storage)
    assert opened.read_obs("val")["obs_name"].equals(ShardSet(reference).read_obs("val")["obs_name"])
    with pytest.raises(OutputExistsError, match="holds a complete set"):
        scdata.build_shards(out=out, endpoint=s3.endpoint, region=s3.region, **arguments)


def test_verify_and_stream_read_a_set_in_a_bucket(corpus, s3, monkeypatch):
    _, reference = corpus
    uri = s3.upload(reference, "sets/read")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_REGION", s3.region)
    assert scdata.verify_shards(uri).problems == []
    there, here = ([b["cell_id"].tolist() for b in scdata.ShardDataset(path, split="val")] for path in (uri, reference))
    assert there == here
    shard = "shards/000/val-000000.tar"
    data = (reference / shard).read_bytes()
    s3.client.put_object(Bucket=s3.bucket, Key=f"sets/read/{shard}", Body=data[:-2000])
    assert any("size in bytes" in problem for problem in scdata.verify_shards(uri).problems)


def test_scratch_in_a_bucket_beside_a_local_output(corpus, build_process, s3, tree, remote_tree, tmp_path):
    arguments, reference = corpus
    scratch = f"s3://{s3.bucket}/scratch"
    build = build_process(
        out=str(tmp_path / "set"), scratch=scratch, endpoint=s3.endpoint, region=s3.region, **arguments
    )
    _, errors = build.communicate(timeout=300)
    assert build.returncode == 0, errors
    assert tree(tmp_path / "set") == tree(reference)
    assert remote_tree(scratch) == {}


def test_a_build_that_was_killed_goes_on_in_the_bucket(corpus, build_process, s3, tree, remote_tree):
    arguments, reference = corpus
    out = f"s3://{s3.bucket}/sets/killed"
    where = {"endpoint": s3.endpoint, "region": s3.region}
    # a lock is given up after a minute without a sign of life: here after two seconds
    before = "from scdata.build import lease\nlease.DEAD_S, lease.REWRITE_S, lease._LOOK_S = 2.0, 0.5, 0.2\n"
    first = build_process(before, out=out, **where, **arguments)
    while first.poll() is None and not any("scatter-" in key for key in remote_tree(out)):
        time.sleep(0.05)
    first.kill()
    first.communicate()
    left = remote_tree(out)
    assert "manifest.json" not in left
    assert any(key.startswith(".build/lock-") for key in left)
    with pytest.raises(scdata.ScdataError, match="holds an unfinished build"):
        ShardSet(out, Storage(**where))
    second = build_process(before, out=out, **where, **arguments)
    _, errors = second.communicate(timeout=300)
    assert second.returncode == 0, errors
    assert remote_tree(out) == tree(reference)


def test_a_living_lease_is_refused_and_a_dead_one_taken(s3, storage, monkeypatch):
    monkeypatch.setattr(lease_module, "REWRITE_S", 0.2)
    monkeypatch.setattr(lease_module, "DEAD_S", 60.0)
    monkeypatch.setattr(lease_module, "_LOOK_S", 0.1)
    folder = storage.path(f"s3://{s3.bucket}/leases/.build")
    notes = []
    with lease(folder) as check:
        begin = time.monotonic()
        with (
            pytest.raises(BuildLockedError, match=r"another build writes to s3://cells/leases"),
            lease(folder, notes.append),
        ):
            pass
        assert time.monotonic() - begin < 30  # seen to be alive, before it could be dead
        assert "watching for up to 60 s" in notes[0]
        check()
    monkeypatch.setattr(lease_module, "DEAD_S", 4.0)
    hold = (
        "import sys, time\nfrom scdata._storage import Storage\nfrom scdata.build import lease\n"
        "lease.REWRITE_S = 0.2\nuri, endpoint, region = sys.argv[1:]\n"
        "with lease.lease(Storage(endpoint=endpoint, region=region).path(uri)) as check:\n"
        "    print(flush=True)\n    while True:\n        time.sleep(0.1)\n        check()\n"
    )
    command = [sys.executable, "-c", hold, str(folder), s3.endpoint, s3.region]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as holder:
        holder.stdout.readline()
        with pytest.raises(BuildLockedError), lease(folder):
            pass
        holder.send_signal(19)  # stopped, as a machine that sleeps
        with lease(folder):
            holder.send_signal(18)
            assert "was lost: another build took it" in holder.communicate(timeout=20)[1]
    assert lease_module._leases(folder) == {}


def test_what_a_set_cannot_be_written_to(s3, tmp_path):
    with pytest.raises(ValueError, match=r"sets are written to local folders and to s3://BUCKET"):
        scdata.build_shards("synthetic:cells=10,genes=5", "https://user:secret@example.org/set?key=1")
    with pytest.raises(StorageError, match=r"s3://nowhere/set: .*does not exist; check the address"):
        scdata.build_shards("synthetic:cells=10,genes=5", "s3://nowhere/set", endpoint=s3.endpoint, region=s3.region)


def test_overwriting_a_set_in_a_bucket(s3, tree, remote_tree, tmp_path):
    out, where = f"s3://{s3.bucket}/sets/over", {"endpoint": s3.endpoint, "region": s3.region}
    scdata.build_shards("synthetic:cells=300,genes=40", out, splits=["val=0.2"], **where)
    s3.client.put_object(Bucket=s3.bucket, Key="sets/over/notes.txt", Body=b"mine")
    scdata.build_shards("synthetic:cells=200,genes=20", out, overwrite=True, **where)
    scdata.build_shards("synthetic:cells=200,genes=20", tmp_path / "set")
    found = remote_tree(out)
    assert found.pop("notes.txt") == hashlib.sha256(b"mine").hexdigest()
    assert found == tree(tmp_path / "set")


def test_a_store_that_does_not_answer_is_named(s3, tmp_path):
    with pytest.raises(StorageError, match=r"s3://cells/set: Could not connect"):
        scdata.build_shards("synthetic:cells=10,genes=5", "s3://cells/set", endpoint="http://127.0.0.1:9")
