"""Statistics phase: what a tokenizer is fitted from, as integers that merge in any order."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from scdata.build.plan import Plan, load_plan
from scdata.build.reading import read_mapped
from scdata.normalize.library_size import library_size
from scdata.normalize.medians import ValueHistogram
from scdata.shard.files import read_arrow, write_arrow, write_json
from scdata.source import CountSource
from scdata.tokens.tokenizer import Tokenizer

FITTED = "fitted.json"
_PARTS = 32  # histograms held before they are merged


def needs_statistics(tokenizer: Tokenizer) -> bool:
    """True if the tokenizer has something to fit and is not fitted."""
    return tokenizer.preset.needs_medians and tokenizer.medians is None


def statistics_path(scratch: Path, task: int) -> Path:
    return scratch / f"statistics-{task:06d}.arrow"


def statistics_task(folder: Path, scratch: Path, sources: Sequence[CountSource], number: int) -> dict[str, Any]:
    """Histogram of the values of each gene over the cells of one task; the file is the mark that it is done."""
    plan = load_plan(folder)
    task = plan.tasks[number]
    parts: list[ValueHistogram] = []
    for cells in read_mapped(plan, sources, task, plan.genes.vocab_index):
        total = plan.tokenizer.denominator(
            cells.total_counts, library_size(cells.indptr, cells.counts), cells.columns()
        )
        parts.append(ValueHistogram.of(cells.indptr, cells.genes, cells.counts, total))
        if len(parts) == _PARTS:
            parts = [ValueHistogram.merge(parts)]
    histogram = ValueHistogram.merge(parts)
    write_arrow(statistics_path(scratch, number), pa.table({"key": histogram.key, "count": histogram.count}))
    return {"cells": task.stop - task.start}


def fit(plan: Plan, scratch: Path) -> None:
    """Merge the histograms of all tasks and write the fitted tokenizer beside the plan."""
    histogram = ValueHistogram.merge([])
    for number in range(len(plan.tasks)):
        table = read_arrow(statistics_path(scratch, number))
        own = ValueHistogram(table["key"].to_numpy(), table["count"].to_numpy())
        histogram = ValueHistogram.merge([histogram, own])
    medians = histogram.medians(len(plan.tokenizer.genes().feature_ids))
    write_json(plan.path / FITTED, dataclasses.replace(plan.tokenizer, medians=medians).to_json())


def fitted_tokenizer(plan: Plan) -> Tokenizer:
    """The tokenizer that shards are written with: the plan's, or the one fitted since."""
    if not needs_statistics(plan.tokenizer):
        return plan.tokenizer
    path = plan.path / FITTED
    return Tokenizer.from_json(json.loads(path.read_text()), str(path))
