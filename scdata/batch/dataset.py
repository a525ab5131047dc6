"""`ShardDataset`: what a trainer imports."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import torch

from scdata._config import nearest
from scdata._errors import CorruptShardError, LayerNotFoundError
from scdata.batch.buffers import BufferPool
from scdata.batch.cell_tokens import CellTokens
from scdata.batch.loader import BatchPlan, Chunk, iter_batches, iter_chunks
from scdata.batch.maker import MEASURED, OF_OURS, BatchMaker
from scdata.batch.objectives.base import Objective
from scdata.batch.on_the_fly import tokenizer_for
from scdata.batch.options import Options
from scdata.batch.resumable import ResumableDataset
from scdata.batch.task import task_of
from scdata.batch.tensors import Batch, numpy_type, to_batch
from scdata.shard.cells import OBS, reserved_name
from scdata.shard.shard_set import ShardSet
from scdata.stream.blocks import BlockReader
from scdata.stream.order import Order
from scdata.stream.selection import select_cells
from scdata.stream.state import State
from scdata.tokens.tokenizer import Tokenizer
from scdata.tokens.vocab import Vocab


class ShardDataset(ResumableDataset):
    """Batches of a split of a set, shuffled, every cell once an epoch, resumable on any number of ranks.

    Works on its own, or inside ``DataLoader(ds, batch_size=None, num_workers=n)``.

    Parameters
    ----------
    path
        Folder of the set.
    split
        Which split.
    batch_size
        Cells of a batch on each rank.
    seed
        Decides the order, and random cuts and ties.
    shuffle
        False: the stored order, which is already a random one.
    output
        ``"padded"``, ``"packed"`` or ``"dense"``; see Notes.
    pad_to
        Width of padded batches: None (the longest cell, rounded up to 64), ``"context"``, or a number.
    context_length
        Most tokens of a cell; None: the preset's. Longer cells are cut as the preset says.
    tokenizer
        None: the set's own. From a set of counts also a name (``"scgpt+fit"`` uses the set's genes) or what
        `load_tokenizer` gives.
    lanes, window
        Reach of the shuffle: the cells of a window of `window` cells, over `lanes` places of the split, are mixed.
    drop_last
        Leave out the last batch if it is not full on every rank. None: only with more than one rank.
    num_threads
        Threads that read ahead; 0: none.
    filter
        Stream only cells that pass, ``"cell_type == 'B cell' and n_tokens >= 200"``: the grammar of ``--obs-filter``, on the
        columns of ``obs/``. A null passes nothing.
    subset
        Stream only so many cells, the first that pass in stored order: a fair sample, part of every larger one.
    columns
        obs columns to add, by name (codes of strings, see `categories`; numbers); also ``total_counts``,
        ``vocab_counts``, and ``measured``.
    objective
        One of `scdata.objectives`: what a model is asked, as keys of its own, which its documentation lists. None: that of
        the preset's ``[mask]``, if it has one.
    rank, world_size
        Which of how many trainers this is; None: torch.distributed's, where it is in use.
    dtype
        Type of ``token_ids`` (padded, packed: ``torch.int32`` or ``torch.int64``), or of ``values`` (dense).

    Raises
    ------
    SetNotFoundError, CorruptShardError
        If there is no complete set, or its manifest does not fit its files.
    TokenizerError
        If the tokens asked for cannot be made from the set.
    LayerNotFoundError
        If the set has no such obs column.
    ValueError
        For arguments out of range, a filter that cannot be read, and one that no cell passes.

    Notes
    -----
    B cells, L tokens of the longest, T tokens of all, G genes:

    ==========  =====================================================================================
    output      keys
    ==========  =====================================================================================
    padded      ``token_ids`` int32 (B, L), ``values`` (B, L), ``attention_mask`` bool (B, L), ``n_tokens`` int64 (B,)
    packed      ``token_ids`` int32 (T,), ``values`` (T,), ``cu_seqlens`` int32 (B+1,), ``max_seqlen`` int
    dense       ``values`` (B, G), columns as in `dense_feature_ids`; a ranked set gives ranks, 1 at the top, 0: not there
    ==========  =====================================================================================

    ``values`` are int32, or float32 where the preset's are; ranked sets have none when padded or packed. Always there:
    ``cell_id`` int64 (B,), ``dataset`` int32 (B,), and ``state``, the loader's state after the batch. By preset:
    ``targets``, in the shape of ``values``: those of the unthinned cell (``[depth.thin]``); ``depths`` float32 (B, n), dense
    only: log10 of the totals of ``[depth] tokens``; ``aux_token_ids`` int32 (B,) (``[aux]``). With an `objective`: its inputs
    and targets.

    Examples
    --------
    >>> import scdata, tempfile
    >>> out = tempfile.mkdtemp() + "/set"
    >>> _ = scdata.build_shards("synthetic:cells=300,genes=50", out)
    >>> ds = ShardDataset(out, batch_size=100, output="packed")
    >>> sum(len(batch["cell_id"]) for batch in ds)
    300
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        split: str = "train",
        batch_size: int = 256,
        seed: int = 0,
        shuffle: bool = True,
        output: str = "padded",
        pad_to: int | str | None = None,
        context_length: int | None = None,
        tokenizer: str | Tokenizer | None = None,
        lanes: int = 16,
        window: int = 16384,
        drop_last: bool | None = None,
        num_threads: int = 1,
        columns: Sequence[str] = (),
        objective: Objective | None = None,
        filter: str | None = None,
        subset: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options = Options(
            split=split,
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            output=output,
            pad_to=pad_to,
            context_length=context_length,
            lanes=lanes,
            window=window,
            drop_last=drop_last,
            num_threads=num_threads,
            columns=tuple(columns),
            objective=objective,
            filter=filter,
            subset=subset,
        )
        super().__init__(options, rank, world_size)
        self._path = os.fspath(path)
        self._dtype = numpy_type(dtype, output)
        shards = ShardSet(self._path)
        self._selection = select_cells(shards, split, filter, subset)
        self._open(shards, tokenizer)

    def _open(self, shards: ShardSet, tokenizer: str | Tokenizer | None) -> None:
        options = self._options
        self._set = shards
        self._manifest_hash = shards.manifest_hash
        self._tokens = CellTokens(
            shards,
            tokenizer_for(shards, tokenizer),
            options.seed,
            options.context_length,
            options.output == "dense",
        )
        self._tokens.check(self._path)
        if options.pad_to == "context" and self._tokens.limit is None:
            raise ValueError(f"pad_to='context': the preset of {self.tokenizer.name!r} has no context; give a number")
        self._stored_names = dict(self._stored_name(name) for name in options.columns if name != MEASURED)
        self._tokens.table, self._tokens.map.dense_tokens  # noqa: B018  (errors now, not in a worker)
        task_of(options, self._tokens)

    def _stored_name(self, name: str) -> tuple[str, str]:
        """Key of a batch, and the stored column behind it."""
        if name in OF_OURS:
            return name, name
        there = [column["name"] for column in self._set.manifest["obs"]]
        plain = name if name in there else name.removeprefix(OBS)
        if plain not in there:
            raise LayerNotFoundError(f"{self._path} has no obs column {plain!r}: {nearest(plain, there)}")
        return reserved_name(plain), OBS + plain

    # -- what the set is ---------------------------------------------------

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the batches."""
        return self._tokens.tokenizer

    @property
    def vocab(self) -> Vocab:
        """Token ids: ``token_ids`` by feature id, ``feature_ids``, ``symbols``, ``specials``."""
        return self.tokenizer.genes()

    @property
    def n_cells(self) -> int:
        """Cells of an epoch: those of the split that are streamed."""
        return int(self._selection.n_cells.sum())

    @property
    def categories(self) -> dict[str, list[str]]:
        """Strings behind the codes of obs columns (−1: null), and of ``dataset``."""
        return {
            **{reserved_name(k): v for k, v in self._set.categories.items()},
            "dataset": self._set.datasets,
        }

    @property
    def dense_feature_ids(self) -> tuple[str, ...]:
        """Genes of the columns of a dense batch."""
        vocab = self.vocab
        return tuple(vocab.feature_ids[i] for i in np.searchsorted(vocab.gene_tokens, self._tokens.map.dense_tokens))

    @property
    def pad_id(self) -> int:
        """Token id behind the end of cells in padded batches (0 where the vocabulary has no token for it)."""
        return self._tokens.pad_id

    # -- state, copies, batches --------------------------------------------

    def _state(self, epoch: int, position: int) -> State:
        options = self._options
        return State(
            manifest=self._manifest_hash,
            split=options.split,
            seed=options.seed,
            epoch=epoch,
            shuffle=options.shuffle,
            lanes=options.lanes,
            window=options.window,
            filter=options.filter,
            subset=options.subset,
            global_batch=options.batch_size * self.resolve_rank()[1],
            position=position,
        )

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        # opened again where it arrives: a path and a hash travel better than tables
        del state["_set"]
        state["_tokens"] = None if self.tokenizer is self._set.tokenizer else self.tokenizer
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        shards = ShardSet(self._path)
        if shards.manifest_hash != self._manifest_hash:
            raise CorruptShardError(f"{self._path}: the set was replaced since the loader was made: make it again")
        self._open(shards, state["_tokens"])

    def _iterate(self, plan: BatchPlan, epoch: int) -> Iterator[Batch]:
        options = self._options
        order = Order(
            self._selection.n_cells,
            seed=options.seed,
            epoch=epoch,
            shuffle=options.shuffle,
            lanes=options.lanes,
            window=options.window,
        )
        pool = BufferPool()
        maker = BatchMaker(self._tokens, options, self._stored_names, self._dtype)
        with ExitStack() as stack:
            reader = stack.enter_context(
                BlockReader(self._set, options.split, max(1, order.blocks_held), self._selection)
            )

            def make(chunk: Chunk) -> list[dict[str, Any]]:
                return maker.make(chunk, reader.get, pool, epoch, plan.batches_before)

            batches = iter_batches(iter_chunks(plan, order), make, options.num_threads)
            # threads end before the reader closes, also where the caller stops early
            for number, arrays in stack.enter_context(closing(batches)):
                batch = to_batch(arrays)
                batch["state"] = self._state(epoch, plan.after(number)).to_dict()
                self._delivered = batch["state"]
                yield batch
