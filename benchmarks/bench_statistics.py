"""What each kind of statistics costs: of one core, a non-zero, beside scattering the same cells.

    python benchmarks/bench_statistics.py [SOURCE] [--cells 20000] [--rounds 5]

The cells are read and mapped once and held in slices, as tasks read them; every kind is then collected over all of them, in
turn, round after round. Beside it stands what it costs to read the cells (for `seurat_v3` twice), and to scatter them: to read,
map, hash and write.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import write_result

from scdata.build import BuildConfig, Progress, plan_build
from scdata.build.hashed_cells import hashed
from scdata.build.reading import MappedCells, read_mapped
from scdata.build.scatter import numbered_genes, scatter_task
from scdata.normalize.hvg_seurat_v3 import VarianceTrend, moments_below_clip
from scdata.normalize.moments import GeneMoments
from scdata.tokens.corpus import SEURAT, SEURAT_V3, FirstPass, Wanted

_KINDS = {
    "variable genes, seurat_v3": Wanted(flavors=(SEURAT_V3,)),
    "variable genes, seurat": Wanted(flavors=(SEURAT,)),
    "medians": Wanted(medians=True),
    "depth edges": Wanted(target_sum=1e4),
}


def run(source: str, n_cells: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Time every kind in turn, on the cells of the first task of a build."""
    config = BuildConfig(sources=(source,), out=str(folder), limit=n_cells, min_mapped=0.0)
    opened, plan = plan_build(config, Progress())
    sources, task = dict(enumerate(opened)), plan.tasks[0]
    slices = [cells for cells in read_mapped(plan, sources, task, numbered_genes(plan)) if len(cells.cell_id)]
    n_genes, nnz = len(plan.genes.var), sum(len(cells.genes) for cells in slices)

    def first_pass(wanted: Wanted) -> FirstPass:
        return FirstPass.merge([
            FirstPass.of(wanted, cells.indptr, cells.genes, cells.counts, cells.total_counts, n_genes, None)
            for cells in slices
        ])  # fmt: skip

    def seurat_v3() -> GeneMoments:
        moments = first_pass(_KINDS["variable genes, seurat_v3"]).moments
        assert moments is not None
        trend = VarianceTrend.fit(moments, None)
        return GeneMoments.merge([
            moments_below_clip(cells.indptr, cells.genes, cells.counts, trend, None) for cells in slices
        ])  # fmt: skip

    ways: dict[str, Callable[[], Any]] = {
        "read": lambda: sum(len(c.genes) for c in read_mapped(plan, sources, task, numbered_genes(plan))),
        "scatter": lambda: scatter_task(plan.path, folder / "scratch", sources, 0),
        **{name: lambda wanted=wanted: first_pass(wanted) for name, wanted in _KINDS.items()},
        "variable genes, seurat_v3": seurat_v3,
        "duplicates": lambda: [hashed(plan, cells) for cells in slices],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            begin = time.process_time()
            way()
            if number:  # the first round compiles
                seconds[name].append(time.process_time() - begin)
    median = {name: statistics.median(own) for name, own in seconds.items()}
    return {
        "source": Path(source).name,
        "cells": sum(len(cells.cell_id) for cells in slices),
        "nnz": nnz,
        "genes": n_genes,
        "equal_cells": _equal(plan, slices),
        "rounds": rounds,
        "kinds": {
            name: {"ns_a_nonzero": round(1e9 * own / nnz, 2), "of_a_scatter": round(own / median["scatter"], 3)}
            for name, own in median.items()
        },
    }


def _equal(plan: Any, slices: list[MappedCells]) -> int:
    cells = np.concatenate([hashed(plan, cells) for cells in slices])
    return len(cells) - len(np.unique(cells[["high", "low"]]))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="synthetic:cells=20000,genes=20000,mean_genes=1800")
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="folder for bench_statistics.json")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        result = run(arguments.source, arguments.cells, arguments.rounds, Path(folder))
    write_result("bench_statistics", result, arguments.out)


if __name__ == "__main__":
    main()
