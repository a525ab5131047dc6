"""How long a trainer waits for a set in a store that is far away.

    python benchmarks/bench_remote.py [--cells 40000] [--latency 0.05] [--megabytes 25] [--consumer 5000]

The set is served by a process of this machine that answers `latency` seconds late and sends at most so many megabytes a second,
all answers together. The consumer takes `consumer` cells a second, as a trainer that waits for its device: its time for a batch
is slept. Waiting is what the iterator takes beyond that. With copies on disk: a first epoch fills them, a second one reads them
while the store is gone.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import run_child, write_result

_SERVE = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from slow_store import SlowStore
print(SlowStore(Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])).address, flush=True)
threading.Event().wait()
"""
_TRAIN = """
import json, sys, time, warnings
if __name__ == "__main__":
    uri, cells_s, epoch, cache = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4] or None
    warnings.simplefilter("ignore")
    import scdata
    begin = time.perf_counter()
    dataset = scdata.ShardDataset(uri, output="packed", batch_size=256, cache_dir=cache)
    dataset.set_epoch(epoch)
    batches = iter(dataset)
    first, waited, n = None, 0.0, 0
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            break
        now = time.perf_counter()
        if first is None:
            first = now - begin
        else:
            waited += now - asked
        n += len(batch["cell_id"])
        time.sleep(len(batch["cell_id"]) / cells_s)
    seconds = time.perf_counter() - begin - first
    print(json.dumps({"cells": n, "first_batch_s": first, "waited": waited / seconds, "cells_s": n / seconds}))
"""


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Epochs from the store, through copies, and from copies alone."""
    import scdata

    source = f"synthetic:cells={arguments.cells},genes=20000,mean_genes=1839"
    manifest = scdata.build_shards(source, folder / "sets" / "set")
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "eu-west-1"}
    command = [sys.executable, "-c", _SERVE, str(Path(__file__).parent), str(folder / "sets"), str(arguments.latency),
               str(arguments.megabytes * 1e6)]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    found = {}
    try:
        assert server.stdout is not None
        os.environ["AWS_ENDPOINT_URL"] = server.stdout.readline().strip()
        uri, copies = "s3://cells/set", str(folder / "copies")
        for name, epoch, cache in (("store", 0, ""), ("store, filling copies", 0, copies), ("copies", 1, copies)):
            found[name] = run_child(_TRAIN, uri, str(arguments.consumer), str(epoch), cache)
        server.kill()
        server.wait()
        time.sleep(0.1)
        found["copies, store gone"] = run_child(_TRAIN, uri, str(arguments.consumer), "2", copies)
    finally:
        server.kill()
        server.communicate()
    keys = ("first_batch_s", "waited", "cells_s", "peak_mb")
    return {
        "cells": manifest["n_cells"],
        "bytes_a_cell": round(sum(s["bytes"] for s in manifest["splits"].values()) / manifest["n_cells"]),
        "latency_s": arguments.latency,
        "megabytes_s": arguments.megabytes,
        "consumer_cells_s": arguments.consumer,
        "runs": {name: {key: float(f"{one[key]:.3g}") for key in keys} for name, one in found.items()},
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=40_000)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds")
    parser.add_argument("--megabytes", type=float, default=25.0, help="that the store sends in a second")
    parser.add_argument("--consumer", type=float, default=5000.0, help="cells that the trainer takes in a second")
    parser.add_argument("--out", help="folder for bench_remote.json")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        write_result("bench_remote", run(arguments, Path(folder)), arguments.out)


if __name__ == "__main__":
    main()
