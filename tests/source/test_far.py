"""Sources at addresses: a bucket, and a web server."""

import gc
import os
import pickle
import re
import subprocess
import sys

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdata
from scdata import _storage
from scdata._errors import SourceError, StorageError
from scdata._storage import Storage
from scdata.resources import resource
from scdata.source import H5adSource, SourceOptions, far_file, open_sources
from scdata.source import hdf5 as hdf5_module

DEMO = resource("demo/demo_pbmc_ifnb_1k.h5ad")


@pytest.fixture(scope="module")
def where(s3):
    return {"endpoint": s3.endpoint, "region": s3.region}


@pytest.fixture(scope="module")
def demo(s3):
    return s3.upload(DEMO, f"far/{DEMO.name}")


def equal(a, b):
    return (
        np.array_equal(a.indptr, b.indptr)
        and np.array_equal(a.indices, b.indices)
        and np.array_equal(a.data, b.data)
        and np.array_equal(a.dataset, b.dataset)
        and a.obs.equals(b.obs)
        and a.obs_names.equals(b.obs_names)
    )


def test_addresses_are_shown_without_what_may_be_secret():
    public = _storage.public_uri
    assert public("https://me:secret@host:80/a/b.h5ad?key=1#x") == "https://host:80/a/b.h5ad"
    assert public("census:s3://bucket/soma/homo_sapiens?key=1") == "census:s3://bucket/soma/homo_sapiens"
    assert public("data/a?b.h5ad") == "data/a?b.h5ad"


def test_an_h5ad_file_in_a_bucket(demo, where, s3):
    near, far = H5adSource(DEMO), scdata.open_source(demo, **where)
    assert (far.name, far.uri) == (DEMO.name, demo)
    assert far.var.equals(near.var)
    assert far.notes == near.notes
    for rows in (slice(0, 10), slice(500, 900), slice(999, 1000)):
        assert equal(near.read(rows, ["condition"]), far.read(rows, ["condition"]))
    assert far.fingerprint(["condition"]) == near.fingerprint(["condition"])
    copy = pickle.loads(pickle.dumps(far))
    assert len(pickle.dumps(far)) < 2000
    assert equal(copy.read(slice(3, 9)), near.read(slice(3, 9)))
    assert far.stat() == copy.stat()
    assert far.stat()["size"] == DEMO.stat().st_size
    data = DEMO.read_bytes()
    s3.client.put_object(Bucket=s3.bucket, Key="far/again.h5ad", Body=data[:-1] + bytes([data[-1] ^ 1]))
    again = scdata.open_source(f"s3://{s3.bucket}/far/again.h5ad", **where)
    assert again.stat() != far.stat()


def test_a_build_from_a_bucket_gives_the_bytes_of_a_local_one(demo, where, tmp_path):
    arguments = {"splits": ["val=0.1:condition"], "shard_size": 1 << 16, "block_size": 128}
    near = scdata.build_shards(DEMO, tmp_path / "near", **arguments)
    far = scdata.build_shards(demo, tmp_path / "far", **where, **arguments)
    assert len(near["shards"]) > 3
    assert far["shards"] == near["shards"]
    assert (tmp_path / "far" / "manifest.json").read_bytes() == (tmp_path / "near" / "manifest.json").read_bytes()


@pytest.mark.parametrize("unit", [1000, 4096, 1 << 20])
def test_any_part_of_a_file(demo, where, monkeypatch, unit):
    monkeypatch.setattr(far_file, "_UNIT_BYTES", unit)
    monkeypatch.setattr(far_file, "_KEPT_UNITS", 40)
    monkeypatch.setattr(far_file, "_MOST_UNITS", 32)
    data, asked = DEMO.read_bytes(), []
    file = far_file.FarFile(Storage(**where).path(demo))
    fetch = file._fetch
    monkeypatch.setattr(file, "_fetch", lambda first, n: (asked.append(n), fetch(first, n))[1])
    rng = np.random.default_rng(0)
    for start, n in zip(rng.integers(0, len(data), 30), rng.integers(1, 30_000, 30), strict=True):
        file.seek(start)
        assert file.read(n) == data[start : start + n]
    asked.clear()
    file.seek(-200_000, 2)
    assert b"".join(iter(lambda: file.read(700), b"")) == data[-200_000:]
    assert file.tell() == len(data)
    # reading on asks for more and more
    assert asked == sorted(asked)
    assert len(asked) < 12
    file.close()


