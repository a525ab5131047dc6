"""JSON lines of a long command; ``events.schema.json`` beside this file says what each holds."""

from collections.abc import Iterator
from contextlib import contextmanager

from scdata._errors import ScdataError
from scdata.cli.main import print_json


@contextmanager
def error_event(as_json: bool) -> Iterator[None]:
    """Print what ends a command too early as its last event; it is raised all the same."""
    try:
        yield
    except (ScdataError, ValueError, OSError, KeyboardInterrupt) as error:
        if as_json:
            stopped = isinstance(error, KeyboardInterrupt)
            message = "stopped; the same command goes on where it was" if stopped else str(error)
            notes = [str(note) for note in getattr(error, "__notes__", ())]
            print_json({"event": "error", "kind": type(error).__name__, "message": message, "notes": notes})
        raise
