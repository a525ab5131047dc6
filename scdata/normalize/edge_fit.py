"""Bin edges fitted to a corpus: quantiles of its non-zero values, of all cells or of each stratum of read depth."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from scdata._blocks import I64
from scdata._errors import TokenizerError
from scdata.normalize.depth_table import VALUE_STEPS, DepthTable, depth_borders
from scdata.normalize.library_size import F64


@dataclass(frozen=True)
class DepthEdges:
    """Edges of each stratum of read depth; S strata, n_bins − 2 edges each.

    Parameters
    ----------
    borders
        int64 (S−1,), ascending: total counts at which each stratum but the first begins. The stratum of a cell is the number
        of borders at or below its total.
    edges
        float64 (S, n_bins − 2), rising: values of ln(1 + x / n · target_sum).
    """

    borders: I64
    edges: F64


def fit_edges(table: DepthTable, n_bins: int) -> F64:
    """Edges that cut the non-zero values of all cells into n_bins − 1 parts of equal number.

    Parameters
    ----------
    table
        Of the corpus.
    n_bins
        Bins, zero counted as one of them: at least 3.

    Returns
    -------
    float64 (n_bins − 2,), not falling, of ln(1 + x / n · target_sum): a non-zero value is in bin 1 + (edges at or below it).

    Raises
    ------
    TokenizerError
        If the table is empty.

    Notes
    -----
    A quantile is read off by linear interpolation inside a fine value step (0.45 % of 1 + value at the usual target sum of
    1e4). So where one value is so frequent that it fills more than one part, several edges lie inside its step: the value
    itself falls in one of the bins between them, and the others stay empty.
    """
    return _quantiles(table.values.sum(axis=0), n_bins, table.target_sum)


def fit_depth_edges(table: DepthTable, n_bins: int, n_strata: int = 16, min_cells: int = 25) -> DepthEdges:
    """Cut the cells into strata of read depth with equal numbers of cells, and fit the edges of each as `fit_edges` does.

    Borders are those fine borders of the table that are nearest to the quantiles of cells; where two quantiles have the same
    nearest, there is one stratum less. As long as a stratum has fewer than `min_cells` cells, or no value, the smallest
    joins the smaller of its neighbours.

    Parameters
    ----------
    table
        Of the corpus.
    n_bins
        Bins, zero counted as one of them: at least 3.
    n_strata
        Strata asked for.
    min_cells
        Fewest cells of a stratum, unless all cells together are fewer.

    Raises
    ------
    TokenizerError
        If the table is empty.

    Notes
    -----
    Bins of different strata are free of read depth, those of one stratum are not: there, as with fixed edges, a deeper cell's
    values are lower. The narrower the strata, the less depth is left.
    """
    at = _strata(table, n_strata, min_cells)
    edges = [_quantiles(table.values[a:b].sum(axis=0), n_bins, table.target_sum) for a, b in pairwise(at)]
    return DepthEdges(depth_borders()[np.array(at[1:-1], np.int64) - 1], np.stack(edges))


def _strata(table: DepthTable, n_strata: int, min_cells: int) -> list[int]:
    """First fine depth step of each stratum, and 256 at the end."""
    below = np.concatenate(([0], np.cumsum(table.cells)))  # cells in the steps before each
    n_cells = int(below[-1])
    at = {int(np.abs(below * n_strata - n_cells * k).argmin()) for k in range(1, n_strata)}
    starts = [0, *sorted(at - {0, len(below) - 1}), len(below) - 1]
    while len(starts) > 2:
        cells = np.diff(below[starts])
        n_values = np.add.reduceat(table.values.sum(axis=1), starts[:-1])
        short = np.flatnonzero((cells < min_cells) | (n_values == 0))
        if len(short) == 0:
            break
        smallest = int(short[cells[short].argmin()])
        left = cells[smallest - 1] if smallest > 0 else np.inf
        right = cells[smallest + 1] if smallest + 1 < len(cells) else np.inf
        del starts[smallest if left <= right else smallest + 1]
    return starts


def _quantiles(histogram: I64, n_bins: int, target_sum: float) -> F64:
    n_values = int(histogram.sum())
    if n_values == 0:
        raise TokenizerError("edges are quantiles of non-zero values, and there is none")
    upto = np.cumsum(histogram)
    wanted = n_values * (np.arange(1, n_bins - 1) / (n_bins - 1))
    step = np.searchsorted(upto, wanted)
    inside = (wanted - (upto - histogram)[step]) / histogram[step]
    return np.asarray((step + inside) * (np.log1p(target_sum) / VALUE_STEPS), np.float64)
