"""The cells of one set, as a loader streams them: which, in which order, and as which tokens."""

import warnings
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from scdata._blocks import I32, Array
from scdata._config import nearest
from scdata._errors import CorruptShardError, LayerNotFoundError
from scdata._storage import is_local
from scdata.batch.cell_tokens import CellTokens
from scdata.batch.lengths import CellLengths
from scdata.batch.maker import CONTROLS, MEASURED, OF_OURS
from scdata.batch.on_the_fly import tokenizer_for
from scdata.batch.options import Options
from scdata.batch.pairs import Pairs
from scdata.batch.task import task_of
from scdata.shard.cells import OBS, reserved_name
from scdata.shard.file_cache import FileCache
from scdata.shard.shard_set import ShardSet
from scdata.stream.blocks import BlockReader
from scdata.stream.buffers import BufferPool
from scdata.stream.controls import KEPT_BYTES, Controls, find_controls
from scdata.stream.length_order import BATCHES
from scdata.stream.order import Order
from scdata.stream.places import EpochOrder, Places
from scdata.stream.selection import select_cells
from scdata.stream.weighted_order import WeightedOrder
from scdata.stream.weights import CellWeights, weigh_cells
from scdata.tokens.tokenizer import Tokenizer


def open_set(path: str, options: Options) -> ShardSet:
    """The set at a place, with the copies that a loader was asked to keep."""
    cache = None if options.cache_dir is None else FileCache(options.cache_dir, options.cache_size)
    return ShardSet(path, cache=cache)


