"""What objectives cost: microseconds a cell of a full context, alone and beside the padding of the batch itself.

    python benchmarks/bench_objectives.py [--cells 64] [--length 2048] [--rounds 60]

One process, one core, random genes of 20,000, padded batches. `draw` is what an objective does; `whole` also places its arrays
in padded tensors. `batch` is what token ids, values and attention mask take, for comparison. Medians.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from measure import write_result

from scdata import load_tokenizer, objectives
from scdata.batch.collate import pad_rows
from scdata.batch.objectives.base import Cells, Setting, eligible_tokens
from scdata.batch.task import Task
from scdata.stream.buffers import BufferPool
from scdata.tokens import Draws, Ragged

N_GENES = 20_000
CASES = (
    ("geneformer-v2", objectives.MaskedGenes()),
    ("scgpt", objectives.MaskedValues(rate=0.4)),
    ("scgpt", objectives.MaskedValues(rate=0.4, like="scgpt-fine-tuning")),
    ("scgpt", objectives.PerceptionGeneration(rate=0.5)),
    ("transcriptformer", objectives.NextGene()),
    ("lingshu-cell", objectives.MaskedDiffusion(weight="elbo")),
    ("cell-jepa", objectives.JointEmbedding()),
)


def microseconds(run: Callable[[], Any], n_cells: int, rounds: int) -> float:
    """Median over rounds, a cell."""
    run()
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return round(statistics.median(taken) / n_cells * 1e6, 2)


def measured(preset: str, objective: objectives.Objective, arguments: argparse.Namespace) -> dict[str, Any]:
    """One line of the table."""
    n_cells, length = arguments.cells, arguments.length
    tokenizer = load_tokenizer(preset, "fit").with_genes([f"ENSG{i:011d}" for i in range(N_GENES)], {})
    setting = Setting(tokenizer, "padded", length, 0)
    objective.check(setting)
    n_tokens = length - 1 if isinstance(objective, objectives.NextGene) else length  # which adds a place
    indptr, rng = np.arange(n_cells + 1, dtype=np.int64) * n_tokens, np.random.default_rng(0)
    ids = [np.sort(rng.choice(tokenizer.genes().gene_tokens, n_tokens, replace=False)) for _ in range(n_cells)]
    ranks = tokenizer.preset.value.kind == "rank"
    values = None if ranks else rng.integers(1, 50, n_cells * n_tokens).astype(np.int32)
    ragged, draws = Ragged(indptr, np.concatenate(ids), values), Draws(0, 0, np.arange(n_cells))
    task, pool = Task(objective, setting, None), BufferPool()

    def draw() -> Any:
        eligible = eligible_tokens(ragged, setting)
        return objective.apply(Cells(indptr, ragged.token_ids, values, eligible, draws, 0, length), setting)

    def batch() -> None:
        shape = (n_cells, length)
        own = None if values is None else pool.take(shape, np.int32)
        pad_rows(ragged, pool.take(shape, np.int32), own, pool.take(shape, np.bool_), 0, 0)

    runs = {"draw": draw, "whole": lambda: task.of_tokens(ragged, draws, 0, None, pool.take), "batch": batch}
    times = {f"{name}_us": microseconds(run, n_cells, arguments.rounds) for name, run in runs.items()}
    return {"preset": preset, "objective": repr(objective), **times}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=64)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--out")
    arguments = parser.parse_args(argv)
    table = [measured(preset, objective, arguments) for preset, objective in CASES]
    sizes = {"cells": arguments.cells, "length": arguments.length}
    write_result("bench_objectives", {**sizes, "objectives": table}, arguments.out)


if __name__ == "__main__":
    main(sys.argv[1:])
