"""The curve of a run: what it draws, and what it only names."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.parametrize(
    ("own", "baselines", "outside"),
    [
        # the height of all else is 0.05, and this one is 0.09 above it
        ([0.36, 0.31], {"global": 0.45, "gene": 0.353, "of_depth": 0.356}, {"global"}),
        ([0.36, 0.31], {"global": 0.40, "gene": 0.353}, set()),
        # the best one is drawn wherever it is, and so is what lies between it and the model
        ([0.36, 0.31], {"global": 0.95, "gene": 0.9}, set()),
        ([9.4, 0.5], {"constant": 1.0, "a": 40.0, "b": 50.0}, {"a", "b"}),
    ],
)
def test_baselines_far_above_the_rest_are_not_drawn(
    load: Callable[[str], ModuleType], own: list[float], baselines: dict[str, float], outside: set[str]
) -> None:
    assert load("common/plot").beyond(own, baselines) == outside


def test_a_curve_names_what_it_does_not_draw(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    baselines = {"global_marginal": 0.45, "gene_marginal": 0.353}
    log = [{"step": 0, "val_loss": 0.352, "baselines": baselines}]
    log += [{"step": step, "loss": 0.36 - step / 1000} for step in range(1, 51)]
    log += [{"step": 50, "val_loss": 0.31, "baselines": baselines}]
    load("common/plot").plot_curve(log, "nats", "A run", tmp_path / "curve.png")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == [
        "training (mean of 1 steps)",
        "validation",
        "global marginal: 0.45 (above the plot)",
        "gene marginal: 0.353",
    ]
    assert axes.get_legend() is None
    assert axes.get_ylim()[1] < 0.37
