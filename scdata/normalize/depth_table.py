"""How often each normalized value stands in cells of each read depth: the table that bin edges are fitted from.

Cells fall in 256 fine steps of log10 total counts, their non-zero values in 2,048 fine steps of ln(1 + x / n · target_sum).
The table holds integers, so parts add up to the same in any order; the steps are found by comparing with borders made of
integers, square roots and products, so every machine finds the same. Joining fine depth steps into strata, and reading
quantiles off a stratum's values, needs no further pass over the cells (`scdata.normalize.edge_fit`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from scdata._backend import backend, beside, per_entry
from scdata._blocks import I32, I64
from scdata.normalize.exact_sums import counts_by_key
from scdata.normalize.library_size import F64, normalize_total

DEPTH_STEPS, VALUE_STEPS = 256, 2048
_STEPS_A_DECADE, _LOWEST = 40, 10


@cache
def depth_borders() -> I64:
    """int64 (255,): the total counts at which each fine depth step but the first begins, ⌈10^(1 + i/40)⌉ for i from 1.

    40 steps a decade are 6 % each. Cells below 10 counts are in the first step, those above 2.4·10⁷ in the last.
    """
    lowest = _LOWEST**_STEPS_A_DECADE
    borders = [_root_up(lowest * 10**i) for i in range(1, DEPTH_STEPS)]
    out = np.array(borders, np.int64)
    out.setflags(write=False)
    return out


def _root_up(power: int) -> int:
    """The least integer whose 40th power is at least `power`."""
    low, high = 0, 1 << (power.bit_length() // _STEPS_A_DECADE + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle**_STEPS_A_DECADE >= power else (middle, high)
    return high


@cache
def value_borders(target_sum: float) -> F64:
    """float64 (2047,): x / n · target_sum at which each fine value step but the first begins.

    Steps have equal width in ln(1 + value), from 0 to ln(1 + target_sum).
    """
    ratio = np.float64(1 + target_sum)
    for _ in range(VALUE_STEPS.bit_length() - 1):
        ratio = np.sqrt(ratio)
    # products one after the other: a power function is not the same on every processor
    out = np.multiply.accumulate(np.full(VALUE_STEPS - 1, ratio)) - 1
    out.setflags(write=False)
    return out


@cache
def _closed_borders(target_sum: float) -> F64:
    return np.concatenate(([0.0], value_borders(target_sum), [np.inf]))


@dataclass(frozen=True)
class DepthTable:
    """Counts of non-zero values and of cells.

    Parameters
    ----------
    values
        int64 (256, 2048): non-zero values of each fine value step, in cells of each fine depth step.
    cells
        int64 (256,): cells of each fine depth step that have counts.
    target_sum
        What totals are scaled to.
    """

    values: I64
    cells: I64
    target_sum: float = 1e4

    @staticmethod
    def of(indptr: I64, counts: I32, total: I64, target_sum: float = 1e4) -> "DepthTable":
        """Table of some cells.

        Parameters
        ----------
        indptr, counts
            int64 (C+1,), int32 (T,) ≥ 1; on the CPU or on a device. The result is on the CPU.
        total
            int64 (C,), on the same machine: the denominator n of each cell; 0 only where a cell has no counts. Such cells
            are not counted.
        target_sum
            What totals are scaled to. A value above it, of a total that is less than the count, is in the last step.
        """
        xp = backend(counts)
        depth = xp.searchsorted(beside(counts, depth_borders()), total, side="right")
        step = value_step(normalize_total(indptr, counts, total, target_sum), target_sum)
        values = counts_by_key(per_entry(depth * VALUE_STEPS, indptr) + step, DEPTH_STEPS * VALUE_STEPS)
        cells = counts_by_key(depth[total > 0], DEPTH_STEPS)
        return DepthTable(values.reshape(DEPTH_STEPS, VALUE_STEPS), cells, target_sum)

    @staticmethod
    def merge(parts: "Sequence[DepthTable]") -> "DepthTable":
        """The table of all cells of all parts, in any order; at least one part, all of one target sum."""
        target_sum = parts[0].target_sum
        if any(part.target_sum != target_sum for part in parts):
            raise ValueError(f"tables of target sums {sorted({part.target_sum for part in parts})} do not add up")
        values, cells = np.zeros((DEPTH_STEPS, VALUE_STEPS), np.int64), np.zeros(DEPTH_STEPS, np.int64)
        for part in parts:
            values += part.values
            cells += part.cells
        return DepthTable(values, cells, target_sum)


def value_step(values: F64, target_sum: float) -> I64:
    """int64 (T,): fine step of each x / n · target_sum: how many `value_borders` are at or below it."""
    xp = backend(values)
    borders = beside(values, _closed_borders(target_sum))
    lower, upper = borders[:-1], borders[1:]
    # the logarithm guesses the step to within one, comparison decides it
    guess = xp.log1p(values) * (VALUE_STEPS / np.log1p(target_sum))
    step = xp.minimum(guess, VALUE_STEPS - 1).astype(xp.int64)
    step += values >= upper[step]
    step -= values < lower[step]
    return step
