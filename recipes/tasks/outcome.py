"""What a task gives, and what is written of it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from .picture import draw
from .table import summarize, table_lines, verdict


@dataclass(frozen=True)
class Outcome:
    """`scores` as `tasks.table` has them; the `metrics`, of which the first one decides; a `title`; `notes`: what was left out,
    in sentences; `facts` for the result in JSON, such as the number of cells; other `tables`, by the names of their files."""

    title: str
    scores: pd.DataFrame
    metrics: tuple[str, ...]
    notes: list[str]
    facts: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Title, notes, tables and verdicts."""
        return [self.title, *(f"  note: {note}" for note in self.notes), *table_lines(self.scores, self.metrics)]

    def write(self, out: Path) -> dict[str, Any]:
        """Write scores.csv, table.txt, scores.png, result.json and the tables to `out`; gives what is in result.json."""
        table = summarize(self.scores, self.metrics)
        hows = list(dict.fromkeys(self.scores["how"]))
        result = {
            **self.facts,
            "metric": self.metrics[0],
            "notes": self.notes,
            "table": json.loads(table.to_json(orient="records", double_precision=6)),
            "verdicts": {how: verdict(self.scores, how, self.metrics[0]) for how in hows},
        }
        out.mkdir(parents=True, exist_ok=True)
        for name, other in {"scores.csv": self.scores, **self.tables}.items():
            other.to_csv(out / name, index=False)
        (out / "table.txt").write_text("\n".join(self.lines()) + "\n")
        (out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
        draw(self.scores, table, self.metrics[0], self.title, out / "scores.png")
        return result
