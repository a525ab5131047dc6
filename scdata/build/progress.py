"""What a build says while it runs: bars on a terminal, JSON lines for machines, a line a phase elsewhere."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_EVERY = 1.0  # seconds between JSON lines of one phase


class Progress:
    """Where progress goes.

    Parameters
    ----------
    mode
        ``"bars"``, ``"json"``, ``"lines"`` or ``"quiet"``.
    stream
        Where to write; standard error by default (JSON lines: standard output).
    """

    def __init__(self, mode: str = "quiet", stream: TextIO | None = None) -> None:
        self.mode = mode
        self._stream = stream or (sys.stdout if mode == "json" else sys.stderr)

    def note(self, text: str) -> None:
        """A remark, such as which var column is used."""
        if self.mode == "json":
            self._json({"event": "note", "text": text})
        elif self.mode != "quiet":
            self._write(text)

    @contextmanager
    def phase(self, name: str, total: int, unit: str = "cells") -> Iterator[Callable[[int], Any]]:
        """A phase of `total` units; yields a function that takes the units just done."""
        begin = last = time.monotonic()
        done = 0
        if self.mode == "bars":
            from tqdm import tqdm

            with tqdm(total=total, desc=name, unit=unit, unit_scale=True, file=self._stream, leave=False) as bar:
                yield bar.update
        else:

            def advance(n: int) -> None:
                nonlocal done, last
                done += n
                if self.mode == "json" and time.monotonic() - last >= _EVERY:
                    last = time.monotonic()
                    self._json({"event": "progress", "phase": name, "done": done, "total": total, "unit": unit})

            yield advance
        seconds = round(time.monotonic() - begin, 3)
        if self.mode == "json":
            self._json({"event": "phase", "phase": name, "total": total, "unit": unit, "seconds": seconds})
        elif self.mode in ("lines", "bars"):
            self._write(f"{name}: {total:,} {unit} in {seconds:.1f} s")

    def _write(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def _json(self, table: dict[str, Any]) -> None:
        print(json.dumps(table), file=self._stream, flush=True)
