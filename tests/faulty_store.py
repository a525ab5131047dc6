"""A server in front of a store, which answers some requests as a test says."""

import http.client
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>as asked</Message></Error>"
# what a request becomes: None: what the store answers; (status, code): an error; "cut": half of the body; "slow": late
Fault = Callable[[int, str, str], object]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _pass_on(self):
        with self.server.lock:
            self.server.n_now += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.n_now)
        try:
            self._answer_or_fail()
        finally:
            with self.server.lock:
                self.server.n_now -= 1

    def _answer_or_fail(self):
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


class FaultyStore(ThreadingHTTPServer):
    """In front of `endpoint`; `fault` says what each request becomes, as a function of (its number, method, path)."""

    daemon_threads = True

    def __init__(self, endpoint: str, fault: Fault, latency: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store, self.fault, self.latency = urlsplit(endpoint), fault, latency
        self.lock, self.n_requests, self.n_faults = threading.Lock(), 0, 0
        self.n_now = self.most_at_once = 0
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()
