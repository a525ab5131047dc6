"""`ShardDataset`: what a trainer imports."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset

from scdata._config import nearest
from scdata._errors import CorruptShardError, LayerNotFoundError, StateError
from scdata.batch.buffers import BufferPool
from scdata.batch.cell_tokens import CellTokens
from scdata.batch.lifecycle import MAX_WORKERS, Lifecycle, call_before_fork, distributed_rank, worker_info
from scdata.batch.loader import BatchPlan, Chunk, iter_batches, iter_chunks
from scdata.batch.maker import MEASURED, OF_OURS, BatchMaker
from scdata.batch.on_the_fly import tokenizer_for
from scdata.batch.options import Options
from scdata.shard.cells import OBS, reserved_name
from scdata.shard.shard_set import ShardSet
from scdata.stream.blocks import BlockReader
from scdata.stream.order import Order
from scdata.stream.state import LARGEST, State
from scdata.tokens.tokenizer import Tokenizer
from scdata.tokens.vocab import Vocab


class Batch(dict[str, Any]):
    """A batch: a dict of torch tensors, and ``state``. A type of its own so that collating it again is an error."""


class ShardDataset(IterableDataset[Batch]):
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
    columns
        obs columns to add, by name (codes of strings, see `categories`; numbers); also ``total_counts``,
        ``vocab_counts``, and ``measured``.
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
    ValueError
        For arguments out of range.

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
    only: log10 of the totals of ``[depth] tokens``; ``masked_values`` and ``masked`` (``[mask]``); ``aux_token_ids`` int32
    (B,) (``[aux]``).

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
        rank: int | None = None,
        world_size: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._options = Options(
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
        )
        if (rank is None) != (world_size is None):
            raise ValueError("give rank and world_size together, or neither")
        if rank is not None and world_size is not None and not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of world_size {world_size}: ranks go from 0 to world_size − 1")
        self._path = os.fspath(path)
        self._dtype = _numpy_type(dtype, output)
        self._given = (rank, world_size)
        self._rank: tuple[int, int] | None = None
        self._open(ShardSet(self._path), tokenizer)
        self._lifecycle = Lifecycle()
        self._delivered: dict[str, Any] | None = None
        self._warned = False
        call_before_fork(self)

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
        self._n_cells = shards.blocks(options.split).n_cells
        self._tokens.check(self._path)
        if options.pad_to == "context" and self._tokens.limit is None:
            raise ValueError(f"pad_to='context': the preset of {self.tokenizer.name!r} has no context; give a number")
        self._stored_names = dict(self._stored_name(name) for name in options.columns if name != MEASURED)
        self._tokens.table, self._tokens.map.dense_tokens  # noqa: B018  (errors now, not in a worker)

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
        """Cells of the split."""
        return int(self._n_cells.sum())

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

    # -- epoch and state ---------------------------------------------------

    def set_epoch(self, epoch: int) -> None:
        """Stream this epoch next. A loaded position stays if it is of this epoch; else the epoch begins at its start."""
        if type(epoch) is not int or not 0 <= epoch < LARGEST:
            raise ValueError(f"epoch {epoch!r}: expected a whole number from 0")
        self._lifecycle.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch delivered; before the first one, where the next iteration starts.

        Raises
        ------
        StateError
            With DataLoader workers, which read ahead of what the trainer has got: use ``batch["state"]``.
        """
        if self._lifecycle.by_workers:
            raise StateError('workers read ahead of the trainer: save batch["state"] of the last batch you used')
        if self._delivered is not None:
            return dict(self._delivered)
        return self._state(self._lifecycle.epoch, self._lifecycle.pending()).to_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the next iteration yield the rest after a state, on any number of ranks, workers and threads.

        Raises
        ------
        StateError
            If the state is of another set, split, seed, or shuffle; names the differences.
        """
        accepted = self._state(0, 0).accept(state)
        if accepted.position > self.n_cells:
            raise StateError(
                f"the loader state is at {accepted.position} of {self.n_cells} cells: it is of another set"
            )
        self._lifecycle.load(accepted.epoch, accepted.position)
        self._delivered = None

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
            global_batch=options.batch_size * self.resolve_rank()[1],
            position=position,
        )

    def resolve_rank(self) -> tuple[int, int]:
        """Rank and world size: as given, else torch.distributed's in the trainer's process, fixed before a worker starts."""
        rank, world_size = self._given
        if rank is not None and world_size is not None:
            return rank, world_size
        if worker_info()[1] == 0:
            self._rank = distributed_rank()
        return self._rank or (0, 1)

    def __getstate__(self) -> dict[str, Any]:
        self.resolve_rank()
        state = self.__dict__.copy()
        # opened again where it arrives: a path and a hash travel better than tables
        del state["_set"], state["_n_cells"]
        state["_tokens"] = None if self.tokenizer is self._set.tokenizer else self.tokenizer
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        shards = ShardSet(self._path)
        if shards.manifest_hash != self._manifest_hash:
            raise CorruptShardError(f"{self._path}: the set was replaced since the loader was made: make it again")
        self._open(shards, state["_tokens"])
        call_before_fork(self)

    # -- batches -----------------------------------------------------------

    def _plan(self, start: int) -> BatchPlan:
        rank, world_size = self.resolve_rank()
        worker, n_workers, _ = worker_info()
        drop_last = self._options.drop_last
        return BatchPlan(
            n=self.n_cells,
            start=start,
            batch_size=self._options.batch_size,
            rank=rank,
            world_size=world_size,
            drop_last=world_size > 1 if drop_last is None else drop_last,
            worker=worker,
            n_workers=n_workers,
        )

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        return self._plan(0).n_batches

    def __iter__(self) -> Iterator[Batch]:
        worker, n_workers, reader = worker_info()
        if n_workers > MAX_WORKERS:
            raise ValueError(f"{n_workers} workers: at most {MAX_WORKERS}")
        epoch = self._lifecycle.epoch
        plan = self._plan(self._lifecycle.begin(worker, reader))
        self._warn_once(plan)
        self._delivered = self._state(epoch, plan.start).to_dict()
        return self._iterate(plan, epoch)

    def _warn_once(self, plan: BatchPlan) -> None:
        if self._warned or plan.worker > 0:
            return
        self._warned = True
        if plan.n > plan.start and plan.n_batches == 0:
            warnings.warn(
                f"no batch on rank {plan.rank}: {plan.n - plan.start} cells are less than a batch of {plan.batch_size} on each "
                f"of {plan.world_size} rank(s), and drop_last leaves out what is not full: use smaller batches, or "
                "drop_last=False",
                stacklevel=3,
            )
        if plan.n_workers > 2:
            warnings.warn(
                f"{plan.n_workers} DataLoader workers each read all blocks of the rank: num_threads uses cores better",
                stacklevel=3,
            )
        if self._options.shuffle and plan.world_size > self._options.lanes:
            amplification = plan.world_size / self._options.lanes
            warnings.warn(
                f"world_size {plan.world_size} is above lanes {self._options.lanes}: blocks are read {amplification:.1f} times "
                "over; set lanes to a multiple of the world size",
                stacklevel=3,
            )

    def _iterate(self, plan: BatchPlan, epoch: int) -> Iterator[Batch]:
        options = self._options
        order = Order(
            self._n_cells,
            seed=options.seed,
            epoch=epoch,
            shuffle=options.shuffle,
            lanes=options.lanes,
            window=options.window,
        )
        pool = BufferPool()
        maker = BatchMaker(self._tokens, options, self._stored_names, self._dtype)
        with ExitStack() as stack:
            reader = stack.enter_context(BlockReader(self._set, options.split, max(1, order.blocks_held)))

            def make(chunk: Chunk) -> list[dict[str, Any]]:
                return maker.make(chunk, reader.get, pool, epoch)

            batches = iter_batches(iter_chunks(plan, order), make, options.num_threads)
            # threads end before the reader closes, also where the caller stops early
            for number, arrays in stack.enter_context(closing(batches)):
                batch = Batch({k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arrays.items()})
                batch["state"] = self._state(epoch, plan.after(number)).to_dict()
                self._delivered = batch["state"]
                yield batch


def _numpy_type(dtype: torch.dtype | None, output: str) -> np.dtype[Any] | None:
    """The NumPy type of a torch type that batches of an output can have."""
    if dtype is None:
        return None
    ids = (torch.int32, torch.int64)
    known = ids if output != "dense" else (*ids, torch.float32, torch.float64)
    if dtype not in known:
        raise ValueError(f"dtype = {dtype}: for output={output!r} one of {', '.join(map(str, known))}")
    return torch.empty(0, dtype=dtype).numpy().dtype


def _refuse_collate(batch: Any, *, collate_fn_map: Any = None) -> Any:
    raise ValueError("ShardDataset yields whole batches: use DataLoader(ds, batch_size=None)")


torch.utils.data._utils.collate.default_collate_fn_map[Batch] = _refuse_collate
