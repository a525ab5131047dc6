"""The page: sections one after the other, each with one set or two side by side."""

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files

import scdata
from scdata.report import content, making, use
from scdata.report.markup import Html, joined, tag
from scdata.report.set_numbers import SetNumbers

_SECTIONS: dict[str, tuple[str, Callable[[SetNumbers, str], Iterator[Html]]]] = {
    "composition": ("What it is made of", content.composition),
    "depth": ("Depth", content.depth),
    "genes": ("Genes", content.genes),
    "variable": ("Variable genes", content.variable),
    "dropped": ("Left out", making.dropped),
    "splits": ("Splits and leaks", making.splits),
    "presets": ("Tokens by preset", use.presets),
    "shuffle": ("Shuffle", use.shuffle),
    "cells": ("Cells", content.cells),
    "throughput": ("Speed", use.throughput),
    "manifest": ("Manifest", making.manifest),
}


def report_page(every: Sequence[SetNumbers]) -> str:
    """A page about one set, or several side by side, that needs nothing else: no network, no file beside it.

    Parameters
    ----------
    every
        From `set_numbers`.

    Returns
    -------
    str
        HTML.
    """
    names = _names(every)
    style, script = (files("scdata.report").joinpath(name).read_text("utf-8") for name in ("style.css", "script.js"))
    title = " and ".join(names)
    # only this script runs, and nothing is fetched, whatever a set holds
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title} – scdata report"),
        tag("style", Html(style)),
    )
    links = [("glance", "At a glance"), *((key, name) for key, (name, _) in _SECTIONS.items())]
    nav = tag(
        "nav", tag("ul", *(tag("li", tag("a", name, href=f"#{key}")) for key, name in links)), aria_label="Sections"
    )
    main = tag(
        "main",
        tag(
            "section",
            tag("h2", "At a glance"),
            making.glance(every, names),
            making.differences(every, names),
            id="glance",
        ),
        *(_section(key, title, of, every, names) for key, (title, of) in _SECTIONS.items()),
        id="main",
    )
    foot = tag("footer", f"Made by scdata {scdata.__version__}. This file stands on its own and loads nothing.")
    body = tag(
        "body",
        tag("a", "Skip to the numbers", href="#main", class_="skip"),
        tag("header", tag("h1", title)),
        nav,
        main,
        foot,
        tag("div", id="spoken", class_="spoken", role="status"),
        tag("script", Html(script)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _names(every: Sequence[SetNumbers]) -> list[str]:
    """What the sets are called: told apart where two have one name."""
    names = [one.name for one in every]
    return names if len(set(names)) == len(names) else [f"{name} ({i})" for i, name in enumerate(names, 1)]


def _section(
    key: str,
    title: str,
    of: Callable[[SetNumbers, str], Iterator[Html]],
    every: Sequence[SetNumbers],
    names: Sequence[str],
) -> Html:
    if len(every) == 1:
        body = joined(of(every[0], key))
    else:
        sides = (
            tag("div", tag("h3", name), *of(one, f"{key}-{i}"))
            for i, (one, name) in enumerate(zip(every, names, strict=True))
        )
        body = tag("div", *sides, class_="sets two")
    return tag("section", tag("h2", title), body, id=key)