def test_folders_patterns_and_lists_in_a_bucket(where, s3, tmp_path):
    (tmp_path / "small.h5ad").write_bytes(small_h5ad(tmp_path / "x.h5ad"))
    for key in ("corpus/b/cells.h5ad", "corpus/a/cells.h5ad", "corpus/c.h5ad", "other/d.h5ad"):
        s3.upload(tmp_path / "small.h5ad", f"listing/{key}")
    root = f"s3://{s3.bucket}/listing"
    options = SourceOptions(storage=Storage(**where))

    def names(uri):
        return [source.name for source in open_sources(uri, options)]

    assert names(f"{root}/corpus") == ["a/cells.h5ad", "b/cells.h5ad", "c.h5ad"]
    assert names(f"{root}/corpus/") == ["a/cells.h5ad", "b/cells.h5ad", "c.h5ad"]
    assert names(f"{root}/corpus/**/*.h5ad") == ["a/cells.h5ad", "b/cells.h5ad", "c.h5ad"]
    assert names(f"{root}/corpus/[ab]/*.h5ad") == ["a/cells.h5ad", "b/cells.h5ad"]
    with pytest.raises(SourceError, match="no file matches"):
        names(f"{root}/*.loom")
    with pytest.raises(SourceError, match=r"s3://cells/listing/nothing: not found"):
        names(f"{root}/nothing")
    s3.client.put_object(Bucket=s3.bucket, Key="listing/corpus/empty/readme.md", Body=b"no cells")
    with pytest.raises(SourceError, match="a folder that holds none of them"):
        names(f"{root}/corpus/empty")
    with pytest.raises(SourceError, match="a file of none of the known kinds"):
        names(f"{root}/corpus/empty/readme.md")
    text = f"# mine\nc.h5ad\nb/cells.h5ad\n../other/d.h5ad\n{root}/other/d.h5ad\n"
    s3.client.put_object(Bucket=s3.bucket, Key="listing/corpus/mine.txt", Body=text.encode())
    found = open_sources(f"{root}/corpus/mine.txt", options)
    assert [source.name for source in found] == ["c.h5ad", "b/cells.h5ad", "d.h5ad", "d.h5ad"]
    assert found[2].uri == f"{root}/other/d.h5ad"
    s3.client.put_object(Bucket=s3.bucket, Key="listing/mine.txt", Body=b"/etc/cells.h5ad\n")
    with pytest.raises(SourceError, match="a path of this machine"):
        names(f"{root}/mine.txt")
    (tmp_path / "far.txt").write_text(f"small.h5ad\n{root}/corpus/c.h5ad\n")
    assert names(str(tmp_path / "far.txt")) == ["small.h5ad", "c.h5ad"]


def small_h5ad(path):
    x = sp.csr_matrix(np.arange(12, dtype=np.float32).reshape(4, 3))
    anndata.AnnData(x, pd.DataFrame(index=list("abcd")), pd.DataFrame(index=list("xyz"))).write_h5ad(path)
    return path.read_bytes()


def test_a_store_that_fails_is_named(demo, where, s3, monkeypatch):
    monkeypatch.setattr(_storage, "_ATTEMPTS", 1)
    with pytest.raises(StorageError, match=r"s3://cells/far/demo_pbmc_ifnb_1k.h5ad: .*check the address, --endpoint"):
        scdata.open_source(demo, endpoint="http://127.0.0.1:9", region="eu-west-1")
    with pytest.raises((StorageError, SourceError), match=r"s3://nowhere/demo.h5ad: "):
        scdata.open_source("s3://nowhere/demo.h5ad", **where)
    uri = s3.upload(DEMO, "far/going.h5ad")
    source = scdata.open_source(uri, **where)
    monkeypatch.setattr(far_file, "_UNIT_BYTES", 1 << 16)
    source.close()
    assert source.read(slice(0, 5)).n_cells == 5
    data = DEMO.read_bytes()
    s3.client.put_object(Bucket=s3.bucket, Key="far/going.h5ad", Body=data[:-1] + b"x")
    with pytest.raises(SourceError, match=r"s3://cells/far/going.h5ad: was written anew while it was read"):
        source.read(slice(500, 900))
    s3.client.delete_object(Bucket=s3.bucket, Key="far/going.h5ad")
    source.close()
    with pytest.raises(SourceError, match=r"s3://cells/far/going.h5ad: not found"):
        source.read(slice(0, 5))
    with pytest.raises(SourceError, match=r"s3://cells/far/going.h5ad: not found"):
        source.stat()


# Files of a folder. Below /whole it knows no ranges, below /secret it wants a key.
_SERVER = """
import http.server, pathlib, re, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        top, _, name = path.lstrip("/").partition("/")
        file, headers = pathlib.Path(sys.argv[1]) / name, {}
        if not file.is_file():
            status, body = 404, b"none"
        elif top == "secret" and query != "key=secret":
            status, body = 403, b"no"
        else:
            status, body = 200, file.read_bytes()
            found = re.fullmatch(r"bytes=(\\d+)-(\\d*)", self.headers.get("Range", ""))
            if top != "whole":
                headers = {"Accept-Ranges": "bytes", "ETag": f'"{len(body)}"'}
            if top != "whole" and found:
                first, last = int(found[1]), min(int(found[2] or len(body)), len(body) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
                status, body = 206, body[first : last + 1]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def web(tmp_path):
    """A web server of its own process: the folder that it serves, its address, and how to end it."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / DEMO.name).write_bytes(DEMO.read_bytes())
    (folder / "list.txt").write_text(f"{DEMO.name}\n")
    with subprocess.Popen([sys.executable, "-c", _SERVER, str(folder)], stdout=subprocess.PIPE, text=True) as server:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}", server.kill
        server.kill()


