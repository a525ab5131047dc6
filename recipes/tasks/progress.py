"""What a run is at, in lines on stderr, so that none is silent for long."""

import sys
import time

_QUIET = 2.0


class Progress:
    """Says with the seconds since the begin what starts, and what is done. Silent until `begin`."""

    def __init__(self) -> None:
        self._silent, self._begin, self._last = True, 0.0, 0.0

    def begin(self, at: float, silent: bool) -> None:
        """Count seconds from `at`, a time of ``time.monotonic``."""
        self._silent, self._begin, self._last = silent, at, at

    def starts(self, what: str) -> None:
        """Said at once: what may take long."""
        self._say(what)

    def done(self, what: str) -> None:
        """Said if the line before is 2 s old: of many short steps only some are told."""
        if time.monotonic() - self._last >= _QUIET:
            self._say(what)

    def _say(self, what: str) -> None:
        if not self._silent:
            self._last = time.monotonic()
            print(f"{self._last - self._begin:>6.0f} s  {what}", file=sys.stderr, flush=True)


PROGRESS = Progress()
