"""Building against only reading: the same cells as h5ad and as SOMA, in processes of their own.

    python benchmarks/bench_build.py CELLS.h5ad [--rounds 3]

Reading is `read` over all rows in slices of 4,096, with the check of counts; it is the floor of a build. A build reads the
cells twice where the sample covers them all (up to 16,384 cells), and starts a dask cluster.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from measure import run_child, write_result

_READ = """
import json, sys, time
from scdata.source import open_source
source = open_source(sys.argv[1])
begin, nnz = time.perf_counter(), 0
for start in range(0, source.n_obs, 4096):
    nnz += len(source.read(slice(start, min(start + 4096, source.n_obs))).data)
print(json.dumps({"cells": source.n_obs, "nnz": nnz, "work_seconds": time.perf_counter() - begin}))
"""
_BUILD = """
import json, sys, time
import scdata
if __name__ == "__main__":
    begin = time.perf_counter()
    manifest = scdata.build_shards(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]), overwrite=True)
    nnz = sum(s["n_tokens"] for s in manifest["splits"].values())
    print(json.dumps({"cells": manifest["n_cells_read"], "nnz": nnz, "work_seconds": time.perf_counter() - begin}))
"""
_TO_SOMA = """
import sys, anndata, tiledbsoma.io
tiledbsoma.io.from_anndata(sys.argv[2], anndata.read_h5ad(sys.argv[1]), measurement_name="RNA", X_layer_name="raw")
"""


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of some runs."""
    seconds = statistics.median(run["work_seconds"] for run in runs)
    return {
        "seconds": round(seconds, 2),
        "cells_s": round(runs[0]["cells"] / seconds),
        "nnz_s": round(runs[0]["nnz"] / seconds),
        "peak_mb": round(statistics.median(run["peak_mb"] for run in runs)),
    }


def run(h5ad: str, rounds: int, folder: Path) -> dict[str, Any]:
    """Read and build, alternating."""
    soma, out = str(folder / "soma"), str(folder / "set")
    run_child(_TO_SOMA, h5ad, soma)
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for name, source in (("h5ad", h5ad), ("soma", soma)):
            runs.setdefault(f"read {name}", []).append(run_child(_READ, source))
            for workers in ("1", "2"):
                runs.setdefault(f"build {name}, {workers} worker(s)", []).append(
                    run_child(_BUILD, source, out, workers)
                )
    return {"source": Path(h5ad).name, "rounds": rounds, "runs": {name: summary(own) for name, own in runs.items()}}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("h5ad")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", help="folder for bench_build.json")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        write_result("bench_build", run(arguments.h5ad, arguments.rounds, Path(folder)), arguments.out)


if __name__ == "__main__":
    main()
