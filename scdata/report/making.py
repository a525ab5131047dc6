"""Sections on how a set came about: what was left out, splits, manifest; and its main numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from scdata.report.composition import MOST_ROWS, apart
from scdata.report.content import column_name, unit
from scdata.report.leaks import leak_lines
from scdata.report.markup import Html, head, number, share, short, table, tag, word
from scdata.report.set_numbers import SetNumbers


def dropped(numbers: SetNumbers, key: str) -> Iterator[Html]:
    """What became of the cells that were read."""
    own = numbers.table
    n_read, n = own["n_cells_read"], own["n_cells"]
    yield tag("p", f"{n_read:,} cells were read, {n:,} are in the set, {n_read - n:,} were left out.")
    reasons: dict[str, list[int]] = {}
    for row in own["drops"]:
        for reason, n_cells in row["dropped"].items():
            reasons.setdefault(reason, []).append(n_cells)
    if not reasons:
        return
    by_reason = [[head(reason), number(sum(ns)), share(sum(ns), n_read), number(len(ns))]
                 for reason, ns in sorted(reasons.items(), key=lambda item: -sum(item[1]))]  # fmt: skip
    worst = sorted(own["drops"], key=lambda row: (row["kept"] - row["read"], row["dataset"]))[:MOST_ROWS]
    by_dataset = [
        [
            head(row["dataset"]),
            number(row["read"]),
            number(row["kept"]),
            number(row["read"] - row["kept"]),
            share(row["read"] - row["kept"], row["read"]),
        ]
        for row in worst
    ]
    more = f": the {MOST_ROWS} that lost most" if len(own["drops"]) > MOST_ROWS else ""
    yield tag(
        "div",
        table("Left out, by reason", ["reason", "cells", "of those read", "datasets"], by_reason),
        table(f"Left out, by dataset{more}", ["dataset", "read", "kept", "left out", "share"], by_dataset),
        class_="parts",
    )


def splits(numbers: SetNumbers, key: str) -> Iterator[Html]:
    """Sizes of splits, how alike they are, and what stands in several."""
    own = numbers.table
    rows = [
        [head(name), number(split["n_cells"]), share(split["n_cells"], own["n_cells"]), number(split["n_tokens"]),
         number(split["n_shards"]), number(split["bytes"] / 1e6, 1)]
        for name, split in own["splits"].items()
    ]  # fmt: skip
    sizes = table("Splits", ["split", "cells", "share", unit(numbers), "shards", "MB"], rows)
    distances = [
        [head(column["name"]), word(one["split"]), number(one["distance"], 4), number(one["by_chance"], 4)]
        for column in own["columns"]
        for one in column["balance"]
        if column["n_values"] > 1 and len(own["splits"]) > 1
    ]
    told = "Balance: how far a split's values are from those of all cells (total variation distance, 0 alike, 1 nothing shared)"
    parts = [sizes]
    if distances:
        parts.append(table(told, ["column", "split", "distance", "of a random split"], distances))
    yield tag("div", *parts, class_="parts")
    lines = [short(line, 400) for line in leak_lines({"duplicates": own["duplicates"], "groups": own["groups"]})]
    if own["duplicates"] is None:
        lines.append(
            "The set does not say whether cells are copies of others: it was built before that was looked for."
        )
    elif not own["duplicates"]["copies"]:
        lines.append(f"No cell of {own['duplicates']['min_genes']} genes or more is a copy of another one.")
    yield tag("ul", *(tag("li", line) for line in lines))


def manifest(numbers: SetNumbers, key: str) -> Iterator[Html]:
    """What it was made from, how, and its hashes."""
    own = numbers.table
    rows = [[head(source["name"]), word(", ".join(source["organisms"])), number(source["n_obs"]),
             number(source["n_genes_mapped"]), number(source["n_genes"])]
            for source in own["sources"][:MOST_ROWS]]  # fmt: skip
    parts = [table(_more("Sources", own["sources"]), ["source", "species", "cells", "genes mapped", "of"], rows)]
    titles = [dataset for source in own["sources"] for dataset in source["datasets"]]
    if titles:
        told = [
            [
                head(one.get("title", one["id"])),
                word(one.get("collection", "")),
                word(one.get("doi", one.get("citation", ""))),
            ]
            for one in titles[:MOST_ROWS]
        ]
        parts.append(table(_more("Datasets of the Census", titles), ["title", "collection", "to cite"], told))
    hashes = [(name, own[name]) for name in ("manifest_sha256", "content_hash", "genes_sha256", "vocab_sha256")]
    parts.append(_pairs("Hashes", hashes))
    parts.append(_pairs("Options of scdata build", sorted(own["config"].items())))
    parts.append(_pairs("Versions that built it", sorted(own["libraries"].items())))
    yield tag("div", *parts, class_="parts")


def _more(name: str, rows: Sequence[Any]) -> str:
    return name if len(rows) <= MOST_ROWS else f"{name}: the first {MOST_ROWS} of {len(rows):,}"


def _pairs(caption: str, pairs: Sequence[tuple[str, Any]]) -> Html:
    rows = [[head(name), tag("td", tag("span", short(value), class_="code"))] for name, value in pairs]
    return table(caption, ["name", "value"], rows, sortable=False)


def differences(every: Sequence[SetNumbers], names: Sequence[str]) -> Html | None:
    """How far two sets are from each other, in the columns that both have; None: they share none, or there is one set."""
    if len(every) < 2 or not (found := apart(*(one.table["columns"] for one in every))):
        return None
    rows = [
        [head(column_name(row)), number(row["distance"], 4), number(row["shared"]), number(row["only_first"]),
         number(row["only_second"])]
        for row in found
    ]  # fmt: skip
    caption = (
        "How far apart they are: columns of both (total variation distance of their cells, 0 alike, 1 nothing shared)"
    )
    heads = ["column", "distance", "values of both", *(f"only {short(name, 40)}" for name in names)]
    return table(caption, heads, rows)


def glance(every: Sequence[SetNumbers], names: Sequence[str]) -> Html:
    """The main numbers of all sets, a column each."""
    tables = [one.table for one in every]
    what = unit(every[0]) if len({unit(one) for one in every}) == 1 else "genes or tokens"

    def median(own: Mapping[str, Any], of: str) -> Html:
        return number(own["depths"][0][of][2] if own["depths"] else None)

    def n_bytes(own: Mapping[str, Any]) -> int:
        return sum(int(split["bytes"]) for split in own["splits"].values())

    def sizes(own: Mapping[str, Any]) -> Html:
        return word(", ".join(f"{name} {split['n_cells']:,}" for name, split in own["splits"].items()), "right")

    shown: dict[str, Callable[[Mapping[str, Any]], Html]] = {
        "cells": lambda own: number(own["n_cells"]),
        "genes of the set": lambda own: number(own["n_genes"]),
        "tokenizer": lambda own: word(own["tokenizer"], "right"),
        "datasets": lambda own: number(own["columns"][0]["n_values"]),
        "splits": sizes,
        "counts of a cell, median": lambda own: median(own, "counts"),
        f"{what} of a cell, median": lambda own: median(own, "tokens"),
        "counts in the vocabulary": lambda own: share(own["vocab_counts"], own["total_counts"]),
        "cells left out": lambda own: share(own["n_cells_read"] - own["n_cells"], own["n_cells_read"]),
        "MB": lambda own: number(n_bytes(own) / 1e6, 1),
        "bytes a cell": lambda own: number(n_bytes(own) / max(1, own["n_cells"])),
    }
    rows = [[head(name), *map(of, tables)] for name, of in shown.items()]
    return table("The main numbers", ["number", *names], rows, sortable=False)
