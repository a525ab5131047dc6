"""Figures as SVG inside a page: they take its colours, light or dark, and their text stays text."""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from scdata._optional import need
from scdata.report.markup import Html, escaped, short, tag
from scdata.report.variable import VariableGenes
from scdata.stream.shuffle_quality import ShuffleQuality

MOST_DATASETS = 20  # that are drawn; the table beside has more
# what matplotlib writes, and what stands for it in the page
_INK, _FIRST, _SECOND, _GRID = "#0a0001", "#0a0002", "#0a0003", "#0a0004"
_IN_PAGE = {_INK: "currentColor", _FIRST: "var(--first)", _SECOND: "var(--second)", _GRID: "var(--grid)"}
_WIDTH = 4.6  # inches: read without zoom on a phone
_GRID_OF_POINTS = (300, 200)  # points of a scatter plot that would lie on each other are drawn once


@contextmanager
def _drawing(key: str, height: float) -> Iterator[Any]:
    need("matplotlib", "draw the figures of a report")
    import matplotlib
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": key,
        "path.simplify": False,
        "font.size": 9,
        "text.parse_math": False,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _INK,
        "axes.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.formatter.use_mathtext": False,
        "grid.color": _GRID,
        "grid.linewidth": 0.6,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the reader's browser has it
        yield Figure(figsize=(_WIDTH, height), layout="constrained")


