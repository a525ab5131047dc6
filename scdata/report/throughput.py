"""How fast a set streams."""

import time
from typing import Any

from scdata._optional import need

MODES = ("packed", "padded", "dense")


def measure(
    path: str, split: str, tokenizer: str | None, output: str, batch_size: int, seconds: float
) -> dict[str, Any]:
    """Cells per second, and per second of CPU time of this process."""
    need("torch", "stream batches")
    from scdata.batch.dataset import ShardDataset

    dataset = ShardDataset(path, split=split, tokenizer=tokenizer, output=output, batch_size=batch_size)
    _stream(dataset, seconds, 0)
    wall, cpu = time.perf_counter(), time.process_time()
    cells = _stream(dataset, seconds, 1)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"cells": cells, "cells_s": cells / wall, "cells_core_s": cells / cpu}


def _stream(dataset: Any, seconds: float, epoch: int) -> int:
    begin, cells = time.perf_counter(), 0
    while True:
        dataset.set_epoch(epoch)
        for batch in dataset:
            cells += len(batch["cell_id"])
            if time.perf_counter() - begin > seconds:
                return cells
        epoch += 1
