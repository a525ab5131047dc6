"""What a set is made of: values of obs columns by split, and how deep the cells of each dataset were sequenced."""

from typing import Any

import numpy as np

from scdata._blocks import I64, Array
from scdata.report.tally import NumberColumn, Tally
from scdata.shard.shard_set import ShardSet

MOST_ROWS = 200  # values of a column, and datasets, that are listed: the most frequent
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def columns_of(shards: ShardSet, found: Tally) -> list[dict[str, Any]]:
    """Every obs column of few values, ``dataset`` first.

    Returns
    -------
    list of dict
        ``name``, ``of_obs`` (False: ``dataset``, which is ours), ``n_values`` (that occur, null aside), ``rows`` (``value``,
        None for null; ``cells``; ``splits``: cells of each) by falling number of cells, ``balance`` (see `balance`).
    """
    out = [_column("dataset", shards.datasets, _by_name(shards.datasets, found.cells), shards.splits)]
    out[0]["of_obs"] = False
    for column in shards.manifest["obs"]:
        name = column["name"]
        if name in found.categories:
            values, table = [*shards.categories[name], None], found.categories[name]
        elif counts := found.numbers[name].counts:
            known = sorted(counts)
            is_bool = column["dtype"] == "uint8" and set(known) <= {0, 1}
            values = [*(str(bool(value)).lower() if is_bool else str(value) for value in known), None]
            table = np.stack([*(counts[value] for value in known), found.numbers[name].null], axis=1)
        else:
            continue
        out.append({**_column(name, values, table, shards.splits), "of_obs": True})
    return out


def _by_name(names: list[str], cells: I64) -> I64:
    """The same with the cells of datasets of one name at the first of them."""
    out = np.zeros_like(cells)
    for i, name in enumerate(names):
        out[:, names.index(name)] += cells[:, i]
    return out


def _column(name: str, values: list[Any], table: I64, splits: list[str]) -> dict[str, Any]:
    total = table.sum(axis=0)
    order = np.lexsort((np.arange(len(total)), -total))
    order = order[total[order] > 0]
    rows = [
        {"value": values[i], "cells": int(total[i]), "splits": dict(zip(splits, table[:, i].tolist(), strict=True))}
        for i in order[:MOST_ROWS].tolist()
    ]
    n_values = sum(values[i] is not None for i in order.tolist())
    return {"name": name, "n_values": n_values, "rows": rows, "balance": balance(table, splits)}


def balance(table: I64, splits: list[str]) -> list[dict[str, Any]]:
    """How far the values of each split are from those of the whole set.

    Parameters
    ----------
    table
        int64 (S, K): cells by split and value.

    Returns
    -------
    list of dict
        For each split that has cells: ``split``, ``distance`` (total variation distance between its distribution and that of
        all cells, 0: the same, 1: nothing in common), and ``by_chance``: what a split of as many cells drawn at random is
        expected to have (normal approximation of the hypergeometric distribution).
    """
    total = table.sum(axis=0)
    n = int(total.sum())
    out = []
    for split, own in zip(splits, table, strict=True):
        if not (size := int(own.sum())):
            continue
        p = total / n
        sd = np.sqrt(p * (1 - p) / size * (n - size) / max(1, n - 1))
        out.append(
            {
                "split": split,
                "distance": float(np.abs(own / size - p).sum() / 2),
                "by_chance": float(np.sqrt(2 / np.pi) * sd.sum() / 2),
            }
        )
    return out


def apart(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How far two sets are from each other, column by column.

    Parameters
    ----------
    first, second
        From `columns_of`. A column that one of the sets lacks, or that has more values than are listed, is left out.

    Returns
    -------
    list of dict
        ``name``, ``distance`` (total variation distance between the values of their cells), ``shared`` (values of both),
        ``only_first``, ``only_second``.
    """
    out = []
    others = {(column["name"], column["of_obs"]): column for column in second}
    for column in first:
        other = others.get((column["name"], column["of_obs"]))
        if other is None or max(column["n_values"], other["n_values"]) > MOST_ROWS:
            continue
        p, q = ({row["value"]: row["cells"] for row in one["rows"]} for one in (column, other))
        n, m = max(1, sum(p.values())), max(1, sum(q.values()))
        out.append(
            {
                "name": column["name"],
                "of_obs": column["of_obs"],
                "distance": sum(abs(p.get(value, 0) / n - q.get(value, 0) / m) for value in {*p, *q}) / 2,
                "shared": len({*p} & {*q}),
                "only_first": len({*p} - {*q}),
                "only_second": len({*q} - {*p}),
            }
        )
    return out


def numbers_of(found: Tally) -> list[dict[str, Any]]:
    """Every obs column of many numbers: ``name``, ``cells``, ``null``, ``min``, ``median``, ``mean``, ``max``."""
    return [
        {"name": name, "cells": column.n, "null": int(column.null.sum()), **_summary(column)}
        for name, column in found.numbers.items()
        if not column.counts
    ]


def _summary(column: NumberColumn) -> dict[str, float | None]:
    if not column.n:
        return dict.fromkeys(("min", "median", "mean", "max"))
    sample = np.concatenate(column.sample)
    median = float(np.nanmedian(sample)) if not np.isnan(sample).all() else None
    found = {"min": column.low, "median": median, "mean": column.total / column.n, "max": column.high}
    return {key: value if value is not None and np.isfinite(value) else None for key, value in found.items()}


def depths_of(shards: ShardSet, found: Tally) -> list[dict[str, Any]]:
    """Counts and genes of a cell, of all cells (``dataset`` None) and by dataset, those of most cells first.

    Returns
    -------
    list of dict
        ``dataset``, ``cells``, and for each of ``counts`` (all genes of the source) and ``tokens`` (of the set: expressed
        genes, for a set of counts) the quantiles at 5, 25, 50, 75 and 95 %.
    """
    if not found.n_cells:
        return []
    out = [{"dataset": None, "cells": found.n_cells, **_quantiles(found, slice(None))}]
    total = found.cells.sum(axis=0)
    order = np.lexsort((np.arange(len(total)), -total))
    for code in order[total[order] > 0][:MOST_ROWS].tolist():
        own = np.flatnonzero(found.dataset == code)
        if len(own):
            entry = {"dataset": shards.datasets[code], "cells": int(total[code]), **_quantiles(found, own)}
            out.append(entry)
    return out


def _quantiles(found: Tally, which: "slice | I64") -> dict[str, list[float]]:
    def of(values: Array) -> list[float]:
        return [float(q) for q in np.quantile(values[which], _QUANTILES)]

    return {"counts": of(found.total_counts), "tokens": of(found.n_tokens)}


def means_of(found: Tally, manifest: Any) -> dict[str, float]:
    """Means over all cells, from sums of the manifest."""
    n = max(1, int(manifest["n_cells"]))
    tokens = sum(split["n_tokens"] for split in manifest["splits"].values())
    return {"counts": manifest["total_counts"] / n, "tokens": tokens / n}
