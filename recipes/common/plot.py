"""The curve of a run, with what needs no model as lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_COLORS = ("tab:orange", "tab:red", "tab:purple", "tab:brown", "tab:olive", "0.5")
_POINTS = 60


def plot_curve(log: Sequence[Mapping[str, Any]], unit: str, title: str, path: Path) -> None:
    """Draw training and validation loss over steps, and below them what the model says of itself, if anything.

    Parameters
    ----------
    log
        Lines with ``step`` and ``loss``, or ``val_loss``, ``baselines`` and perhaps ``watched``.
    unit, title, path
        Unit of all losses; title of the plot; where to write the PNG.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    judged = [line for line in log if "val_loss" in line]
    watched = [line for line in judged if "watched" in line]
    names = list(watched[-1]["watched"]) if watched else []
    figure = Figure(figsize=(7, 4.2 + 1.6 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1 + len(names), 1, sharex=True, squeeze=False, height_ratios=[3] + [1] * len(names))
    axes = panels[0, 0]
    train = [(line["step"], line["loss"]) for line in log if "loss" in line]
    width = max(1, len(train) // _POINTS)
    parts = [train[i : i + width] for i in range(0, len(train), width)]
    steps, losses = ([sum(pair[k] for pair in part) / len(part) for part in parts] for k in (0, 1))
    axes.plot(steps, losses, color="tab:blue", alpha=0.45, label=f"training (mean of {width} steps)")
    at = [line["step"] for line in judged]
    axes.plot(at, [line["val_loss"] for line in judged], color="tab:blue", marker="o", markersize=4, label="validation")
    for number, name in enumerate(judged[-1]["baselines"]):
        values = [line["baselines"][name] for line in judged]
        label = f"{name.replace('_', ' ')}: {values[-1]:.3g}"
        axes.plot(at, values, color=_COLORS[number % len(_COLORS)], linestyle="--", label=label)
        if len(at) == 1:
            axes.axhline(values[0], color=_COLORS[number % len(_COLORS)], linestyle="--")
    axes.set(ylabel=f"loss ({unit})", title=title)
    shown = [
        *losses,
        *(line["val_loss"] for line in judged),
        *(v for line in judged for v in line["baselines"].values()),
    ]
    if min(shown) > 0 and max(shown) > 100 * min(shown):
        axes.set_yscale("log")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    for panel, name in zip(panels[1:, 0], names, strict=True):
        panel.plot([line["step"] for line in watched], [line["watched"][name] for line in watched])
        panel.set(ylabel=name.replace("_", " "), ylim=(0, None))
        panel.grid(alpha=0.25)
    panels[-1, 0].set_xlabel("training steps")
    axes.set_xlim(left=0)
    figure.savefig(path, dpi=110)
