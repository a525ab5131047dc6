"""A store that fails now and then costs time, and nothing else; one that refuses for good is named, and work is kept."""

import threading

import pytest

import scdata
from scdata._errors import StorageError
from scdata.build import lease
from scdata.resources import resource
from scdata.source import far_file
from scdata.source.stored import StoredSource


@pytest.fixture
def build(monkeypatch, s3, small_tasks):
    """A function: `build_shards` in small tasks; a lease is dead after two seconds."""
    for name, seconds in (("DEAD_S", 2.0), ("REWRITE_S", 0.5), ("_LOOK_S", 0.2)):
        monkeypatch.setattr(lease, name, seconds)
    return lambda out, endpoint, **arguments: scdata.build_shards(
        out=out, endpoint=endpoint, region=s3.region, **arguments
    )


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("cut", lambda n, method, path: "cut" if method == "GET" and n % 3 == 0 else None),
        pytest.param("500", lambda n, *_: (500, "InternalError") if n % 7 == 0 else None, marks=pytest.mark.slow),
        pytest.param("503", lambda n, *_: (503, "SlowDown") if n % 7 < 2 else None, marks=pytest.mark.slow),
        pytest.param("slow", lambda *_: "slow", marks=pytest.mark.slow),
    ],
)
def test_a_store_that_fails_now_and_then(corpus, faulty, build, s3, tree, remote_tree, name, fault):
    arguments, reference = corpus
    server = faulty(fault, latency=0.02)
    out = f"s3://{s3.bucket}/faults/{name}"
    build(out, server.endpoint, **arguments)
    assert name == "slow" or server.n_faults > 5
    assert remote_tree(out) == tree(reference)


def test_a_store_that_refuses_for_good(corpus, faulty, build, s3, tree, remote_tree):
    arguments, reference = corpus
    out = f"s3://{s3.bucket}/faults/403"
    begun = threading.Event()

    def fault(n, method, path):
        if "scatter-000003" in path:
            begun.set()
        return (403, "AccessDenied") if begun.is_set() else None

    with pytest.raises(StorageError, match=r"s3://cells/faults/403: .*; check the address, .*credentials"):
        build(out, faulty(fault).endpoint, **arguments)
    left = remote_tree(out)
    assert "manifest.json" not in left
    # the lease could not be given back: it is dead after a while; finished tasks are kept
    assert ".build/scratch/scatter-000000.json" in left
    build(out, s3.endpoint, **arguments)
    assert remote_tree(out) == tree(reference)


@pytest.fixture(scope="module")
def source(s3, tmp_path_factory):
    """The demo cells in a bucket, and the set that they give from a folder."""
    folder = tmp_path_factory.mktemp("source")
    path = resource("demo/demo_pbmc_ifnb_1k.h5ad")
    scdata.build_shards(path, folder / "set", shard_size=1 << 16, block_size=128)
    return s3.upload(path, f"faults/{path.name}"), folder / "set"


@pytest.mark.parametrize(
    "fault",
    [
        lambda n, method, path: "cut" if method == "GET" and n % 7 == 0 else None,
        pytest.param(lambda n, *_: (500, "InternalError") if n % 7 == 0 else None, marks=pytest.mark.slow),
    ],
    ids=["cut", "500"],
)
def test_a_source_in_a_store_that_fails_now_and_then(source, faulty, build, tree, tmp_path, monkeypatch, fault):
    uri, reference = source
    monkeypatch.setattr(far_file, "_UNIT_BYTES", 1 << 17)
    server = faulty(fault)
    build(tmp_path / "set", server.endpoint, source=uri, shard_size=1 << 16, block_size=128)
    assert server.n_faults > 1
    assert tree(tmp_path / "set") == tree(reference)


def test_a_source_in_a_store_that_refuses_for_good(source, faulty, build, s3, tree, tmp_path, monkeypatch):
    uri, reference = source
    monkeypatch.setattr(far_file, "_UNIT_BYTES", 1 << 16)
    begun = threading.Event()
    server = faulty(lambda *_: (403, "AccessDenied") if begun.is_set() else None)
    read = StoredSource.read

    def refused_from_a_task_on(self, rows, columns=()):
        # the plan is written
        if (tmp_path / "set" / ".build" / "plan.json").exists():
            begun.set()
            self.forget()
        return read(self, rows, columns)

    monkeypatch.setattr(StoredSource, "read", refused_from_a_task_on)
    with pytest.raises(StorageError, match=rf"{uri}: .*check the address, .*credentials"):
        build(tmp_path / "set", server.endpoint, source=uri, shard_size=1 << 16, block_size=128)
    monkeypatch.undo()
    build(tmp_path / "set", s3.endpoint, source=uri, shard_size=1 << 16, block_size=128)
    assert tree(tmp_path / "set") == tree(reference)