def test_a_web_server(web, tmp_path):
    root, kill = web
    uri = f"{root}/secret/{DEMO.name}?key=secret"
    source = scdata.open_source(uri)
    assert (source.name, source.uri) == (DEMO.name, f"{root}/secret/{DEMO.name}")
    assert equal(source.read(slice(0, 300)), H5adSource(DEMO).read(slice(0, 300)))
    assert source.stat()["size"] == DEMO.stat().st_size
    far = scdata.build_shards(uri, tmp_path / "far")
    assert far["shards"] == scdata.build_shards(DEMO, tmp_path / "near")["shards"]
    assert "secret" not in (tmp_path / "far" / "manifest.json").read_text()
    with pytest.raises(StorageError, match=r"Forbidden.*check the address and the network") as caught:
        scdata.open_source(f"{root}/secret/{DEMO.name}?key=wrong")
    assert "wrong" not in str(caught.value)
    with pytest.raises(SourceError, match="not found"):
        scdata.open_source(f"{root}/a/none.h5ad")
    assert [s.name for s in open_sources(f"{root}/a/list.txt", SourceOptions())] == [DEMO.name]
    source.close()
    kill()
    for read in (lambda: source.read(slice(300, 600)), lambda: scdata.open_source(uri)):
        with pytest.raises(StorageError, match=re.escape(f"{root}/secret/{DEMO.name}: ")) as caught:
            read()
        assert "key" not in str(caught.value)


def test_a_web_server_without_ranges(web, monkeypatch):
    monkeypatch.setattr(far_file, "_UNIT_BYTES", 1 << 16)  # a file of one block needs no ranges
    with pytest.raises(SourceError, match=r"gives no parts of a file \(range requests\); download it"):
        scdata.open_source(f"{web[0]}/whole/{DEMO.name}")


def test_an_outage_while_a_file_is_open(web, monkeypatch):
    monkeypatch.setattr(far_file, "_UNIT_BYTES", 1 << 16)
    source = scdata.open_source(f"{web[0]}/a/{DEMO.name}")
    assert source.read(slice(0, 10)).n_cells == 10
    web[1]()
    with pytest.raises(StorageError, match=r"/a/demo_pbmc_ifnb_1k.h5ad: .*check the address and the network"):
        source.read(slice(400, 900))


def use_all_of(source):
    _ = source.n_obs, source.var, source.genes, source.obs_schema, source.notes, source.stat()
    columns = source.obs_schema.names[:1]
    source.read(slice(0, 50), columns)
    source.obs(slice(50, 90), columns)
    source.row_nnz(slice(0, 10))
    source.dataset(slice(0, 10))
    source.fingerprint(columns)


@pytest.mark.parametrize("kind", ["h5ad", "layer", "10x"])
def test_no_garbage_is_collected_while_h5py_waits_for_a_store(where, s3, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(far_file, "_UNIT_BYTES", 1 << 12)
    collecting, fetch = [], far_file.FarFile._fetch
    monkeypatch.setattr(
        far_file.FarFile,
        "_fetch",
        lambda self, first, n: (collecting.append(gc.isenabled()), fetch(self, first, n))[1],
    )
    path = DEMO
    if kind == "layer":
        data = anndata.read_h5ad(DEMO)[:200, :50].copy()
        data.raw, data.layers["counts"], data.X = data, data.X.toarray(), data.X * 0.5
        path = tmp_path / "layer.h5ad"
        data.write_h5ad(path)
    elif kind == "10x":
        path = tmp_path / "cells.h5"
        with h5py.File(path, "w") as file:
            group = file.create_group("matrix")
            group["barcodes"] = np.arange(100).astype("S")
            group["indptr"], group["shape"] = np.arange(101) * 3, np.array([30, 100])
            group["indices"], group["data"] = np.arange(300) % 30, np.ones(300, np.int32)
            features = group.create_group("features")
            features["id"] = features["name"] = np.arange(30).astype("S")
            features["feature_type"] = np.array([b"Gene Expression"] * 30)
    source = scdata.open_source(s3.upload(path, f"garbage/{path.name}"), **where)
    use_all_of(source)
    source.close()
    use_all_of(pickle.loads(pickle.dumps(source)))
    assert len(collecting) > 5
    assert not any(collecting)
    assert gc.isenabled()


def test_few_files_are_open_at_a_time(tmp_path):
    for i in range(hdf5_module._MOST_OPEN * 3):
        small_h5ad(tmp_path / f"{i:02}.h5ad")
    sources = open_sources(str(tmp_path), SourceOptions())
    blocks = [source.read(slice(0, 4)) for source in sources]
    assert len(hdf5_module._open) <= hdf5_module._MOST_OPEN
    assert all(equal(blocks[0], block) for block in blocks)
    again = [source.read(slice(1, 3)) for source in sources]
    assert all(equal(again[0], block) for block in again)
    kept = sources[0].read(slice(0, 1))
    assert kept.n_cells == 1
    assert sources[1].n_obs == 4


def test_a_hub_that_does_not_answer():
    code = "import scdata\nscdata.open_source('hf://datasets/some/cells/a.h5ad')"
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert re.search(r"StorageError: hf://datasets/some/cells/a.h5ad: .*check the address and the network", done.stderr)
