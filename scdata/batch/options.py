"""What a loader is asked for."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scdata._config import nearest
from scdata.batch.objectives.base import Objective

_MOST_LANES = 4096
OUTPUTS = ("padded", "packed", "dense")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Arguments of `ShardDataset` that do not change in its life; documented there."""

    split: str = "train"
    batch_size: int = 256
    seed: int = 0
    shuffle: bool = True
    output: str = "padded"
    pad_to: int | str | None = None
    context_length: int | None = None
    lanes: int = 16
    window: int = 16384
    drop_last: bool | None = None
    num_threads: int = 1
    columns: tuple[str, ...] = ()
    objective: Objective | None = None
    filter: str | None = None
    subset: int | None = None
    balance: str | None = None
    weights: str | Mapping[str, Mapping[Any, float]] | None = None
    max_repeat: int = 20
    group_by_length: bool = False
    max_tokens: int | None = None
    pair_controls: str | None = None
    log_normalize: float | None = None
    transform: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None
    cache_dir: str | None = None
    cache_size: int = 100 << 30
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("batch_size", "lanes", "window", "subset", "max_repeat", "max_tokens"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: at least 1")
        if self.balance is not None and self.weights is not None:
            raise ValueError("give balance (all values of a column equally often) or weights, not both")
        if isinstance(self.weights, Mapping) and [isinstance(own, Mapping) for own in self.weights.values()] != [True]:
            raise ValueError(
                f"weights = {dict(self.weights)!r}: expected those of the values of one column, "
                "{'cell_type': {'B cell': 3}}, or the name of a column of weights"
            )
        if self.weighted and not self.shuffle:
            raise ValueError("balance and weights draw cells at random: they need shuffle=True")
        if self.group_by_length and not self.shuffle:
            raise ValueError("group_by_length draws the order of batches: it needs shuffle=True")
        if self.max_tokens is not None and self.output != "packed":
            raise ValueError(f"max_tokens is for output='packed', not {self.output!r}")
        if self.pair_controls not in (None, "batch"):
            raise ValueError(
                f"pair_controls = {self.pair_controls!r}: None, or 'batch': a control for each cell of a batch"
            )
        if self.log_normalize is not None and not 0 < self.log_normalize < float("inf"):
            raise ValueError(f"log_normalize = {self.log_normalize}: what totals are scaled to, such as 1e4, or None")
        if self.transform is not None and not callable(self.transform):
            raise ValueError(f"transform = {self.transform!r}: a function of a batch, or None")
        if self.lanes > _MOST_LANES:
            raise ValueError(f"lanes = {self.lanes}: at most {_MOST_LANES}; every lane keeps blocks in memory")
        if self.num_threads < 0:
            raise ValueError(f"num_threads = {self.num_threads}: 0 reads in the caller's thread, 1 or more read ahead")
        if self.output not in OUTPUTS:
            raise ValueError(f"output = {self.output!r}: {nearest(self.output, OUTPUTS)}")
        if isinstance(self.pad_to, str) and self.pad_to != "context":
            raise ValueError(f"pad_to = {self.pad_to!r}: None (the longest cell of a batch), 'context', or a number")
        if self.pad_to is not None and self.output != "padded":
            raise ValueError(f"pad_to is for output='padded', not {self.output!r}")
        if self.objective is not None and not isinstance(self.objective, Objective):
            raise ValueError(
                f"objective = {self.objective!r}: one of scdata.objectives, such as MaskedGenes(rate=0.15), or None"
            )
        if self.context_length is not None and self.context_length < 1:
            raise ValueError(f"context_length = {self.context_length}: at least 1")

    @property
    def weighted(self) -> bool:
        """True if cells are drawn by weight."""
        return self.balance is not None or self.weights is not None

    @property
    def draws(self) -> str | None:
        """What decides how often cells are drawn, as a state says it."""
        if self.balance is not None:
            return f"balance={self.balance!r}, max_repeat={self.max_repeat}"
        if self.weights is None:
            return None
        if isinstance(self.weights, str):
            return f"weights={self.weights!r}, max_repeat={self.max_repeat}"
        [(column, given)] = self.weights.items()
        digest = hashlib.sha256(repr(sorted(given.items(), key=repr)).encode()).hexdigest()
        return f"weights of {column!r} {digest[:16]}, max_repeat={self.max_repeat}"
