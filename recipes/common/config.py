"""A recipe's TOML file as a frozen dataclass, strictly: an unknown key is an error that names the nearest known one."""

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known word, and all of them."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return (f"did you mean {close[0]!r}? " if close else "") + f"Known: {', '.join(names)}"


def load_config(cls: type[T], path: Path, **overrides: Any) -> T:
    """Read `path` into the dataclass `cls`, whose fields are str, int, float or dict; `overrides` win unless None.

    Raises
    ------
    ValueError
        For an unknown key, a missing one, a value of another type, or what ``cls.__post_init__`` refuses.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error
    fields = {field.name: field.type for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            raise ValueError(f"{path}: unknown key {key!r}: {nearest(key, fields)}")
    table |= {key: value for key, value in overrides.items() if value is not None}
    for key, kind in fields.items():
        if key not in table:
            raise ValueError(f"{path}: key {key!r} is missing")
        table[key] = float(table[key]) if kind is float and type(table[key]) is int else table[key]
        if type(table[key]) is not kind:
            raise ValueError(f"{path}: {key} = {table[key]!r}: expected {kind.__name__}")
    try:
        return cls(**table)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
