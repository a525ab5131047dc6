"""What bins say of a cell: its read depth, or its difference from other cells.

    python benchmarks/bench_depth.py [--data DIR] [--sets NAME …] [--bins 50] [--strata 16] [--min-cells 25] [--plot]

For every set of real cells and every way of binning: the Spearman correlation between a cell's total counts and its mean bin
over the genes it has, over all cells and inside strata of depth (mean over the strata of depth_edges, by their cells); and the
standard deviation between cells of that mean. Edges are fitted to the set itself. The ways:

edges          fixed edges, quantiles of all non-zero values of the set
quantile       scGPT's bins in each cell, the upper one of a tie, or a random one
depth_edges    edges for each stratum of read depth
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measure import write_result
from scipy.stats import spearmanr

from scdata.normalize.depth_table import DepthTable
from scdata.normalize.edge_fit import fit_depth_edges, fit_edges
from scdata.normalize.library_size import library_size
from scdata.resources import resource
from scdata.source import open_source
from scdata.tokens.kernels.binning import draw_bins, quantile_bins
from scdata.tokens.kernels.edges import depth_edge_bins, edge_bins

WAYS = ("edges", "quantile, upper", "quantile, random", "depth_edges")
TARGET_SUM = 1e4
_WIDTHS = (8, 8, 26, 26, 26, 26)
_FORMS = {"correlation": "{:+.3f}", "correlation_inside_strata": "{:+.3f}", "sd": "{:.2f}"}
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = (
    "human_pbmc_1k_v3",
    "human_pbmc_1k_v2",
    "human_lung_cell_lines_celseq2",
    "human_pbmc_ifnb_14k",
    "mouse_lung_tumor_immune",
    "mouse_brain_merfish_cxg_schema",
    "demo_pbmc_ifnb_1k",
)


def mean_bins(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Totals of the cells of a file, and their mean bin by each way."""
    source = open_source(path)
    block = source.read(slice(0, source.n_obs))
    indptr, counts, total = block.indptr, block.data, library_size(block.indptr, block.data)
    n_bins = arguments.bins + 1  # zero has one of its own
    table = DepthTable.of(indptr, counts, total, TARGET_SUM)
    fixed = fit_edges(table, n_bins)
    strata = fit_depth_edges(table, n_bins, arguments.strata, arguments.min_cells)
    low, high = quantile_bins(indptr, counts, n_bins)
    bins = {
        "edges": edge_bins(indptr, counts, total, fixed, TARGET_SUM),
        "quantile, upper": high,
        "quantile, random": draw_bins(low, high, np.arange(len(low), dtype=np.uint64)),
        "depth_edges": depth_edge_bins(indptr, counts, total, strata.borders, strata.edges, TARGET_SUM),
    }
    filled = total > 0
    lengths = np.diff(indptr)[filled]
    means = {way: library_size(indptr, found)[filled] / lengths for way, found in bins.items()}
    stratum = np.searchsorted(strata.borders, total[filled], side="right")
    return {"total": total[filled], "genes": lengths, "stratum": stratum, "means": means}


def correlation_inside(cells: dict[str, Any], mean: np.ndarray) -> float:
    """Spearman correlation with depth inside strata, averaged by their cells."""
    strata = [np.flatnonzero(cells["stratum"] == s) for s in range(cells["stratum"].max() + 1)]
    strata = [own for own in strata if np.ptp(cells["total"][own]) and np.ptp(mean[own])]
    found = [spearmanr(cells["total"][own], mean[own])[0] for own in strata]
    return float(np.average(found, weights=[len(own) for own in strata]))


def measured(path: Path, cells: dict[str, Any]) -> dict[str, Any]:
    """One row of the result."""
    ways = {
        way: {
            "correlation": round(float(spearmanr(cells["total"], mean)[0]), 3),
            "correlation_inside_strata": round(correlation_inside(cells, mean), 3),
            "sd": round(float(mean.std()), 2),
        }
        for way, mean in cells["means"].items()
    }
    return {
        "set": path.stem,
        "cells": len(cells["total"]),
        "median_counts": float(np.median(cells["total"])),
        "genes_a_cell": round(float(cells["genes"].mean()), 1),
        "strata": int(cells["stratum"].max()) + 1,
        "ways": ways,
        "sd_depth_edges_to_edges": round(ways["depth_edges"]["sd"] / ways["edges"]["sd"], 2),
    }


def table_text(rows: list[dict[str, Any]]) -> str:
    """The result for people."""
    lines = ["correlation with depth / the same inside strata / standard deviation between cells"]
    lines.append("".join(f"{head:>{width}}" for head, width in zip(("cells", "strata", *WAYS), _WIDTHS, strict=True)))
    for row in rows:
        cells = [f"{row['cells']:,}", str(row["strata"])]
        cells += [" / ".join(_FORMS[key].format(own[key]) for key in _FORMS) for own in row["ways"].values()]
        line = "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
        lines.append(f"{line}  {row['set']}")
    return "\n".join(lines)


def draw(path: Path, sets: dict[str, dict[str, Any]]) -> None:
    """One panel a way: mean bin of each cell against its read depth."""
    from matplotlib.figure import Figure

    figure = Figure((15, 4), layout="constrained")
    for axes, way in zip(figure.subplots(1, len(WAYS), sharex=True, sharey=True), WAYS, strict=True):
        for name, cells in sets.items():
            axes.scatter(cells["total"], cells["means"][way], s=2, alpha=0.4, label=name, rasterized=True)
        axes.set(title=way, xscale="log", xlabel="total counts of the cell")
    figure.axes[0].set_ylabel("mean bin over its genes")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7, markerscale=4)
    figure.savefig(path, dpi=150)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help=f"folder of h5ad files; default: {SHARED}, else the demo cells")
    parser.add_argument("--sets", nargs="+", help=f"names without .h5ad; default: those there are of {', '.join(SETS)}")
    parser.add_argument("--bins", type=int, default=50, help="without the one of zero")
    parser.add_argument("--strata", type=int, default=16)
    parser.add_argument("--min-cells", type=int, default=25)
    parser.add_argument("--out", help="folder for bench_depth.json")
    parser.add_argument("--plot", action="store_true", help="also draw bench_depth.png there")
    arguments = parser.parse_args(argv)
    if arguments.plot and arguments.out is None:
        parser.error("--plot needs --out")
    folder = arguments.data or (SHARED if SHARED.is_dir() else resource("demo"))
    paths = [folder / f"{name}.h5ad" for name in arguments.sets or SETS]
    paths = [path for path in paths if arguments.sets or path.exists()]
    if not paths:
        parser.error(f"none of {', '.join(SETS)} in {folder}: name others by --sets")
    sets = {path.stem: mean_bins(path, arguments) for path in paths}
    rows = [measured(path, sets[path.stem]) for path in paths]
    settings = {"bins": arguments.bins, "strata": arguments.strata, "min_cells": arguments.min_cells}
    write_result("bench_depth", {**settings, "sets": rows}, arguments.out)
    print(table_text(rows), file=sys.stderr)
    if arguments.plot:
        draw(Path(arguments.out) / "bench_depth.png", sets)


if __name__ == "__main__":
    main()
