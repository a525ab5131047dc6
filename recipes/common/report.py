"""What a recipe says: a story for people, or JSON lines."""

import json
import math
import sys
from collections.abc import Mapping
from typing import Any


class Report:
    """Prints sentences, or with `as_json` only the JSON lines."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self.silent = False  # as all processes but the first are

    def say(self, text: str) -> None:
        if not self._as_json and not self.silent:
            print(text, flush=True)

    def event(self, line: Mapping[str, Any]) -> None:
        if self._as_json and not self.silent:
            print(json.dumps(line), flush=True)

    def warn(self, text: str) -> None:
        print(f"note: {text}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """``"42 s"``, ``"3 min 5 s"``, ``"2 h 10 min"``."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"


def figure(loss: float) -> str:
    """Four decimals, and of small numbers three digits that say something: ``"9.4131"``, ``"0.000215"``."""
    return f"{loss:.3g}" if 0 < abs(loss) < 0.1 else f"{loss:.4f}"


def comparison(loss: float, baselines: Mapping[str, float]) -> list[str]:
    """Lines of a table: the model beside the trivial predictors, saying which it beats.

    Raises
    ------
    ValueError
        If there are none to stand beside.
    """
    if not baselines:
        raise ValueError("a loss without a baseline says nothing: give at least one")
    width = max(len(name) for name in baselines) + 2
    lines = [f"  {'model':<{width}}{figure(loss):>10}"]
    for name, value in sorted(baselines.items(), key=lambda item: item[1]):
        gain = 1 - loss / value if value else 0.0
        if math.isclose(loss, value, rel_tol=1e-4, abs_tol=1e-6):
            verdict = "not beaten, level with it"
        else:
            verdict = f"beaten, the error is {gain:.1%} smaller" if gain > 0 else f"not beaten, {-gain:.1%} more error"
        lines.append(f"  {name.replace('_', ' '):<{width}}{figure(value):>10}   {verdict}")
    return lines
