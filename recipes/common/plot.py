"""The curve of a run with the trivial predictors as lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_COLORS = {"global_mean": "0.6", "gene_mean": "tab:orange", "shifted_gene_mean": "tab:red"}
_POINTS = 60


def plot_curve(
    log: Sequence[Mapping[str, Any]], baselines: Mapping[str, float], unit: str, title: str, path: Path
) -> None:
    """Draw training and validation loss over steps.

    Parameters
    ----------
    log
        Lines with ``step`` and ``loss`` or ``val_loss``.
    baselines
        Error of each trivial predictor.
    unit, title, path
        Unit of all losses; title of the plot; where to write the PNG.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    train = [(line["step"], line["loss"]) for line in log if "loss" in line]
    val = [(line["step"], line["val_loss"]) for line in log if "val_loss" in line]
    width = max(1, len(train) // _POINTS)
    parts = [train[i : i + width] for i in range(0, len(train), width)]
    steps, losses = ([sum(pair[k] for pair in part) / len(part) for part in parts] for k in (0, 1))
    axes.plot(steps, losses, color="tab:blue", alpha=0.45, label=f"training (mean of {width} steps)")
    axes.plot(*zip(*val, strict=True), color="tab:blue", marker="o", markersize=4, label="validation")
    for name, value in baselines.items():
        axes.axhline(value, color=_COLORS.get(name), linestyle="--", label=f"{name.replace('_', ' ')}: {value:.2f}")
    axes.set(xlabel="training steps", ylabel=f"mean squared error of hidden values ({unit})", title=title)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
