"""Where a loader stands: a few JSON values."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from scdata._errors import StateError

FORMAT = 2
_OF_THE_ORDER = (
    "manifest",
    "split",
    "seed",
    "shuffle",
    "lanes",
    "window",
    "filter",
    "subset",
    "draws",
    "length_groups",
)
LARGEST = 1 << 62  # epochs and positions fit a shared int64


@dataclass(frozen=True, kw_only=True)
class State:
    """Position of a loader in an epoch; the rest of the epoch is the positions from `position` on.

    Parameters
    ----------
    manifest
        sha256 of the set's manifest; of a mix, what it is made of.
    split, seed, epoch, shuffle, lanes, window
        What the order is a function of.
    filter, subset
        Which cells there are; None: all.
    draws
        By what weights cells are drawn; None: each once.
    global_batch
        Cells of a batch over all ranks.
    position
        Positions of the epoch that are done.
    length_groups
        Whether batches are grouped by length, over global batches.
    piece, piece_of
        Pieces that are done of the batch at `position`, on which rank, and of how many tokens; 0 and None between batches.
    format
        Version of this format.
    """

    manifest: str
    split: str
    seed: int
    epoch: int
    shuffle: bool
    lanes: int
    window: int
    global_batch: int
    position: int
    filter: str | None = None
    subset: int | None = None
    draws: str | None = None
    length_groups: bool = False
    piece: int = 0
    piece_of: str | None = None
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON or a checkpoint."""
        return dict(vars(self))

    def accept(self, state: Mapping[str, Any]) -> "State":
        """Check a saved state against this one, and return it.

        Raises
        ------
        StateError
            If it is of another format, set or order; names every difference.
        """
        if not isinstance(state, Mapping):
            raise StateError(f"expected a loader state, found {type(state).__name__}")
        if state.get("format") != FORMAT:
            raise StateError(
                f"the loader state has format {state.get('format')!r}, this scdata reads {FORMAT}: end the epoch with the "
                "version that wrote it, or begin an epoch anew"
            )
        missing = sorted({f.name for f in fields(self)} - set(state))
        unknown = sorted(set(state) - {f.name for f in fields(self)})
        if missing or unknown:
            raise StateError(f"the loader state lacks {missing} and has unknown {unknown}: it is none of scdata's")
        mine = self.to_dict()
        differ = [
            f"{name} was {state[name]!r} and is {mine[name]!r}" for name in _OF_THE_ORDER if state[name] != mine[name]
        ]
        if differ:
            raise StateError("the loader state belongs to another order of cells: " + "; ".join(differ))
        for name in ("epoch", "position", "global_batch", "piece"):
            if type(state[name]) is not int or not 0 <= state[name] < LARGEST:
                raise StateError(f"the loader state has {name} = {state[name]!r}, expected a number from 0")
        if state["piece"] and (state["piece_of"], state["global_batch"]) != (self.piece_of, self.global_batch):
            raise StateError(
                f"the loader state was saved within a batch, by {state['piece_of']} with {state['global_batch']} cells a "
                f"global batch, and this is {self.piece_of} with {self.global_batch}: load each rank's own, or save where "
                "piece is 0"
            )
        if state["length_groups"] and state["global_batch"] != self.global_batch:
            raise StateError(
                f"the loader state was saved with {state['global_batch']} cells a global batch, now {self.global_batch}: "
                "groups of lengths are of global batches; keep batch_size × world_size"
            )
        if state["global_batch"] != self.global_batch:
            warnings.warn(
                f"the loader state was saved with {state['global_batch']} cells a global batch, now {self.global_batch}: the "
                "rest of the epoch is the same cells, in other batches",
                stacklevel=3,
            )
        return State(**state)
