"""Read depth as tokens: log10 of totals, as scFoundation has them, or the stratum of a cell."""

from collections.abc import Mapping

import numpy as np

from scdata._blocks import I64, Array
from scdata.normalize.library_size import F64
from scdata.tokens.fitted import Fitted
from scdata.tokens.preset import SOURCE, TARGET, Preset
from scdata.tokens.tables import DepthKeys


def log10_depths(depth: DepthKeys, target: I64, source: I64) -> F64:
    """Depths of cells in the order of ``[depth] tokens``: T and S of scFoundation (``model/get_embedding.py``).

    Parameters
    ----------
    depth
        The table.
    target, source
        int64 (C,): total counts of the target cell, and of the cell as it is read. Empty cells count as 1.

    Returns
    -------
    float64 (C, n): log10 of totals.
    """
    columns = {"source": np.log10(np.maximum(source, 1)), "target": _target(depth.target, np.maximum(target, 1))}
    return np.stack([columns[token] for token in depth.tokens] or [np.empty((0, len(source)))], axis=-1).reshape(
        len(source), len(depth.tokens)
    )


def _target(rule: str, total: I64) -> F64:
    number = float(rule[1:])
    if rule[0] == "t":
        return np.full(len(total), number)
    if rule[0] == "f":
        return np.log10(total * number)
    return np.log10(total) + number


def strata(borders: I64, total: I64) -> I64:
    """int64 (C,): stratum of each cell: how many borders are not above its total counts."""
    return np.searchsorted(borders, total, side="right")


def depth_tokens(
    preset: Preset, fitted: Fitted, specials: Mapping[str, int], target: I64, source: I64
) -> tuple[Array, Array]:
    """Token ids and values (C, n) that stand after the genes of each cell."""
    if preset.depth.kind == "stratum":
        assert fitted.borders is not None  # the tokenizer is fitted
        ids = np.array([specials[f"<depth:{i}>"] for i in range(preset.value.strata)], np.int32)
        return ids[strata(fitted.borders, source)][:, None], np.full((len(source), 1), preset.value.special, np.int32)
    names = [TARGET if token == "target" else SOURCE for token in preset.depth.tokens]
    row = np.array([specials[name] for name in names], np.int32)
    return np.broadcast_to(row, (len(source), len(row))), log10_depths(preset.depth, target, source).astype(np.float32)
