"""Sections on what a trainer gets of a set: tokens, order, speed."""

from collections.abc import Iterator

from scdata.report import figures
from scdata.report.content import NO_CELLS
from scdata.report.markup import Html, head, number, prose, share, short, table, tag
from scdata.report.set_numbers import SetNumbers


def presets(numbers: SetNumbers, key: str) -> Iterator[Html]:
    """Lengths and bins by preset."""
    found = numbers.table["presets"]
    if not found:
        yield tag("p", NO_CELLS)
        return
    made = [preset for preset in found if "problem" not in preset]
    if made:
        yield tag("p", f"Made of {made[0]['cells']:,} cells, a fair sample of the largest split.")
        rows = [
            [
                head(preset["name"]),
                number(preset["context"]),
                number(preset["length"][2]),
                number(preset["length"][0]),
                number(preset["length"][4]),
                number(preset["at_context"])
                if preset["at_context"] is None
                else share(preset["at_context"], preset["cells"]),
                number(None if preset["bins"] is None else sum(map(bool, preset["bins"]))),
            ]
            for preset in made
        ]
        names = ["preset", "context", "tokens, median", "min", "max", "cells that fill the context", "bins that occur"]
        binned = [preset for preset in made if preset["bins"]]
        yield tag(
            "div",
            figures.lengths(made, f"{key}-lengths"),
            figures.bins(binned, f"{key}-bins") if binned else None,
            table("Tokens by preset", names, rows),
            class_="parts",
        )
    if problems := [preset for preset in found if "problem" in preset]:
        yield tag("p", "Not to be had from this set as it is:")
        yield tag("ul", *(tag("li", tag("b", preset["name"]), ": ", prose(preset["problem"])) for preset in problems))


def shuffle(numbers: SetNumbers, key: str) -> Iterator[Html]:
    """How well batches are mixed."""
    found = numbers.shuffle
    if isinstance(found, str):
        yield tag("p", prose(found))
        return
    told = (
        f"Batches of {found.batch_size} of {found.n_cells:,} cells over {found.epochs} epochs, by {found.n_labels} values of "
        f"{short(found.label, 60)}; scdata is the loader's own order, others are beside it."
    )
    yield tag("p", told)
    rows = [[head(one.order), *(number(getattr(one, what), digits) for what, digits in
                                (("entropy", 3), ("entropy_p5", 3), ("pairs", 2), ("neighbours", 2)))]
            for one in found.orders]  # fmt: skip
    names = ["order", "entropy", "5th percentile", "pairs", "neighbours"]
    yield tag(
        "div",
        figures.shuffle(found, f"{key}-shuffle"),
        table("Shuffle quality, over chance", names, rows),
        class_="parts",
    )


def throughput(numbers: SetNumbers, key: str) -> Iterator[Html]:
    """Cells per second."""
    found = numbers.table["throughput"]
    if "problem" in found:
        yield tag("p", found["problem"])
        return
    yield tag("p", f"ShardDataset in one process, batches of {found['batch_size']}, measured for a moment while this page was "
              f"made, on a machine of {found['cores']} cores; scdata bench measures longer.")  # fmt: skip
    rows = [[head(row["output"]), number(row["cells_s"]), number(row["cells_core_s"])] for row in found["outputs"]]
    yield table("Throughput", ["output", "cells/s", "cells per core-second"], rows)
