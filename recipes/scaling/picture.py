"""Losses over parameters and over cells, with the laws that were fitted and what needs no model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from law import Law, scale_of


def draw(
    points: Sequence[Mapping[str, Any]], laws: Mapping[str, Mapping[Any, Law | None]], unit: str, path: Path
) -> None:
    """Two panels: a line for each number of cells over parameters, and for each size over cells.

    Parameters
    ----------
    points
        ``n_params``, ``cells``, ``size``, ``bits`` (means over seeds) and ``baselines`` in bits.
    laws
        ``"params"``: by number of cells; ``"cells"``: by size; in bits.
    unit, path
        Unit of the losses; the PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, x, group, label in (
        (panels[0], "n_params", "cells", "cells"),
        (panels[1], "cells", "size", "parameters"),
    ):
        groups = list(dict.fromkeys(point[group] for point in points))
        for number, name in enumerate(groups):
            own = sorted((p[x], p["bits"], p["n_params"]) for p in points if p[group] == name)
            color = f"C{number}"
            what = f"{name:,} {label}" if group == "cells" else f"{own[0][2]:,} {label}"
            axes.plot([p[0] for p in own], [p[1] for p in own], "o-", color=color, label=what, markersize=4)
            law = laws["params" if x == "n_params" else "cells"].get(name)
            if law is not None:
                grid = np.geomspace(own[0][0], own[-1][0], 60)
                axes.plot(grid, [law.at(v) for v in grid], ":", color=color)
        for number, (name, value) in enumerate(points[-1]["baselines"].items()):
            axes.axhline(value, color=str(0.2 + 0.2 * number), linestyle="--", label=name.replace("_", " "))
        axes.set(xscale="log", xlabel="parameters" if x == "n_params" else "cells to train on")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7)
    panels[0].set_ylabel(scale_of(unit))
    figure.savefig(path, dpi=110)
