"""A look at the counts of a corpus: which genes are common, and how many non-zeros there are."""

from collections.abc import Iterator, Sequence

import numpy as np

from scdata._blocks import I64
from scdata.build.genes import GeneGroups
from scdata.build.progress import Progress
from scdata.source import CountSource

_SAMPLE_SLICES, _SAMPLE_CELLS = 64, 256
_ROWS = 1 << 18  # rows whose numbers of non-zeros are held at once


def slices_of(sources: Sequence[CountSource], size: int) -> Iterator[tuple[int, slice]]:
    """The rows of all sources, in order, in slices of `size`, each with the number of its source."""
    for i, source in enumerate(sources):
        for start in range(0, source.n_obs, size):
            yield i, slice(start, min(start + size, source.n_obs))


def sample(
    sources: Sequence[CountSource], groups: GeneGroups, progress: Progress
) -> tuple[list[I64], list[I64], list[float]]:
    """Cells and counts of each gene of each group in a sample, and the non-zeros of each source (known or estimated)."""
    n_obs = [source.n_obs for source in sources]
    detected = [np.zeros(len(source.genes), np.int64) for source in groups.first]
    counts = [np.zeros(len(source.genes), np.int64) for source in groups.first]
    seen, known = np.zeros((len(sources), 2)), np.full(len(sources), np.nan)
    slices: dict[int, list[slice]] = {i: [] for i in range(len(sources))}
    for i, rows in sample_slices(n_obs, sum(n_obs), groups.of_source):
        slices[i].append(rows)
    with progress.phase("sample", sum(rows.stop - rows.start for own in slices.values() for rows in own)) as advance:
        for i, source in enumerate(sources):  # one after the other: few files are open at a time
            group = groups.of_source[i]
            for rows in slices[i]:
                block = source.read(rows)
                n_genes = len(detected[group])
                detected[group] += np.bincount(block.indices, minlength=n_genes)
                counts[group] += np.bincount(block.indices, weights=block.data, minlength=n_genes).astype(np.int64)
                seen[i] += len(block.data), block.n_cells
                advance(block.n_cells)
            if (nnz := _known_nnz(source)) is not None:
                known[i] = nnz
    mean = seen[:, 0].sum() / seen[:, 1].sum()
    guessed = np.where(seen[:, 1] > 0, seen[:, 0] / np.maximum(seen[:, 1], 1), mean) * n_obs
    return detected, counts, np.where(known > 0, known, guessed).tolist()


def _known_nnz(source: CountSource) -> float | None:
    """The non-zeros of a source, where it tells cheaply."""
    total = 0
    for _, rows in slices_of([source], _ROWS):
        own = source.row_nnz(rows)
        if own is None:
            return None
        total += int(own.sum())
    return float(total)


def sample_slices(n_obs: Sequence[int], n_total: int, groups: Sequence[int]) -> list[tuple[int, slice]]:
    """Slices of sources, spread over all cells; each group of sources with equal genes has at least one."""
    if n_total <= _SAMPLE_SLICES * _SAMPLE_CELLS:
        starts, size = np.arange(0, n_total, 4096), 4096
    else:
        starts = np.linspace(0, n_total - _SAMPLE_CELLS, _SAMPLE_SLICES).astype(np.int64)
        size = _SAMPLE_CELLS
    base = np.concatenate(([0], np.cumsum(n_obs)))
    out = []
    for start in starts.tolist():
        for i in range(len(n_obs)):
            low, high = max(start, int(base[i])), min(start + size, int(base[i + 1]))
            if low < high:
                out.append((i, slice(low - int(base[i]), high - int(base[i]))))
    sampled = {groups[i] for i, _ in out}
    for i, n in enumerate(n_obs):
        if n and groups[i] not in sampled:  # small among large ones: its columns must be chosen too
            out.append((i, slice(0, min(n, _SAMPLE_CELLS))))
            sampled.add(groups[i])
    return out
