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
    own = [*losses, *(line["val_loss"] for line in judged)]
    baselines = {name: [line["baselines"][name] for line in judged] for name in judged[-1]["baselines"]}
    outside = beyond(own, {name: values[-1] for name, values in baselines.items()})
    for number, (name, values) in enumerate(baselines.items()):
        color, label = _COLORS[number % len(_COLORS)], f"{name.replace('_', ' ')}: {values[-1]:.3g}"
        if name in outside:
            axes.plot([], [], color=color, linestyle="--", label=f"{label} (above the plot)")
            continue
        axes.plot(at, values, color=color, linestyle="--", label=label)
        if len(at) == 1:
            axes.axhline(values[0], color=color, linestyle="--")
    axes.set(ylabel=f"loss ({unit})", title=title)
    shown = [*own, *(value for name, values in baselines.items() if name not in outside for value in values)]
    if min(shown) > 0 and max(shown) > 100 * min(shown):
        axes.set_yscale("log")
    axes.grid(alpha=0.25)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    for panel, name in zip(panels[1:, 0], names, strict=True):
        panel.plot([line["step"] for line in watched], [line["watched"][name] for line in watched])
        panel.set(ylabel=name.replace("_", " "), ylim=(0, None))
        panel.grid(alpha=0.25)
    panels[-1, 0].set_xlabel("training steps")
    axes.set_xlim(left=0)
    figure.savefig(path, dpi=110)


def beyond(own: Sequence[float], baselines: Mapping[str, float]) -> set[str]:
    """Baselines that are not drawn, so that what is drawn is seen: those above all else by more than its whole height.

    `own` are the losses of the model. The best baseline is always drawn.
    """
    order = sorted(baselines, key=lambda name: baselines[name])
    shown = [*own, baselines[order[0]]]
    for place, name in enumerate(order[1:], 1):
        if baselines[name] > 2 * max(shown) - min(shown):
            return set(order[place:])
        shown.append(baselines[name])
    return set()
