"""`ShardDataset`: what a trainer imports."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from scdata._blocks import Array
from scdata.batch.loader import BatchPlan, Chunk
from scdata.batch.machine import Memory
from scdata.batch.made_cells import CellMaker
from scdata.batch.maker import BatchMaker
from scdata.batch.objectives.base import Objective
from scdata.batch.options import Options
from scdata.batch.resumable import MakeBatches, ResumableDataset
from scdata.batch.said import say_shares
from scdata.batch.set_stream import SetStream
from scdata.batch.tensors import numpy_type
from scdata.stream.places import EpochOrder, Places
from scdata.tokens.tokenizer import Tokenizer
from scdata.tokens.vocab import Vocab


class ShardDataset(ResumableDataset):
    """Batches of a split of a set, shuffled, every cell once an epoch, resumable on any number of ranks.

    Works on its own, or inside ``DataLoader(ds, batch_size=None, num_workers=n)``.

    Parameters
    ----------
    path
        Folder of the set, or its address: ``s3://BUCKET/SET``, ``hf://datasets/USER/NAME/SET``, ``https://HOST/SET``. Blocks at
        an address are fetched a window ahead, and again where a store fails now and then.
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
    balance
        Draw cells so that each value of this obs column comes equally often (null is a value): each window emits as many
        cells as it has, some several times. Positions and `len` are as without.
    weights
        The same by weights of one's own: an obs column of numbers, or weights of a column's values,
        ``{"cell_type": {"B cell": 3}}``, where others weigh 1. Cells of weight 0 are left out.
    max_repeat
        Most copies of a cell in a window; what is random in a cell differs between its copies.
    group_by_length
        Batches of cells of about the same length: sorted in groups of 16 global batches, whose batches come in random order.
    max_tokens
        Packed batches only: cut each rank's batch into pieces of at most so many tokens, as for the accumulation of gradients.
        Batches get ``piece`` and ``n_pieces``; ranks may have different numbers. With a tokenizer on the fly cells count with
        the tokens that they have at most.
    pair_controls
        ``"batch"``: each cell comes with a control, by the roles that the manifest names (``scdata build --perturbation``).
        Batches get ``controls``, a dict of a batch's keys (not those of an `objective`), whose row i goes with cell i. It is
        drawn evenly, by seed, epoch and cell alone, from the controls of the split that are of the cell's dataset and alike in
        the manifest's columns, whatever `filter`, `subset` and weights leave out; that of a control is another one, or itself
        where it is the only one. Controls are kept as they are stored, up to 1 GB a process; `max_tokens` and
        `group_by_length` do not count them.
    columns
        obs columns to add, by name (codes of strings, see `categories`; numbers); also ``total_counts``,
        ``vocab_counts``, and ``measured``.
    objective
        One of `scdata.objectives`: what a model is asked, as keys of its own, which its documentation lists. None: that of
        the preset's ``[mask]``, if it has one.
    log_normalize
        Give ln(1 + count / total · `log_normalize`), float32, where values are raw counts (1e4 as in scanpy; the total is that
        of all genes of the source). None: counts.
    transform
        What becomes of every batch, a function of a dict of tensors that gives one, in the thread or worker that makes the
        batch (with ``device="cuda"`` tensors are there, and the current stream is the one beside the trainer's); ``state``
        comes after it. To go to spawned workers it must be one that pickles.
    cache_dir
        Folder for copies of what is read of a set at an address: a second pass needs no network, and processes share them.
        None: no copies.
    cache_size
        Bytes that they may take; those used longest ago make room.
    rank, world_size
        Which of how many trainers this is; None: torch.distributed's, where it is in use.
    dtype
        Type of ``token_ids`` (padded, packed: ``torch.int32`` or ``torch.int64``), or of ``values`` (dense).
    device
        Where tensors are. ``"cuda"``, ``"cuda:1"``: decoded cells are copied there once, and made to tokens and batches by CuPy
        on a stream beside the trainer's; integers are those of the CPU, logarithms may differ in their last bit. Another of
        torch's devices, as ``"mps"``: batches are made here and moved there when they are asked for (float64 becomes float32 on
        mps). Without workers of a DataLoader, which cannot hand over such tensors; `num_threads` reads ahead. A state goes with
        any device.

    Raises
    ------
    SetNotFoundError, CorruptShardError
        If there is no complete set, or its manifest does not fit its files.
    TokenizerError
        If the tokens asked for cannot be made from the set.
    LayerNotFoundError
        If the set has no such obs column.
    StorageError
        At any use, if a store does not answer, or refuses, for good.
    ValueError
        For arguments out of range, a filter that cannot be read, and one that no cell passes; with `pair_controls`, if the
        manifest names no roles, or cells have no control: how many, and in which groups.

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
        balance: str | None = None,
        weights: str | Mapping[str, Mapping[Any, float]] | None = None,
        max_repeat: int = 20,
        group_by_length: bool = False,
        max_tokens: int | None = None,
        pair_controls: str | None = None,
        log_normalize: float | None = None,
        transform: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_size: int = 100 << 30,
        rank: int | None = None,
        world_size: int | None = None,
        dtype: torch.dtype | None = None,
        device: str | torch.device = "cpu",
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
            balance=balance,
            weights=weights,
            max_repeat=max_repeat,
            group_by_length=group_by_length,
            max_tokens=max_tokens,
            pair_controls=pair_controls,
            log_normalize=log_normalize,
            transform=transform,
            cache_dir=None if cache_dir is None else os.fspath(cache_dir),
            cache_size=cache_size,
            device=str(device),
        )
        super().__init__(options, rank, world_size)
        self._dtype = numpy_type(dtype, output)
        self._stream = SetStream(os.fspath(path), options, tokenizer)
        self._identity = self._stream.manifest_hash

    # -- what the set is ---------------------------------------------------

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the batches."""
        return self._stream.tokens.tokenizer

    @property
    def vocab(self) -> Vocab:
        """Token ids: ``token_ids`` by feature id, ``feature_ids``, ``symbols``, ``specials``."""
        return self.tokenizer.genes()

    @property
    def n_cells(self) -> int:
        """Cells of an epoch: those of the split that are streamed."""
        return self._stream.n_cells

    @property
    def categories(self) -> dict[str, list[str]]:
        """Strings behind the codes of obs columns (−1: null), and of ``dataset``."""
        return self._stream.categories

    @property
    def shares(self) -> dict[Any, float]:
        """Share of each value among what `balance` or `weights` draw: the first million draws or so of the epoch."""
        n_windows = max(1, (1 << 20) // self._options.window)
        return {value: share for value, (share, _) in self._stream.shares(self._lifecycle.epoch, n_windows).items()}

    @property
    def dense_feature_ids(self) -> tuple[str, ...]:
        """Genes of the columns of a dense batch."""
        vocab = self.vocab
        return tuple(
            vocab.feature_ids[i] for i in np.searchsorted(vocab.gene_tokens, self._stream.tokens.map.dense_tokens)
        )

    @property
    def pad_id(self) -> int:
        """Token id behind the end of cells in padded batches (0 where the vocabulary has no token for it)."""
        return self._stream.tokens.pad_id

    def _warn_once(self, plan: BatchPlan) -> None:
        first = not self._warned and plan.worker == 0
        super()._warn_once(plan)
        if first and plan.rank == 0 and plan.n and self._options.weighted:
            say_shares(self._stream, self._lifecycle.epoch)

    # -- batches -----------------------------------------------------------

    def _base_order(self, epoch: int) -> EpochOrder:
        return self._stream.order(epoch)

    def _length_of(self, cells: Places) -> Array:
        return self._stream.length_of(cells)

    def _maker(
        self, plan: BatchPlan, epoch: int, base: EpochOrder, stack: ExitStack
    ) -> tuple[MakeBatches[Places], Callable[[Places], None]]:
        cells = CellMaker(self._stream.tokens, self._stream.stored_names, pairs=self._stream.pairs(stack))
        maker = BatchMaker([self._stream.tokens], self._options, self._dtype)
        reader = stack.enter_context(self._stream.reader(base, plan.global_batch))

        def make(chunk: Chunk[Places], memory: Memory) -> list[dict[str, Any]]:
            made = cells.make(chunk.cells, reader.get, memory, epoch)
            return [maker.make(made.part(part), plan.batches_before + number, memory) for number, part in chunk.parts()]

        return make, lambda places: reader.expect(places.block)
