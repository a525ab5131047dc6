"""Scores as points: a line for each representation and probe, a point for each split."""

import re
from collections import Counter
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .table import row_names


def draw(scores: pd.DataFrame, table: pd.DataFrame, metric: str, title: str, path: Path) -> None:
    """Draw a panel for each way of splitting, rows in the order of `table` (`tasks.table.summarize`), as a PNG."""
    names = short_names(scores)
    hows = list(dict.fromkeys(table["how"]))
    figure = Figure(figsize=(5.5 * len(hows) + 1, 1.6 + 0.3 * table.groupby("how").size().max()), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, how in zip(figure.subplots(1, len(hows), squeeze=False)[0], hows, strict=True):
        rows = table[table["how"] == how]
        for place, row in enumerate(rows.itertuples()):
            own = scores.query("how == @how and representation == @row.representation and probe == @row.probe")
            color = "0.45" if row.parameter_free else "tab:blue"
            axes.plot(own[metric], [place] * len(own), "o", color=color, alpha=0.4, markersize=5)
            axes.plot(getattr(row, metric), place, "|", color=color, markersize=16, markeredgewidth=2)
        labels = [names[row.representation, row.probe] for row in rows.itertuples()]
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.invert_yaxis()
        axes.set(xlabel=metric.replace("_", " "), title=how)
        axes.title.set_fontsize(9)
        axes.grid(alpha=0.25)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)


def short_names(scores: pd.DataFrame) -> dict[tuple[str, str], str]:
    """As `row_names`, for little room: without what kind of file it is, and a checkpoint by its folder and step
    (``"run, step 600 + kNN"``), unless two rows would have the same name."""
    whole = row_names(scores, longest=20)
    short = {row: _short(name) for row, name in whole.items()}
    times = Counter(short.values())
    return {row: name if times[name] == 1 else whole[row] for row, name in short.items()}


def _short(name: str) -> str:
    kind, _, rest = name.partition(":")
    path = (rest or kind).removeprefix("…/")
    return re.sub(r"/?checkpoint-0*(\d+)\.pt", r", step \1", path).removeprefix(", ")
