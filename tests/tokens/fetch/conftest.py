"""A real https server on this machine that answers as it is told, and an empty cache."""

import contextlib
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from scdata.tokens.published import fetch
from scdata.tokens.published.cache import cache_folder


class Server:
    """Answers each path with the next of its answers, the last one for ever.

    An answer is the bytes of a file, a status, ``"cut"`` (half of `DATA`), ``"hang up"``, or a function of the handler.
    """

    DATA = bytes(range(256)) * 1000

    def __init__(self, authority):
        self.answers = {}
        self.asked = []
        self.over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append((self.path, dict(self.headers)))
                queue = server.answers[self.path]
                server.answer(self, queue.pop(0) if len(queue) > 1 else queue[0])

            def log_message(self, *_):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # a client that hangs up

        self.http = Quiet(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.base = f"https://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def url(self, path, *answers):
        """Where a client gets these answers."""
        self.answers[path] = list(answers)
        return self.base + path

    def answer(self, handler, answer):
        if callable(answer):
            answer(handler)
        elif answer == "hang up":
            handler.connection.shutdown(socket.SHUT_RDWR)
        elif answer == "cut":
            self.send(handler, self.DATA[: len(self.DATA) // 2], length=len(self.DATA))
            handler.close_connection = True
        elif isinstance(answer, int):
            handler.send_error(answer)
        else:
            self.send(handler, answer)

    @staticmethod
    def send(handler, data, length=None, status=200, **headers):
        """Send a file; `length`: another Content-Length than its own, or ``"none"``."""
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if length != "none":
            handler.send_header("Content-Length", str(len(data) if length is None else length))
        handler.end_headers()
        handler.wfile.write(data)

    def redirect(self, target, status=302):
        """An answer that sends the client elsewhere."""
        return lambda handler: self.send(handler, b"", status=status, Location=target)

    def close(self):
        self.over.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture
def server(monkeypatch, authority, tmp_path):
    certificate = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetch, "_WAIT", 0.0)
    with contextlib.closing(Server(authority)) as server:
        yield server


@pytest.fixture
def closed_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCDATA_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "tokenizers"
    return cache_folder()
