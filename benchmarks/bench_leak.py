"""What a long run leaves behind: anonymous memory, open files and threads, over hundreds of epochs.

    python benchmarks/bench_leak.py [--cells 4000] [--warm-up 100] [--epochs 300] [--seconds 60] [--ways WAY …]

Each way to stream runs in a process of its own: epochs until the warm-up is over, then as many as asked for, or for as long as
`--seconds` says. `growth_mb` is how much more anonymous memory (RssAnon) the trainer's process has at the end than after the
warm-up, `files` and `threads` how many more of these; `workers_mb` the same of all workers of a DataLoader.
Before a look the process gives back what Arrow's allocator keeps for later, up to 4 MB that come and go; workers do not.

one loader      one ShardDataset, told of every epoch, one thread
two threads     the same, padded, ranks on the fly, lengths grouped
a loader each   an epoch: a new one, with a filter, weights and an objective, left in the middle of the epoch
workers         a DataLoader with two workers that stay
new workers     a DataLoader whose two workers are forked for every epoch
mixed           two sets mixed
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pyarrow as pa
from measure import run_child, write_result
from torch.utils.data import DataLoader

import scdata
from scdata.objectives import MaskedValues

WAYS = ("one loader", "two threads", "a loader each", "workers", "new workers", "mixed")
_CHILD = "import sys; sys.path.insert(0, {here!r}); import bench_leak; bench_leak.child({arguments!r})"


def anonymous_mb(pid: int | str = "self") -> float:
    """Anonymous resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not tell RssAnon")


def held() -> dict[str, float]:
    """What this process and its children hold now."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    return {
        "growth_mb": anonymous_mb(),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "workers_mb": sum(anonymous_mb(child.pid) for child in active_children() if child.pid),
    }


def drain(batches: Any) -> int:
    """Go through an epoch; gives its cells."""
    return sum(len(batch["cell_id"]) for batch in batches)


def epochs_of(way: str, path: str) -> Iterator[Callable[[], int]]:
    """Epoch after epoch: a function that streams it and gives its cells."""
    if way == "a loader each":
        objective = MaskedValues(rate=0.3)
        while True:
            yield lambda: abandoned(
                scdata.ShardDataset(
                    path, tokenizer="scgpt+fit", filter="n_tokens >= 2", balance="cell_type", objective=objective
                )
            )
    if way == "mixed":
        loader: Any = scdata.mix({path: 3, f"{path}2": 1}, output="packed")
    elif way == "two threads":
        loader = scdata.ShardDataset(path, tokenizer="geneformer-v2+fit", group_by_length=True, num_threads=2)
    else:
        loader = scdata.ShardDataset(path, output="packed")
    if way == "new workers":
        drain(loader)  # or each worker would load compiled code for itself
    stays = DataLoader(loader, batch_size=None, num_workers=2, persistent_workers=True) if way == "workers" else None
    epoch = 0
    while True:
        loader.set_epoch(epoch)
        if way == "new workers":
            yield lambda: drain(DataLoader(loader, batch_size=None, num_workers=2))
        else:
            yield lambda: drain(loader if stays is None else stays)
        epoch += 1


def abandoned(loader: Any) -> int:
    """Stream half of an epoch, and forget the loader."""
    cells, batches = 0, iter(loader)
    while cells < loader.n_cells // 2:
        cells += len(next(batches)["cell_id"])
    return cells


def child(arguments: tuple[str, str, int, int, float]) -> None:
    """One way, in this process; prints JSON."""
    way, path, warm_up, n_epochs, seconds = arguments
    epochs, cells, done = epochs_of(way, path), 0, 0
    for _ in range(warm_up):
        next(epochs)()
    before, begin = held(), time.monotonic()
    most = before["growth_mb"]
    while done < n_epochs and (done == 0 or time.monotonic() - begin < seconds):
        cells += next(epochs)()
        done += 1
        most = max(most, anonymous_mb())
    after = held()
    found = {name: round(after[name] - before[name], 2) for name in after}
    print(json.dumps({"epochs": done, "cells": cells, **found, "most_mb": round(most - before["growth_mb"], 2)}))


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Build two sets, and stream them in every way."""
    path = folder / "set"
    for number, name in enumerate(("set", "set2")):
        source = f"synthetic:cells={arguments.cells},genes={arguments.genes},mean_genes={arguments.mean_genes}"
        scdata.build_shards(f"{source},seed={number}", folder / name)
    scdata.fit_set(path)
    ways = {}
    for way in arguments.ways:
        task = (way, str(path), arguments.warm_up, arguments.epochs, arguments.seconds)
        found = run_child(_CHILD.format(here=str(Path(__file__).parent), arguments=task))
        del found["peak_mb"]  # begins as that of the parent
        ways[way] = found
        print(f"{way}: {ways[way]}", file=sys.stderr)
    return {"cells": arguments.cells, "warm_up": arguments.warm_up, "ways": ways}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=4_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--mean-genes", type=int, default=500)
    parser.add_argument("--warm-up", type=int, default=100, help="epochs")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=60.0, help="at most this long for each way, after the warm-up")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--out", help="folder for bench_leak.json")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        write_result("bench_leak", run(arguments, Path(folder)), arguments.out)


if __name__ == "__main__":
    main()