def _inline(figure: Any, key: str, title: str, told: str) -> Html:
    """The figure as an element of the page.

    Parameters
    ----------
    key
        Unique in the page.
    title, told
        Its name, and what it shows, for those who do not see it.
    """
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    found = re.search(r'<svg [^>]*viewBox="([0-9. ]+)"[^>]*>', text)
    assert found is not None  # matplotlib writes one
    body = text[found.end() : text.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", body)
    for there, here in _IN_PAGE.items():
        body = body.replace(there, here)
    labels = f'role="img" aria-labelledby="{escaped(key)}-t {escaped(key)}-d"'
    names = tag("title", title, id=f"{key}-t") + tag("desc", told, id=f"{key}-d")
    svg = Html(f'<svg viewBox="{found.group(1)}" {labels}>{names}{body}</svg>')
    return tag("figure", svg, tag("figcaption", title))


def _log(axes: Any, which: str) -> None:
    """A logarithmic axis whose labels are plain numbers, because formulas are not typeset: names are other people's."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(numticks=5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def depths(table: Sequence[Mapping[str, Any]], unit: str, key: str) -> Html:
    """Intervals of counts and genes of a cell, one line a dataset."""
    rows = [row for row in table if row["dataset"] is not None][:MOST_DATASETS][::-1]
    names = [short(row["dataset"], 22) for row in rows]
    with _drawing(key, 1.6 + 0.36 * len(rows)) as figure:
        for axes, what, label in zip(
            figure.subplots(2, 1), ("counts", "tokens"), ("counts of a cell", f"{unit} of a cell"), strict=True
        ):
            q = np.array([row[what] for row in rows])
            y = np.arange(len(rows))
            axes.hlines(y, q[:, 0], q[:, 4], color=_FIRST, linewidth=1)
            axes.hlines(y, q[:, 1], q[:, 3], color=_FIRST, linewidth=5)
            axes.plot(q[:, 2], y, "o", color=_SECOND, markersize=5)
            axes.set_yticks(y, names)
            axes.set(xlabel=label, ylim=(-0.7, len(rows) - 0.3))
            if q.min() > 0 and q.max() > 20 * q.min():
                _log(axes, "x")
        told = "; ".join(f"{row['dataset']}: median {row['counts'][2]:,.0f} counts, {row['tokens'][2]:,.0f} {unit}"
                         for row in reversed(rows))  # fmt: skip
        title = f"Counts and {unit} of a cell by dataset: median (dot), quartiles (thick), 5 % to 95 % (thin)"
        return _inline(figure, key, title, told)


def detection(histogram: Sequence[int], key: str) -> Html:
    """How many genes are detected in how large a share of cells."""
    with _drawing(key, 2.1) as figure:
        axes = figure.subplots()
        edges = np.linspace(0, 1, len(histogram) + 1)
        axes.bar(edges[:-1], histogram, np.diff(edges), align="edge", color=_FIRST, linewidth=0)
        axes.set(xlabel="share of the cells in which a gene is detected", ylabel="genes", xlim=(0, 1))
        if any(histogram):
            _log(axes, "y")
        told = (
            f"{histogram[0]:,} genes are detected in at most 5 % of the cells, {sum(histogram[10:]):,} in half or more."
        )
        return _inline(figure, key, "Genes by the share of cells that express them", told)


def lengths(presets: Sequence[Mapping[str, Any]], key: str) -> Html:
    """A histogram of lengths for each preset."""

    def draw(axes: Any, preset: Mapping[str, Any]) -> None:
        edges, cells = preset["lengths"]["edges"], preset["lengths"]["cells"]
        axes.stairs(cells, edges, fill=True, color=_FIRST)
        if preset["context"] is not None and edges[-1] > 0.5 * preset["context"]:
            axes.axvline(preset["context"], color=_SECOND, linewidth=1.2)

    told = "; ".join(f"{preset['name']}: median {preset['length'][2]:,.0f}" for preset in presets)
    title = "Tokens of a cell by preset, cells by length (line: the preset's context, where cells come near it)"
    return _multiples(presets, key, draw, title, told)


def bins(presets: Sequence[Mapping[str, Any]], key: str) -> Html:
    """How often each bin stands at a gene, for each preset that has bins."""

    def draw(axes: Any, preset: Mapping[str, Any]) -> None:
        n = np.asarray(preset["bins"], float)
        axes.stairs(n / max(1, n.sum()), np.arange(len(n) + 1) - 0.5, fill=True, color=_FIRST)

    def said(preset: Mapping[str, Any]) -> str:
        n = preset["bins"]
        return f"{preset['name']}: {sum(map(bool, n))} of {len(n)} bins occur, {int(np.argmax(n))} most often"

    told = "; ".join(map(said, presets))
    return _multiples(presets, key, draw, "Share of the tokens of genes in each bin, by preset", told)


def _multiples(
    presets: Sequence[Mapping[str, Any]],
    key: str,
    draw: Callable[[Any, Mapping[str, Any]], None],
    title: str,
    told: str,
) -> Html:
    n_rows = -(-len(presets) // 2)
    with _drawing(key, 0.2 + 1.25 * n_rows) as figure:
        panels = figure.subplots(n_rows, 2, squeeze=False).ravel()
        for axes, preset in zip(panels, presets, strict=False):
            draw(axes, preset)
            axes.set_title(short(preset["name"], 24))
            axes.tick_params(labelsize=7.5)
            axes.xaxis.set_major_locator(_few(integer=True))
            axes.yaxis.set_major_locator(_few())
            axes.ticklabel_format(useOffset=False)
        for axes in panels[len(presets) :]:
            axes.set_axis_off()
        return _inline(figure, key, title, told)


def _few(integer: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4, integer=integer, min_n_ticks=1 if integer else 2)


def variable(found: VariableGenes, key: str) -> Html:
    """Normalized variance of each gene over its mean."""
    with _drawing(key, 3.0) as figure:
        axes = figure.subplots()
        there = (found.mean > 0) & (found.variance > 0)
        for which, color, label in (
            (there & ~found.chosen, _INK, "other genes"),
            (there & found.chosen, _FIRST, f"the {found.chosen.sum():,} most variable"),
        ):
            x, y = _thinned(np.log10(found.mean[which]), np.log10(found.variance[which]))
            _dots(axes, 10**x, 10**y, color, label)
        axes.set(xlabel="mean count of a cell", ylabel="normalized variance")
        _log(axes, "x")
        _log(axes, "y")
        axes.legend(frameon=False, fontsize=8, loc="upper left", handlelength=1)
        told = "Most variable: " + ", ".join(row["gene"] for row in found.listed[:10])
        return _inline(figure, key, "Variable genes (flavor seurat_v3): variance beyond what their mean explains", told)


def _thinned(x: Any, y: Any) -> tuple[Any, Any]:
    """The points less those that would lie on another one."""
    if not len(x):
        return x, y
    column, row = (
        np.round((v - v.min()) / max(1e-9, np.ptp(v)) * n).astype(np.int64)
        for v, n in zip((x, y), _GRID_OF_POINTS, strict=True)
    )
    first = np.unique(column * (_GRID_OF_POINTS[1] + 1) + row, return_index=True)[1]
    return x[first], y[first]


def _dots(axes: Any, x: Any, y: Any, color: str, label: str) -> None:
    """Points as one path: a tenth of the bytes of markers."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points = np.repeat(np.column_stack([x, y]), 2, axis=0)
    codes = np.tile([Path.MOVETO, Path.LINETO], len(x))
    alpha = 0.35 if color == _INK else 0.9
    if len(x):
        patch = PathPatch(
            Path(points, codes), edgecolor=color, linewidth=2.4, capstyle="round", fill=False, alpha=alpha
        )
        axes.add_patch(patch)
        axes.update_datalim(points)
        axes.autoscale_view()
    axes.add_line(Line2D([], [], color=color, marker="o", markersize=3, linestyle="", label=label, alpha=alpha))


def shuffle(found: ShuffleQuality, key: str) -> Html:
    """Entropy, pairs and neighbours of each order."""
    rows = found.orders[::-1]
    y = np.arange(len(rows))
    with _drawing(key, 0.9 + 0.3 * len(rows)) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        left.barh(y, [one.entropy for one in rows], 0.6, color=_FIRST)
        left.set_yticks(y, [one.order for one in rows])
        left.set(xlabel="entropy of a batch", xlim=(0, 1.1))
        for what, marker, color in (("pairs", "o", _FIRST), ("neighbours", "D", _SECOND)):
            right.plot(
                [max(getattr(one, what), 1e-3) for one in rows], y, marker, color=color, label=what, markersize=5
            )
        right.axvline(1, color=_INK, linewidth=0.8)
        right.set(xlabel="times chance")
        _log(right, "x")
        figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False, fontsize=8)
        told = "; ".join(f"{one.order}: entropy {one.entropy:.3f}, pairs {one.pairs:.2f}, neighbours {one.neighbours:.2f}"
                         for one in found.orders)  # fmt: skip
        return _inline(figure, key, "How well batches are mixed: 1 is as well as chance", told)
