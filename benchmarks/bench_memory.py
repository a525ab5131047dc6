"""Peak memory of a build while the corpus grows twenty times.

python benchmarks/bench_memory.py [--cells 100000 2000000] [--mean-genes 500]
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from measure import run_child, write_result

_BUILD = """
import json, sys
import scdata
manifest = scdata.build_shards(sys.argv[1], sys.argv[2], tokenizer="counts")
splits = manifest["splits"].values()
print(json.dumps({"cells": manifest["n_cells"], "nnz": sum(s["n_tokens"] for s in splits),
                  "shards": len(manifest["shards"]), "bytes": sum(s["bytes"] for s in splits)}))
"""


def run(cells: list[int], mean_genes: int, folder: Path) -> dict[str, Any]:
    """One build a size, in one process each."""
    runs = []
    for n in cells:
        uri = f"synthetic:cells={n},genes=20000,mean_genes={mean_genes}"
        runs.append(run_child(_BUILD, uri, str(folder / str(n))))
    return {"runs": runs, "peak_growth": round(runs[-1]["peak_mb"] / runs[0]["peak_mb"], 2)}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[100_000, 2_000_000])
    parser.add_argument("--mean-genes", type=int, default=500)
    parser.add_argument("--out", help="folder for bench_memory.json")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        write_result("bench_memory", run(arguments.cells, arguments.mean_genes, Path(folder)), arguments.out)


if __name__ == "__main__":
    main()
