"""The driver of a corpus of 300 M cells, without its cells: what the plan, its marks and its index take.

python benchmarks/bench_plan.py [--cells 300000000] [--genes 60000] [--mean-genes 1700]

The plan is made as for any source, from one that has the size and no obs columns, whose counts are only made for the sample.
Marks are written as tasks write them, with random lengths. A task that does nothing measures the scheduler.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measure import write_result

from scdata.build.config import BuildConfig
from scdata.build.configured import make_tokenizer
from scdata.build.drafting import draft_plan
from scdata.build.driver import cluster, run_tasks
from scdata.build.plan import PLAN, load_plan
from scdata.build.progress import Progress
from scdata.build.scatter import scatter_mark
from scdata.build.scattered import PLACES, merge_marks
from scdata.shard.files import write_arrow
from scdata.shard.set_files import INDEX_SCHEMA
from scdata.source.synthetic import SyntheticSource

_BLOCK = 1024
_IDLE_TASKS = 1000


def _nothing(number: int) -> dict[str, Any]:
    return {"cells": number}


def run(n_cells: int, n_genes: int, mean_genes: int, n_datasets: int, n_idle: int, folder: Path) -> dict[str, Any]:
    """Plan, read it back, merge the marks of all tasks, write an index of that size; run tasks that do nothing."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        seconds[what] = round(time.perf_counter() - begin, 2)

    out, scratch = folder / "out", folder / "scratch"
    config = BuildConfig(sources=("synthetic:",), out=str(out), splits=("val=0.05",))
    source = SyntheticSource(n_cells, n_genes=n_genes, mean_genes=mean_genes, n_datasets=n_datasets)
    source.obs_schema = pa.schema([])  # obs are read at the speed of their storage, which is not measured here
    with timed("plan"):
        draft = draft_plan(config, [source], make_tokenizer(config), Progress())
    with timed("write and read back"):
        plan = draft.write(config.build_path)
    with timed("a worker reads it"):
        load_plan.__globals__["_load_plan"].cache_clear()
        plan = load_plan(config.build_path)
    n_tasks, n_shards = len(plan.tasks), sum(plan.n_shards)
    rng = np.random.default_rng(0)
    with timed("marks (the work of tasks)"):
        for number, task in enumerate(plan.tasks):
            cells = task.stop - task.start
            mark = {
                "cells": cells,
                "kept": cells,
                "splits": [cells - cells // 20, cells // 20],
                "drops": [[0, "no counts", 1]],
                "total_counts": cells * 5000,
                "vocab_counts": cells * 5000,
                "lengths": rng.integers(9_000, 30_000, n_shards).tolist(),
            }
            path = scatter_mark(scratch, number)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(mark))
    with timed("merge marks"):
        merge_marks(plan, scratch)
    n_blocks = -(-n_cells // _BLOCK)
    columns = [
        pa.array(["train"] * n_blocks)
        if field.type == pa.string()
        else pa.array(np.arange(n_blocks), field.type, safe=False)
        for field in INDEX_SCHEMA
    ]
    with timed("write the index"):
        write_arrow(folder / "index.arrow", pa.table(columns, schema=INDEX_SCHEMA))
    with cluster(2, folder) as client, timed(f"{n_idle} tasks that do nothing, 2 workers"):
        run_tasks(client, _nothing, lambda i: (i,), range(n_idle), 2, lambda n: None, str)

    def mb(path: Path) -> float:
        return round(path.stat().st_size / 1e6, 1)

    return {
        "cells": n_cells,
        "genes": n_genes,
        "datasets": n_datasets,
        "tasks": n_tasks,
        "shards": n_shards,
        "mb": {
            "plan": mb(config.build_path / PLAN),
            "plan with the files beside it": round(sum(p.stat().st_size for p in config.build_path.glob("*")) / 1e6, 1),
            "marks": round(sum(scatter_mark(scratch, i).stat().st_size for i in range(n_tasks)) / 1e6, 1),
            "places": mb(scratch / PLACES),
            "index": mb(folder / "index.arrow"),
        },
        "seconds": seconds,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=300_000_000)
    parser.add_argument("--genes", type=int, default=60_000)
    parser.add_argument("--mean-genes", type=int, default=1700)
    parser.add_argument("--datasets", type=int, default=1845)
    parser.add_argument("--idle-tasks", type=int, default=_IDLE_TASKS)
    parser.add_argument("--out", help="folder for bench_plan.json")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = run(
            arguments.cells,
            arguments.genes,
            arguments.mean_genes,
            arguments.datasets,
            arguments.idle_tasks,
            Path(folder),
        )
        write_result("bench_plan", found, arguments.out)


if __name__ == "__main__":
    main()
