"""Read depth as tokens: log10 of totals, as scFoundation has them, or the stratum of a cell."""

from collections.abc import Mapping

import numpy as np

from scdata._backend import backend, beside
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
        int64 (C,): total counts of the target cell, and of the cell as it is read, on the CPU or on a device, whose logarithm
        may differ from that of NumPy in the last place. Empty cells count as 1.

    Returns
    -------
    float64 (C, n): log10 of totals.
    """
    xp = backend(source)
    out: F64 = xp.empty((len(source), len(depth.tokens)), np.float64)
    for i, token in enumerate(depth.tokens):
        out[:, i] = (
            xp.log10(xp.maximum(source, 1)) if token == "source" else _target(depth.target, xp.maximum(target, 1))
        )
    return out


def _target(rule: str, total: I64) -> F64:
    number, xp = float(rule[1:]), backend(total)
    if rule[0] == "t":
        constant: F64 = xp.full(len(total), number, np.float64)
        return constant
    found: F64 = xp.log10(total * number) if rule[0] == "f" else xp.log10(total) + number
    return found


def strata(borders: I64, total: I64) -> I64:
    """int64 (C,): stratum of each cell: how many borders are not above its total counts."""
    return backend(total).searchsorted(beside(total, borders), total, side="right")


def depth_tokens(
    preset: Preset, fitted: Fitted, specials: Mapping[str, int], target: I64, source: I64
) -> tuple[Array, Array]:
    """Token ids and values (C, n) that stand after the genes of each cell, on the machine of the totals."""
    xp, n_cells = backend(source), len(source)
    if preset.depth.kind == "stratum":
        assert fitted.borders is not None  # the tokenizer is fitted
        ids = xp.asarray(np.array([specials[f"<depth:{i}>"] for i in range(preset.value.strata)], np.int32))
        own = ids[strata(fitted.borders, source)][:, None]
        return own, xp.full((n_cells, 1), preset.value.special, np.int32)
    names = [TARGET if token == "target" else SOURCE for token in preset.depth.tokens]
    row = xp.asarray(np.array([specials[name] for name in names], np.int32))
    return xp.broadcast_to(row, (n_cells, len(names))), log10_depths(preset.depth, target, source).astype(np.float32)
