"""Count levels of Lingshu-Cell: stretches of counts that are cut in equal steps, and one level for all above.

Method: Lingshu-Cell (arXiv 2603.25240); the levels as an unofficial implementation and an independent note state them, in
agreement: counts to 99 as they are, to 999 by tens, to 9,999 by hundreds, then one level, 281 in all.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from scdata._backend import backend
from scdata._blocks import I32, I64, Array

_TABLE = 1 << 14  # counts below this are looked up; larger ones are few


def n_levels(starts: Sequence[int], steps: Sequence[int]) -> int:
    """Number of levels; the last one holds every count from the last start on."""
    return sum((starts[i + 1] - starts[i]) // step for i, step in enumerate(steps)) + 1


def count_levels(counts: Array, starts: Sequence[int], steps: Sequence[int]) -> I32:
    """Level of each count.

    Parameters
    ----------
    counts
        Integers ≥ 0, any shape; on the CPU or on a device.
    starts
        Rising counts from 0: where each stretch starts. The last one starts the last level.
    steps
        One fewer: how many counts a level of each stretch holds; divides the stretch.

    Returns
    -------
    int32 of the same shape, from 0 to ``n_levels(starts, steps) − 1``.

    Examples
    --------
    >>> count_levels(np.array([0, 99, 100, 109, 110, 9999, 10000]), (0, 100, 1000, 10000), (1, 10, 100)).tolist()
    [0, 99, 100, 100, 101, 279, 280]
    """
    xp = backend(counts)
    table = xp.asarray(_table(tuple(starts), tuple(steps)))
    if len(table) > starts[-1]:
        return table[xp.minimum(counts, starts[-1])]
    levels = table[xp.minimum(counts, len(table) - 1)]
    large = counts >= len(table)
    levels[large] = _formula(counts[large], starts, steps)
    return levels


def decode_levels(levels: Array, starts: Sequence[int], steps: Sequence[int]) -> I64:
    """The lowest count of each level.

    Parameters
    ----------
    levels
        Integers, any shape; on the CPU or on a device.
    starts, steps
        As `count_levels`.

    Returns
    -------
    int64 of the same shape; −1 (padding, a gene that was not measured) stays.

    Raises
    ------
    ValueError
        If a level is below −1 or over the last one, as a mask id is.
    """
    xp = backend(levels)
    last = n_levels(starts, steps) - 1
    if levels.size and not -1 <= int(levels.min()) <= int(levels.max()) <= last:
        raise ValueError(f"levels from {int(levels.min())} to {int(levels.max())}: there are 0 to {last}, and -1")
    lowest = [xp.arange(starts[i], starts[i + 1], step, dtype=xp.int64) for i, step in enumerate(steps)]
    return xp.concatenate([*lowest, xp.array([starts[-1], -1], xp.int64)])[levels]


@cache
def _table(starts: tuple[int, ...], steps: tuple[int, ...]) -> I32:
    table = _formula(np.arange(min(starts[-1] + 1, _TABLE)), starts, steps)
    table.setflags(write=False)
    return table


def _formula(counts: Array, starts: Sequence[int], steps: Sequence[int]) -> I32:
    xp = backend(counts)
    bounds = [n_levels(starts[: i + 1], steps[:i]) - 1 for i in range(len(starts))]  # first level of each stretch
    stretch = xp.searchsorted(xp.array(starts), counts, side="right") - 1
    within = (counts - xp.array(starts)[stretch]) // xp.array([*steps, np.iinfo(np.int64).max])[stretch]
    return (xp.array(bounds)[stretch] + within).astype(xp.int32)
