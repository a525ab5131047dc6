"""Text of others inside Markdown of ours."""

import re
from collections.abc import Iterator, Sequence

_LONGEST = 300  # characters of a title
_MARKS = re.compile(r"([\\`*_\[\]<>|#])")


def thousands(n: int) -> str:
    return f"{n:,}"


def in_line(text: str) -> str:
    """Text of a source for a line of code or a heading: one line, no marks that end it, not too long."""
    text = " ".join(str(text).split()).replace("`", "'").replace("|", "¦").replace("<", "‹").replace(">", "›")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def prose(text: str) -> str:
    """Text of a source that shows as it is: its marks mean nothing."""
    return _MARKS.sub(r"\\\1", in_line(text))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table, and the empty line after it."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
