"""The value of each expressed gene, by the kinds that presets know."""

import numpy as np

from scdata._backend import backend, per_entry, row_ends
from scdata._blocks import I32, I64, Array
from scdata.normalize.library_size import log1p_normalized
from scdata.tokens.fitted import Fitted
from scdata.tokens.kernels.edges import depth_edge_bins, edge_bins
from scdata.tokens.kernels.levels import count_levels
from scdata.tokens.kernels.quantile_ties import quantile_bins_random, quantile_bins_upper
from scdata.tokens.sequence import Draws
from scdata.tokens.value_table import ValueTable

_LARGEST = int(np.iinfo(np.int32).max)


def gene_values(
    value: ValueTable,
    fitted: Fitted,
    indptr: I64,
    token_ids: I32,
    counts: I32,
    total: I64,
    draws: Draws | None,
) -> Array:
    """Values of the expressed genes of C cells, as ``[value]`` says (every kind but ``rank``).

    Parameters
    ----------
    value, fitted
        The preset's table and the numbers it needs.
    indptr, token_ids, counts
        int64 (C+1,), int32 (T,), int32 (T,), all counts ≥ 1.
    total
        int64 (C,): denominators.
    draws
        Randomness for ties; None takes the upper bin.

    Returns
    -------
    int32 (T,), or float32 (T,) for ``lognorm``. A gene without a count has value 0 in every kind.
    """
    if value.kind == "lognorm":
        return log1p_normalized(indptr, counts, total, value.target_sum)
    if value.kind == "levels":
        return count_levels(counts, value.level_starts, value.level_steps)
    if value.kind == "quantile":
        if draws is not None and value.ties == "random":
            return quantile_bins_random(indptr, counts, token_ids, draws.cell_keys("ties"), value.n_bins)
        return quantile_bins_upper(indptr, counts, value.n_bins)
    if value.kind in ("edges", "depth_edges"):
        assert fitted.edges is not None  # the tokenizer checks before
        if value.kind == "edges":
            return edge_bins(indptr, counts, total, fitted.edges[0], value.target_sum)
        assert fitted.borders is not None
        return depth_edge_bins(indptr, counts, total, fitted.borders, fitted.edges, value.target_sum)
    if value.clip is not None and value.scale is None:
        return np.minimum(counts, np.int32(min(value.clip, _LARGEST)))
    return counts


def scale_and_clip(value: ValueTable, indptr: I64, counts: Array) -> Array:
    """float32 (T,): counts of the genes that stayed, scaled to a sum of ``value.scale`` a cell, then clipped.

    TranscriptFormer's ``normalize_to_scale`` (``data/dataloader.py``), off by default there: the cut comes first.
    """
    assert value.scale is not None  # the tokenizer asks
    running, xp = row_ends(counts), backend(counts)
    sums = xp.maximum(running[indptr[1:]] - running[indptr[:-1]], 1)
    scaled: Array = counts / per_entry(sums, indptr) * value.scale
    if value.clip is not None:
        scaled = xp.minimum(scaled, value.clip)
    return scaled.astype(np.float32)
