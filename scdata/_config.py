"""Tables of TOML or JSON → frozen dataclasses, strictly: an unknown key is an error that names the nearest known one."""

import dataclasses
import difflib
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")


def nearest(word: str, known: "list[str] | tuple[str, ...]") -> str:
    """Words to end an error message with: the nearest known word, and all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(known) if known else 'none'}"


def from_table(cls: type[T], table: Any, where: str) -> T:
    """Make the dataclass `cls` from a table.

    Parameters
    ----------
    cls
        A dataclass; fields may be str, int, float, bool, dataclasses, tuples of these, or ``X | None``.
    table
        What a TOML or JSON parser gave.
    where
        The file and table, for messages.

    Raises
    ------
    ValueError
        For an unknown or missing key, or a value of another type.
    """
    if not isinstance(table, dict):
        raise ValueError(f"{where}: expected a table, found {type(table).__name__}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in table:
        if key not in fields:
            raise ValueError(f"{where}: unknown key {key!r}: {nearest(key, list(fields))}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in table:
            raise ValueError(f"{where}: key {name!r} is missing")
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        hint = next(option for option in options if option is not type(None))
    if dataclasses.is_dataclass(hint):
        return from_table(typing.cast(Any, hint), value, where)
    if typing.get_origin(hint) is tuple:
        item_hint = typing.get_args(hint)[0]
        strings = item_hint is str
        if not isinstance(value, list | tuple) or (strings and not all(isinstance(item, str) for item in value)):
            raise ValueError(f"{where}: expected a list{' of strings' if strings else ''}, found {value!r}")
        return tuple(_convert(item_hint, item, f"{where}[{i}]") for i, item in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{where}: expected {hint.__name__}, found {value!r} ({type(value).__name__})")
    return value


def to_table(config: Any) -> dict[str, Any]:
    """The table that `from_table` turns into an equal dataclass; None values are left out, keys are sorted."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value) if value[key] is not None}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
