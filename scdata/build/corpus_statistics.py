"""Statistics phase: what a tokenizer is fitted from, as integers that merge in any order."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scdata._blocks import I32
from scdata._errors import BuildError
from scdata.build.plan import Plan, load_plan
from scdata.build.reading import MappedCells, read_mapped
from scdata.normalize.hvg_seurat_v3 import VarianceTrend, moments_below_clip
from scdata.normalize.library_size import library_size
from scdata.normalize.moments import GeneMoments
from scdata.shard.arrays import read_arrays, write_arrays
from scdata.shard.files import write_json
from scdata.source import CountSource
from scdata.tokens.corpus import (
    CorpusStatistics,
    FirstPass,
    Variability,
    Wanted,
    moments_from_arrays,
    moments_to_arrays,
)
from scdata.tokens.stored import tokenizer_from_json, tokenizer_to_json
from scdata.tokens.tokenizer import Tokenizer

FITTED, TREND = "fitted.json", "trend.arrow"
_PARTS = 32  # statistics of slices held before they are merged


def statistics_path(scratch: Path, task: int) -> Path:
    """First pass over the cells of a task."""
    return scratch / f"statistics-{task:06d}.arrow"


def clipped_path(scratch: Path, task: int) -> Path:
    """Second pass over the cells of a task."""
    return scratch / f"clipped-{task:06d}.arrow"


def statistics_task(folder: Path, scratch: Path, sources: Mapping[int, CountSource], number: int) -> dict[str, Any]:
    """First pass over the cells of one task; the file is the mark that it is done."""
    plan = load_plan(folder)
    wanted, n_genes = Wanted.by(plan.tokenizer), len(plan.tokenizer.genes().feature_ids)
    parts: list[FirstPass] = []
    for cells, batch in _cells(plan, sources, number):
        total = plan.tokenizer.denominator(
            cells.total_counts, library_size(cells.indptr, cells.counts), cells.columns()
        )
        parts.append(FirstPass.of(wanted, cells.indptr, cells.genes, cells.counts, total, n_genes, batch))
        if len(parts) == _PARTS:
            parts = [FirstPass.merge(parts)]
    write_arrays(statistics_path(scratch, number), FirstPass.merge(parts).arrays(), {})
    return {"cells": plan.tasks[number].stop - plan.tasks[number].start}


def clipped_task(folder: Path, scratch: Path, sources: Mapping[int, CountSource], number: int) -> dict[str, Any]:
    """Second pass of flavor ``seurat_v3`` over the cells of one task."""
    plan = load_plan(folder)
    trend = read_trend(folder / TREND)
    parts: list[GeneMoments] = []
    for cells, batch in _cells(plan, sources, number):
        parts.append(moments_below_clip(cells.indptr, cells.genes, cells.counts, trend, batch))
        if len(parts) == _PARTS:
            parts = [GeneMoments.merge(parts)]
    arrays = moments_to_arrays("below", GeneMoments.merge(parts)) if parts else {}
    write_arrays(clipped_path(scratch, number), arrays, {})
    return {"cells": plan.tasks[number].stop - plan.tasks[number].start}


def _cells(plan: Plan, sources: Mapping[int, CountSource], number: int) -> Iterator[tuple[MappedCells, I32 | None]]:
    """Cells of a task over the vocabulary's genes, and the code of each one's batch."""
    key = Wanted.by(plan.tokenizer).batch_key
    column = next((column for column in plan.obs_columns if column.name == key), None)
    for cells in read_mapped(plan, sources, plan.tasks[number], plan.genes.vocab_index):
        yield cells, None if column is None else column.encode(cells.obs[column.name]).astype(np.int32)


def first_pass(plan: Plan, scratch: Path) -> FirstPass:
    """The first pass over the whole corpus."""
    target_sum = Wanted.by(plan.tokenizer).target_sum
    parts: list[FirstPass] = []
    for number in range(len(plan.tasks)):
        parts.append(FirstPass.from_arrays(read_arrays(statistics_path(scratch, number))[0], target_sum))
        if len(parts) == _PARTS:
            parts = [FirstPass.merge(parts)]
    return FirstPass.merge(parts)


def batch_names(plan: Plan) -> tuple[str, ...] | None:
    """Names of batch codes; null, whose code is −1, is the last."""
    key = Wanted.by(plan.tokenizer).batch_key
    column = next((column for column in plan.obs_columns if column.name == key), None)
    return None if column is None or column.categories is None else (*column.categories, "null")


def write_trend(path: Path, trend: VarianceTrend) -> None:
    """Keep the trend of variances, which tasks of the second pass read."""
    arrays = {name: getattr(trend, name) for name in ("batches", "n_cells", "expressing", "mean", "sd")}
    write_arrays(path, arrays, {})


def read_trend(path: Path) -> VarianceTrend:
    """Read what `write_trend` wrote."""
    return VarianceTrend(**read_arrays(path)[0])


def fit_trend(plan: Plan, scratch: Path) -> None:
    """After the first pass of flavor ``seurat_v3``: what the second one needs of each gene, beside the plan."""
    first = first_pass(plan, scratch)
    _require_cells(first)
    assert first.moments is not None  # the flavor wants them
    write_trend(plan.path / TREND, VarianceTrend.fit(first.moments, batch_names(plan)))


def fit(plan: Plan, scratch: Path) -> Tokenizer:
    """Merge what all tasks found, write the fitted tokenizer beside the plan, and return it."""
    wanted, variance = Wanted.by(plan.tokenizer), None
    first = first_pass(plan, scratch)
    _require_cells(first)
    if wanted.second_pass:
        below = [
            moments_from_arrays("below", read_arrays(clipped_path(scratch, number))[0])
            for number in range(len(plan.tasks))
        ]
        merged = GeneMoments.merge([part for part in below if part is not None])
        variance = read_trend(plan.path / TREND).normalized_variance(merged)
    n_genes = len(plan.tokenizer.genes().feature_ids)
    place = np.full(n_genes, -1, np.int32)
    place[plan.genes.vocab_index] = plan.genes.vocab_index  # genes that no source has are not chosen
    own = Variability(variance, first.normalized, batch_names(plan))
    statistics = CorpusStatistics(n_genes, wanted.total, first.histogram, first.depth, {wanted.batch_key: own})
    found = statistics.fit(plan.tokenizer, place)
    write_json(plan.path / FITTED, tokenizer_to_json(found))
    return found


def _require_cells(first: FirstPass) -> None:
    parts = [part for part in (first.moments, first.normalized) if part is not None]
    n_cells = [int(part.n_cells.sum()) for part in parts]
    if first.depth is not None:
        n_cells.append(int(first.depth.cells.sum()))
    if first.histogram is not None:
        n_cells.append(int(first.histogram.count.sum()))
    if not any(n_cells):
        raise BuildError("no cell is left to fit the tokenizer to: every one was dropped")


def fitted_tokenizer(plan: Plan) -> Tokenizer:
    """The tokenizer that shards are written with: the plan's, or the one fitted since."""
    if not plan.tokenizer.unfitted:
        return plan.tokenizer
    path = plan.path / FITTED
    return tokenizer_from_json(json.loads(path.read_text()), str(path))
