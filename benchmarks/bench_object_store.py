"""Builds from sources in an object store that answers 20 ms late, beside the same from local disk.

    python benchmarks/bench_object_store.py CELLS.h5ad [--copies 4] [--rounds 3] [--latency 0.02]

The store is moto's S3 server on this machine, whose processor time comes on top; a relay before it holds every request back.
Needs `moto[server]` and the extra `s3`.
"""

import argparse
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_build import BUILD, CORPUS
from measure import run_child, write_result

_BUCKET, _REGION = "cells", "eu-west-1"
_UPLOAD = """
import sys, boto3
from pathlib import Path
client = boto3.client("s3", endpoint_url=sys.argv[1], region_name=sys.argv[3])
client.create_bucket(Bucket=sys.argv[2], CreateBucketConfiguration={"LocationConstraint": sys.argv[3]})
for path in Path(sys.argv[4]).rglob("*"):
    if path.is_file():
        client.upload_file(str(path), sys.argv[2], str(path.relative_to(sys.argv[4])))
"""


@contextmanager
def store(folder: Path) -> Iterator[str]:
    """Address of an S3 server that holds what `folder` does, until the block ends."""
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            while True:
                log.seek(0)
                if found := re.search(r"Running on (http://\S+)\n", log.read()):
                    break
                time.sleep(0.1)
            run_child(_UPLOAD, found[1], _BUCKET, _REGION, str(folder))
            yield found[1]
        finally:
            server.terminate()
            server.wait()


def relay(address: str, latency: float) -> str:
    """Address of a relay that passes every request on after `latency` seconds, and every answer at once."""
    host, port = address.removeprefix("http://").split(":")
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, wait: float) -> None:
        try:
            while data := source.recv(1 << 20):
                time.sleep(wait)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # either side has gone

    def serve() -> None:
        while True:
            client, _ = listening.accept()
            server = socket.create_connection((host, int(port)))
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=pump, args=(client, server, latency), daemon=True).start()
            threading.Thread(target=pump, args=(server, client, 0.0), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def run(h5ad: str, copies: int, rounds: int, latency: float, folder: Path) -> dict[str, Any]:
    """Builds from both places, alternating."""
    sources = folder / "sources"
    sources.mkdir()
    run_child(CORPUS, h5ad, str(sources / "corpus.h5ad"), str(sources / "corpus.soma"), str(copies))
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": _REGION}
    with store(sources) as address:
        os.environ["AWS_ENDPOINT_URL"] = relay(address, latency)
        runs: dict[str, list[dict[str, Any]]] = {}
        for _ in range(rounds):
            for name in ("corpus.h5ad", "corpus.soma"):
                for place, uri in (("local", str(sources / name)), ("store", f"s3://{_BUCKET}/{name}")):
                    own = runs.setdefault(f"{name} {place}", [])
                    own.append(run_child(BUILD, uri, str(folder / "set"), "1"))
    seconds = {name: statistics.median(run["all_seconds"] for run in own) for name, own in runs.items()}
    return {
        "source": Path(h5ad).name,
        "cells": runs["corpus.h5ad local"][0]["cells"],
        "latency_s": latency,
        "rounds": rounds,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "ratios": {
            name: round(seconds[f"{name} store"] / seconds[f"{name} local"], 2)
            for name in ("corpus.h5ad", "corpus.soma")
        },
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("h5ad")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds")
    parser.add_argument("--out", help="folder for bench_object_store.json")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        result = run(arguments.h5ad, arguments.copies, arguments.rounds, arguments.latency, Path(folder))
        write_result("bench_object_store", result, arguments.out)


if __name__ == "__main__":
    main()
