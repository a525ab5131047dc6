"""HTML, in which text of others is only text."""

import html
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LONGEST = 200  # characters of a text of others
_AT_RIGHT = re.compile('<td class="(num|right)')
_VOID = {"meta", "br"}


class Html(str):
    """What is markup already; any other string is escaped where it is put in."""

    __slots__ = ()


def escaped(content: Any) -> Html:
    """Markup as it is; anything else as text."""
    if isinstance(content, Html):
        return content
    return Html(html.escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(content))))


def short(text: Any, most: int = _LONGEST) -> str:
    """Text of a source in one line, not too long."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def tag(name: str, *content: Any, **attributes: Any) -> Html:
    """An element; None among the content is left out, ``class_`` is ``class``, ``aria_label`` ``aria-label``."""
    given = "".join(f' {_attribute(key)}="{escaped(value)}"' for key, value in attributes.items() if value is not None)
    inner = "".join(escaped(part) for part in content if part is not None)
    return Html(f"<{name}{given}>" + ("" if name in _VOID else f"{inner}</{name}>"))


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def joined(parts: Iterable[Any]) -> Html:
    return Html("".join(escaped(part) for part in parts if part is not None))


def number(value: float | None, digits: int = 0) -> Html:
    """A cell of a table with a number, sorted by its value; None: there is none."""
    if value is None:
        return tag("td", "–", class_="num", data_v="")
    return tag("td", f"{value:,.{digits}f}", class_="num", data_v=json.dumps(value))


def share(part: float, whole: float) -> Html:
    """A cell with a percentage and a bar behind it."""
    ratio = part / whole if whole else 0.0
    return tag("td", f"{ratio:.1%}", class_="num bar", data_v=json.dumps(ratio), style=f"--w:{100 * ratio:.2f}%")


def word(text: Any, class_: str | None = None) -> Html:
    """A cell with text of others; None: null."""
    return tag("td", tag("i", "null") if text is None else short(text), class_=class_)


def head(text: Any) -> Html:
    """The cell that a row is called by."""
    return tag("th", tag("i", "null") if text is None else short(text), scope="row")


def prose(text: str, most: int = 400) -> Html:
    """A message, what stands in it between backticks as code."""
    parts = short(text, most).split("`")
    return tag("span", *(tag("code", part) if i % 2 else part for i, part in enumerate(parts)))


def table(caption: Any, columns: Sequence[str], rows: Sequence[Sequence[Html]], sortable: bool = True) -> Html:
    """A table that scrolls in its own box, with a caption, and headings that sort it.

    Parameters
    ----------
    caption
        What it shows.
    columns
        Headings.
    rows
        Cells, made by `head`, `word`, `number`, `share`.
    sortable
        False: the order means something.
    """
    sortable = sortable and len(rows) > 1
    right = [i for i in range(len(columns)) if rows and _AT_RIGHT.match(rows[0][i])]
    heads = [
        tag(
            "th",
            tag("button", name, type="button") if sortable else name,
            scope="col",
            class_="right" if i in right else None,
            aria_sort="none" if sortable else None,
        )
        for i, name in enumerate(columns)
    ]
    body = tag("tbody", *(tag("tr", *cells) for cells in rows))
    kind = "sortable" if sortable else None
    whole = tag("table", tag("caption", tag("span", caption)), tag("thead", tag("tr", *heads)), body, class_=kind)
    # a box that scrolls must be reached by the keyboard
    return tag("div", whole, class_="scroll", role="group", tabindex="0", aria_label=short(caption))
