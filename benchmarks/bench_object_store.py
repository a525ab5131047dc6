"""Builds from sources in an object store that answers 20 ms late, beside the same from local disk.

    python benchmarks/bench_object_store.py CELLS.h5ad [--copies 4] [--rounds 3] [--latency 0.02]

The store is a process of this machine (`slow_store.py`), whose processor time comes on top. Needs the extra `s3`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_build import BUILD, CORPUS
from measure import run_child, write_result

_BUCKET, _REGION = "cells", "eu-west-1"
_SERVE = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from slow_store import SlowStore
print(SlowStore(Path(sys.argv[2]), float(sys.argv[3])).address, flush=True)
threading.Event().wait()
"""


def run(h5ad: str, copies: int, rounds: int, latency: float, folder: Path) -> dict[str, Any]:
    """Builds from both places, alternating."""
    sources = folder / "sources"
    sources.mkdir()
    run_child(CORPUS, h5ad, str(sources / "corpus.h5ad"), str(sources / "corpus.soma"), str(copies))
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": _REGION}
    server = subprocess.Popen([sys.executable, "-c", _SERVE, str(Path(__file__).parent), str(sources), str(latency)],
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert server.stdout is not None
        os.environ["AWS_ENDPOINT_URL"] = server.stdout.readline().strip()
        runs: dict[str, list[dict[str, Any]]] = {}
        for _ in range(rounds):
            for name in ("corpus.h5ad", "corpus.soma"):
                for place, uri in (("local", str(sources / name)), ("store", f"s3://{_BUCKET}/{name}")):
                    own = runs.setdefault(f"{name} {place}", [])
                    own.append(run_child(BUILD, uri, str(folder / "set"), "1"))
    finally:
        server.kill()
        server.communicate()
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
