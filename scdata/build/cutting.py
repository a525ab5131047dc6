"""How the rows of a source are cut into tasks: about equal non-zeros of cells that are kept."""

from collections.abc import Iterator

import numpy as np

from scdata._blocks import Array
from scdata.build.plan import Task
from scdata.source import CountSource

SHARE_ROWS = 4096  # rows of a source whose share of kept cells is one number
_WINDOW_ROWS = 64 * SHARE_ROWS
# What a cell that is left out costs beside one that is kept: its obs are read
_LEFT_OUT = 0.02


def share_kept(mask: Array) -> Array:
    """float64: share of true cells in each `SHARE_ROWS` of them; the last part may be shorter."""
    starts = np.arange(0, len(mask), SHARE_ROWS)
    sizes = np.diff(np.append(starts, len(mask)))
    return np.add.reduceat(mask, starts, dtype=np.int64) / sizes


def cut_tasks(number: int, source: CountSource, nnz: float, share: Array, task_nnz: int) -> Iterator[Task]:
    """Ranges of rows, in order, that cover each row once.

    Parameters
    ----------
    number
        Of the source.
    nnz
        Its non-zeros, known or estimated: used where it does not tell them by row.
    share
        float64: share of its cells that are kept, from `share_kept`.
    task_nnz
        Non-zeros of a task, about.
    """
    total = sum(float(weight.sum()) for _, weight in _weights(source, nnz, share))
    n_tasks = max(1, round(total / task_nnz))
    start, held, goal = 0, 0.0, total / n_tasks or 1.0
    for first, weight in _weights(source, nnz, share):
        low, running = first, np.cumsum(weight)
        while len(running) and held + running[-1] >= goal:
            stop = min(low + int(np.searchsorted(running, goal - held)) + 1, source.n_obs)
            yield Task(number, start, stop)
            taken = running[stop - low - 1]
            running, start, low, held = running[stop - low :] - taken, stop, stop, 0.0
        held += float(running[-1]) if len(running) else 0.0
    if start < source.n_obs:
        yield Task(number, start, source.n_obs)


def _weights(source: CountSource, nnz: float, share: Array) -> Iterator[tuple[int, Array]]:
    """First row of each window, and what each of its rows costs, in non-zeros."""
    for first in range(0, source.n_obs, _WINDOW_ROWS):
        rows = slice(first, min(first + _WINDOW_ROWS, source.n_obs))
        own = source.row_nnz(rows)
        kept = np.repeat(share[first // SHARE_ROWS : -(-rows.stop // SHARE_ROWS)], SHARE_ROWS)[: rows.stop - first]
        yield first, np.maximum(kept, _LEFT_OUT) * (nnz / source.n_obs if own is None else own)
