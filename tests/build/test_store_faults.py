"""A store that fails now and then costs time, and nothing else; one that refuses for good is named, and work is kept."""

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

import scdata
from scdata._errors import StorageError
from scdata.build import lease
from scdata.resources import resource
from scdata.source import far_file
from scdata.source.stored import StoredSource

_ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>as asked</Message></Error>"
# what a request becomes: None: what the store answers; (status, code): an error; "cut": half of the body; "slow": late
Fault = Callable[[int, str, str], object]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _pass_on(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        with server.lock:
            server.n_requests += 1
            fault = server.fault(server.n_requests, self.command, self.path)
        if isinstance(fault, tuple):
            with server.lock:
                server.n_faults += 1
            answer, headers = _ERROR % fault[1].encode(), {"Content-Type": "application/xml"}
            self._answer(fault[0], headers, b"" if self.command == "HEAD" else answer)
            return
        if fault == "slow":
            time.sleep(server.latency)
        connection = http.client.HTTPConnection(server.store.hostname, server.store.port)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "content-length")}
        connection.request(self.command, self.path, body, headers)
        found = connection.getresponse()
        data = found.read()
        connection.close()
        kept = {
            k: v
            for k, v in found.getheaders()
            if k.lower() not in ("transfer-encoding", "connection", "date", "server")
        }
        if fault == "cut" and len(data) > 1000:
            with server.lock:
                server.n_faults += 1
            self._answer(found.status, kept, data, len(data) // 2)
            return
        self._answer(found.status, kept, data)

    def _answer(self, status, headers, data, cut=None):
        self.send_response(status)
        for key, value in headers.items():
            if key.lower() != "content-length":
                self.send_header(key, value)
        length = headers.get("Content-Length", len(data)) if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data[:cut])
        if cut is not None:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on


@pytest.fixture
def faulty(s3):
    """A function: an address in front of the store that answers as a function of (number of the request, method, path) says."""
    servers = []

    def start(fault: Fault, latency: float = 0.0) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        server.store, server.fault, server.latency = urlsplit(s3.endpoint), fault, latency
        server.lock, server.n_requests, server.n_faults = threading.Lock(), 0, 0
        server.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


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
        pytest.param("503", lambda n, *_: (503, "SlowDown") if n % 29 < 2 else None, marks=pytest.mark.slow),
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
