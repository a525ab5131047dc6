"""Sections on the cells of a set; `key` makes ids of the page unique."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scdata.report import figures
from scdata.report.composition import MOST_ROWS
from scdata.report.markup import Html, head, number, prose, share, short, table, tag, word
from scdata.report.set_numbers import SetNumbers
from scdata.shard.block import COUNTS
from scdata.shard.roles import roles_of

NO_CELLS = "There are no cells."


def unit(numbers: SetNumbers) -> str:
    """What a cell has some of."""
    return "genes" if numbers.table["encoding"] == COUNTS else "tokens"


def composition(numbers: SetNumbers, key: str) -> Iterator[Html]:
    """Every column of few values, and a line on each column of numbers."""
    own = numbers.table
    yield tag("p", f"All {own['n_cells']:,} cells are counted here. Every obs column of few values has a table.")
    alike = [column for column in own["columns"] if len(column["rows"]) == 1]
    parts = [_column(column, own) for column in own["columns"] if len(column["rows"]) > 1]
    if alike:
        rows = [[head(column_name(column)), word(column["rows"][0]["value"])] for column in alike]
        parts.append(table("The same in all cells", ["column", "value"], rows))
    if own["numbers"]:
        rows = [
            [head(row["name"]), number(row["cells"]), number(row["null"]),
             *(number(row[what], 2) for what in ("min", "median", "mean", "max"))]
            for row in own["numbers"]
        ]  # fmt: skip
        names = ["column", "values", "null", "min", "median", "mean", "max"]
        parts.append(table("obs columns of numbers", names, rows))
    yield tag("div", *parts, class_="parts")
    if (roles := roles_of(own)) is not None:
        yield tag("p", short(roles.line(), 400))
    if own["obs_left_out"]:
        left_out = ", ".join(map(short, own["obs_left_out"]))
        yield tag("p", f"Left out by the build, because they have too many values: {left_out}.", class_="soft")


def column_name(column: Mapping[str, Any]) -> str:
    """A column as the page calls it: the source may have one that is called as ours is."""
    return f"{column['name']} (obs)" if column["of_obs"] and column["name"] == "dataset" else str(column["name"])


def _column(column: Mapping[str, Any], own: Mapping[str, Any]) -> Html:
    splits: list[str] = list(own["splits"])
    rows = column["rows"]
    several = len(splits) > 1
    cells = [
        [
            head(row["value"]),
            number(row["cells"]),
            share(row["cells"], own["n_cells"]),
            *(number(row["splits"][split]) for split in splits if several),
        ]
        for row in rows
    ]
    name = column_name(column)
    told = f"{short(name, 60)}: {column['n_values']:,} value{'s' * (column['n_values'] != 1)}"
    if column["n_values"] > MOST_ROWS:
        told += f", the {MOST_ROWS} of most cells"
    return table(told, [short(name, 40), "cells", "share", *(splits if several else ())], cells)


def depth(numbers: SetNumbers, key: str) -> Iterator[Html]:
    """Counts and genes of a cell."""
    own, what = numbers.table, unit(numbers)
    if not own["depths"]:
        yield tag("p", NO_CELLS)
        return
    n, n_cells = own["n_cells_of_depths"], own["n_cells"]
    of = "all cells" if n == n_cells else f"a fair sample of {n:,} of {n_cells:,} cells"
    yield tag("p", f"On average {own['means']['counts']:,.1f} counts (of all genes of the source) and "
              f"{own['means']['tokens']:,.1f} {what} a cell, over all cells. Quantiles are of {of}.")  # fmt: skip
    rows = [
        [head("all cells" if row["dataset"] is None else row["dataset"]), number(row["cells"]),
         *(number(row[of][i]) for of in ("counts", "tokens") for i in (2, 0, 4))]
        for row in own["depths"]
    ]  # fmt: skip
    names = ["dataset", "cells", *(f"{of} {q}" for of in ("counts,", f"{what},") for q in ("median", "5 %", "95 %"))]
    told = f"Counts and {what} of a cell"
    if len(own["depths"]) > MOST_ROWS:
        told += f": the {MOST_ROWS} datasets of most cells"
    yield tag("div", figures.depths(own["depths"], what, f"{key}-depth"), table(told, names, rows), class_="parts")


def genes(numbers: SetNumbers, key: str) -> Iterator[Html]:
    """Which genes are measured and detected."""
    own = numbers.table["genes"]
    told = (
        f"{own['n']:,} genes: {own['measured_everywhere']:,} were measured in every cell, {own['measured_nowhere']:,} in none; "
        f"{own['never_detected']:,} were measured and never detected."
    )
    if unit(numbers) == "tokens":
        told += " Detected means: stands among the tokens, after the preset's choice and cut."
    yield tag("p", told)
    parts = [figures.detection(own["histogram"], f"{key}-detection")] if any(own["histogram"]) else []
    for title, rows in (
        ("Most detected genes", own["most_detected"]),
        ("Least detected genes, of those that were measured", own["least_detected"]),
        ("Least measured genes", own["least_measured"]),
    ):
        if rows:
            parts.append(_genes(title, rows, numbers.table["n_cells"]))
    yield tag("div", *parts, class_="parts")


def _genes(title: str, rows: Sequence[Mapping[str, Any]], n_cells: int) -> Html:
    counts = rows[0]["counts"] is not None
    cells = [
        [
            head(row["gene"]),
            number(row["detected"]),
            share(row["detected"], row["measured"]),
            number(row["measured"]),
            *([number(row["counts"])] if counts else ()),
            word(row["id"]),
        ]
        for row in rows
    ]
    names = ["gene", "detected in", "share", "measured in", *(["counts"] if counts else ()), "id"]
    return table(title, names, cells)


def variable(numbers: SetNumbers, key: str) -> Iterator[Html]:
    """Variable genes, or the command that finds them."""
    found = numbers.variable
    if isinstance(found, str):
        yield tag("p", prose(found))
        return
    batches = (
        "all cells as one batch" if found.batch_key is None else f"mean over the batches of {short(found.batch_key)}"
    )
    rows = [
        [head(row["gene"]), number(row["variance"], 3), number(row["mean"], 3), word(row["id"])] for row in found.listed
    ]
    listed = table(f"Most variable genes ({batches})", ["gene", "normalized variance", "mean count", "id"], rows)
    yield tag("div", figures.variable(found, f"{key}-variable"), listed, class_="parts")


def cells(numbers: SetNumbers, key: str) -> Iterator[Html]:
    """A few cells with gene symbols."""
    found = numbers.table["cells"]
    if not found:
        yield tag("p", NO_CELLS)
        return
    columns = list(found[0]["obs"])
    rows = [
        [head(row["cell_id"]), word(row["top"], "wide"), number(row["total_counts"]), number(row["n_tokens"]),
         word(row["dataset"]), *(word(row["obs"][name]) for name in columns)]
        for row in found
    ]  # fmt: skip
    names = ["cell", "first genes", "counts", unit(numbers), "dataset", *(short(name, 40) for name in columns)]
    yield table(
        f"The first {len(found)} cells of {short(found[0]['split'], 60)}, as they stand in the shards", names, rows
    )
