"""A recipe's TOML file as a frozen dataclass, strictly: an unknown key is an error that names the nearest known one."""

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Keys that every recipe's config.toml has, which says what they mean; a recipe adds its own."""

    preset: str
    context_length: int
    size: str
    batch_size: int
    accumulate: int
    steps: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    clip_norm: float
    dropout: float
    eval_every: int
    eval_batches: int
    checkpoint_every: int
    marginal_cells: int
    device: str
    threads: int
    sizes: dict

    def __post_init__(self) -> None:
        if self.size not in self.sizes:
            raise ValueError(f"unknown size {self.size!r}: {nearest(self.size, self.sizes)}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int and field.name != "warmup_steps" and value < 1:
                raise ValueError(f"{field.name} = {value}: expected at least 1")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of accumulate = {self.accumulate}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout = {self.dropout}: expected a number from 0 and below 1")
        if self.device not in ("cpu", "cuda") or (self.device == "cuda" and not torch.cuda.is_available()):
            raise ValueError(f"device = {self.device!r}: expected 'cpu', or 'cuda' where there is one")

    @property
    def shape(self) -> dict[str, int]:
        """The chosen table of sizes."""
        table: dict[str, int] = self.sizes[self.size]
        return table

    def require_shape(self, *keys: str) -> None:
        """Raise ValueError unless the chosen size has these keys, whole numbers above 0, and no others."""
        where = f"[sizes.{self.size}]"
        for key in self.shape:
            if key not in keys:
                raise ValueError(f"{where}: unknown key {key!r}: {nearest(key, keys)}")
        for key in keys:
            if type(self.shape.get(key)) is not int or self.shape[key] < 1:
                raise ValueError(f"{where}: {key} = {self.shape.get(key)!r}: expected a whole number above 0")
        if {"width", "heads"} <= set(keys) and self.shape["width"] % self.shape["heads"]:
            raise ValueError(f"{where}: width {self.shape['width']} is no multiple of {self.shape['heads']} heads")

    def require_fraction(self, name: str) -> None:
        """Raise ValueError unless a key, or each of its numbers, is between 0 and 1."""
        value = getattr(self, name)
        for number in value if isinstance(value, tuple) else (value,):
            if not 0 < number < 1:
                raise ValueError(f"{name} = {number}: expected a number between 0 and 1")

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0: a linear warm-up, then a cosine that is zero after the last step."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        done = max(0, step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known word, and all of them."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return (f"did you mean {close[0]!r}? " if close else "") + f"Known: {', '.join(names)}"


def load_config(cls: type[T], path: Path, **overrides: Any) -> T:
    """Read `path` into the dataclass `cls`; `overrides` win unless None.

    Fields are str, int, float, dict, or tuple (a list of numbers or of strings).

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
        if kind is float and type(table[key]) is int:
            table[key] = float(table[key])
        if kind is tuple and type(table[key]) is list:
            table[key] = tuple(table[key])
        if type(table[key]) is not kind:
            expected = "list" if kind is tuple else kind.__name__
            raise ValueError(f"{path}: {key} = {table[key]!r}: expected {expected}")
    try:
        return cls(**table)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