class SetStream:
    """A set that was opened for a loader. It travels to workers as an address, a hash, and which cells are streamed.

    Parameters
    ----------
    path
        Folder of the set.
    options
        What the loader was asked for.
    tokenizer
        As `ShardDataset` takes it.
    """

    def __init__(self, path: str, options: Options, tokenizer: str | Tokenizer | None) -> None:
        self.options = options
        shards = open_set(path, options)
        # a branch on the Hub may move before a worker opens the set
        self.path = path if is_local(shards.path) else str(shards.path)
        self.manifest_hash = shards.manifest_hash
        # kept over epochs, whose blocks are as large
        self._pool = BufferPool()
        self._columns: I32 | None = None
        self._open(shards, tokenizer)
        self.selection = select_cells(shards, options.split, options.filter, options.subset)
        self.weights: CellWeights | None = None
        if options.weighted:
            self.selection, self.weights = weigh_cells(
                shards, options.split, self.selection, options.balance, options.weights
            )
        self.controls: Controls | None = None
        if options.pair_controls is not None:
            self.controls = find_controls(shards, options.split, self.selection)
            self._warn_of_memory(self.controls)
        self.lengths: CellLengths | None = None
        if options.group_by_length or options.max_tokens is not None:
            self.lengths = CellLengths(shards, options.split, self.selection, self.tokens)
            if options.max_tokens is not None and self.lengths.longest > options.max_tokens:
                raise ValueError(
                    f"max_tokens = {options.max_tokens}: a cell of {path} has up to {self.lengths.longest} tokens: raise it, "
                    "or set context_length"
                )

    def _open(self, shards: ShardSet, tokenizer: str | Tokenizer | None) -> None:
        options = self.options
        self.shards = shards
        self.tokens = CellTokens(
            shards,
            tokenizer_for(shards, tokenizer, options.log_normalize),
            options.seed,
            options.context_length,
            options.output == "dense",
            self._columns,
        )
        self.tokens.check(self.path)
        if options.pad_to == "context" and self.tokens.limit is None:
            name = self.tokens.tokenizer.name
            raise ValueError(f"pad_to='context': the preset of {name!r} has no context; give a number")
        self.stored_names = dict(self._stored_name(name) for name in options.columns if name != MEASURED)
        if options.pair_controls is not None and CONTROLS in self.stored_names:
            raise ValueError(
                f"columns: {CONTROLS!r} is what batches call the controls of pair_controls: leave one of them out"
            )
        # errors now, not in a worker; and before threads ask for the same, each for itself
        self.tokens.table, self.tokens.map.dense_tokens, shards.datasets  # noqa: B018
        task_of(options, self.tokens)

    def _stored_name(self, name: str) -> tuple[str, str]:
        """Key of a batch, and the stored column behind it."""
        if name in OF_OURS:
            return name, name
        there = [column["name"] for column in self.shards.manifest["obs"]]
        plain = name if name in there else name.removeprefix(OBS)
        if plain not in there:
            raise LayerNotFoundError(f"{self.path} has no obs column {plain!r}: {nearest(plain, there)}")
        return reserved_name(plain), OBS + plain

    def use_columns(self, tokens: I32) -> None:
        """Have dense batches columns of these genes, by ascending token id, of which the set may lack some."""
        self._columns = tokens
        self.tokens = replace(self.tokens, columns_of=tokens)

    @property
    def n_cells(self) -> int:
        """Cells of an epoch."""
        return int(self.selection.n_cells.sum())

    @property
    def categories(self) -> dict[str, list[str]]:
        """Strings behind the codes of obs columns (−1: null), and of ``dataset``."""
        return {
            **{reserved_name(k): v for k, v in self.shards.categories.items()},
            "dataset": self.shards.datasets,
        }

    def order(self, epoch: int) -> EpochOrder:
        """The order of an epoch."""
        options = self.options
        order = Order(
            self.selection.n_cells,
            seed=options.seed,
            epoch=epoch,
            shuffle=options.shuffle,
            lanes=options.lanes,
            window=options.window,
        )
        return order if self.weights is None else self.weighted(order, epoch, self.weights)

    def weighted(self, order: EpochOrder, epoch: int, weights: CellWeights) -> WeightedOrder:
        """An order whose windows draw by weight."""
        options = self.options
        return WeightedOrder(
            order,
            weights,
            np.concatenate(([0], np.cumsum(self.selection.n_cells))),
            seed=options.seed,
            epoch=epoch,
            window=options.window,
            max_repeat=options.max_repeat,
        )

    def shares(self, epoch: int, n_windows: int) -> dict[Any, tuple[float, float]]:
        """Share of each value among the draws of an epoch's first windows, and the share that was meant."""
        if self.weights is None:
            raise ValueError("shares are those of balance= or weights=: none was asked for")
        order = self.order(epoch)
        assert isinstance(order, WeightedOrder)  # there are weights
        found, meant = order.shares(n_windows).tolist(), self.weights.shares().tolist()
        return {v: (f, m) for v, f, m in zip(self.weights.values, found, meant, strict=True) if m}

    def length_of(self, places: Places) -> Array:
        """(P,): most tokens of the cells at some places, where batches are made by length."""
        assert self.lengths is not None  # they are
        return self.lengths.of(places)

    def pairs(self, stack: ExitStack) -> Pairs | None:
        """What pairs cells with controls, if that was asked for; its files `stack` closes."""
        if self.controls is None:
            return None
        n_blocks, _ = self.controls.capacity(self.shards, self.options.split)
        reader = BlockReader(self.shards, self.options.split, n_blocks, self.controls.selection, self._pool)
        return Pairs(self.controls, stack.enter_context(reader), self.options.seed)

    def _warn_of_memory(self, controls: Controls) -> None:
        _, n_bytes = controls.capacity(self.shards, self.options.split)
        if n_bytes > KEPT_BYTES:
            warnings.warn(
                f"the {len(controls.block):,} controls of split {self.options.split!r} of {self.path} take about "
                f"{n_bytes / 1e9:.1f} GB, and {KEPT_BYTES / 1e9:.1f} GB are kept: the rest is read again whenever it is drawn",
                stacklevel=4,
            )

    def reader(self, order: EpochOrder, global_batch: int) -> BlockReader:
        """Reads the blocks that an order names; `global_batch`: G, of which groups of lengths are made."""
        held = max(1, order.blocks_held)
        if self.options.group_by_length:
            held *= -(-BATCHES * global_batch // self.options.window)
        return BlockReader(self.shards, self.options.split, held, self.selection, self._pool)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        # opened again where it arrives: a path and a hash travel better than tables
        del state["shards"]
        state["tokens"] = None if self.tokens.tokenizer is self.shards.tokenizer else self.tokens.tokenizer
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        shards = open_set(self.path, self.options)
        if shards.manifest_hash != self.manifest_hash:
            raise CorruptShardError(f"{self.path}: the set was replaced since the loader was made: make it again")
        self._open(shards, state["tokens"])
