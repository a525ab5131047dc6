"""A folder as an S3 bucket, read-only, that answers late: as much of S3 as reading needs, and little processor time.

moto, which the tests use, reads the whole object for every range that is asked for.
"""

import email.utils
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_PIECE = 1 << 18  # bytes sent at once
_DATE = "2026-01-01T00:00:00.000Z"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "SlowStore"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        time.sleep(self.server.latency)
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if not key:
            self._answer(200, self._list(bucket, query).encode(), {"Content-Type": "application/xml"})
            return
        path = self.server.folder / key
        if not path.is_file():
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})
            return
        size, status = path.stat().st_size, 200
        start, end = 0, size
        if asked := self.headers.get("Range"):
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) + 1 if last else size, size)
            status = 206
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": '"1"',
            "Last-Modified": email.utils.formatdate(0, usegmt=True),
            "Content-Range": f"bytes {start}-{end - 1}/{size}",
        }
        data = b""
        if self.command == "GET":
            with path.open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), end - start, start)
        self._answer(status, data, headers, end - start)

    def _list(self, bucket: str, query: dict[str, str]) -> str:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys, folders = [], set()
        for key, size in self.server.sizes.items():
            rest = key.removeprefix(prefix)
            if not key.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
            else:
                keys.append(
                    f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><LastModified>{_DATE}</LastModified>"
                    '<ETag>"1"</ETag><StorageClass>STANDARD</StorageClass></Contents>'
                )
        common = "".join(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders)
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys) + len(folders)}</KeyCount>"
            f"<MaxKeys>100000</MaxKeys><IsTruncated>false</IsTruncated>{''.join(keys)}{common}</ListBucketResult>"
        )

    def _answer(self, status: int, data: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command == "GET":
            for start in range(0, len(data), _PIECE):
                self.server.wait_for_turn(min(_PIECE, len(data) - start))
                self.wfile.write(data[start : start + _PIECE])


class SlowStore(ThreadingHTTPServer):
    """Serves `folder` as any bucket of ``http://127.0.0.1:PORT``, every answer `latency` seconds late.

    `bytes_s`: what it sends in a second, all answers together; None: as fast as it can.
    """

    daemon_threads = True

    def __init__(self, folder: Path, latency: float, bytes_s: float | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.latency = folder, latency
        self.sizes = {
            p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()
        }
        self._bytes_s, self._lock, self._free_at = bytes_s, threading.Lock(), 0.0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def wait_for_turn(self, n_bytes: int) -> None:
        """Sleep until these bytes may be sent."""
        if self._bytes_s is None:
            return
        with self._lock:
            begin = max(self._free_at, time.monotonic())
            self._free_at = begin + n_bytes / self._bytes_s
        time.sleep(max(0.0, begin - time.monotonic()))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"
