"""`mix`: batches of cells of several sets, by weight."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from scdata._blocks import Array
from scdata._config import nearest
from scdata._splitmix import stream as stream_number
from scdata.batch.common_vocab import (
    check_common,
    common_categories,
    common_columns,
    common_tokenizer,
    number_types,
    recoded,
)
from scdata.batch.kinds import filters_of_kinds
from scdata.batch.loader import BatchPlan, Chunk
from scdata.batch.machine import Memory
from scdata.batch.made_cells import CellMaker, joined
from scdata.batch.maker import BatchMaker
from scdata.batch.options import Options
from scdata.batch.resumable import MakeBatches, ResumableDataset
from scdata.batch.said import say_shares
from scdata.batch.set_stream import SetStream
from scdata.batch.tensors import numpy_type
from scdata.stream.batch_mixture import BatchMixture
from scdata.stream.mix_order import MixedPlaces, MixOrder
from scdata.stream.mixture import STOPS, Mixture
from scdata.stream.places import Places
from scdata.stream.state import State
from scdata.tokens.tokenizer import Tokenizer
from scdata.tokens.vocab import Vocab

_SET = "set"  # of which every batch may be


class MixedDataset(ResumableDataset):
    """Batches of cells of several sets; made by `mix`, which documents it."""

    def __init__(
        self,
        sets: Mapping[Any, float],
        *,
        stop: str = "exhaust",
        batches_of: str | None = None,
        tokenizer: str | Tokenizer | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        if not sets:
            raise ValueError("a mix of no sets: give {path: weight, …}")
        for path, weight in sets.items():
            if not isinstance(weight, int | float | Fraction) or not 0 < weight < float("inf"):
                raise ValueError(f"the weight of {os.fspath(path)} is {weight!r}: expected a number above 0")
        if stop not in STOPS:
            raise ValueError(f"stop = {stop!r}: {nearest(stop, STOPS)}")
        if batches_of is not None and options.get("group_by_length"):
            raise ValueError("group_by_length mixes what batches_of keeps apart: give one of them")
        if batches_of not in (None, _SET) and options.get("subset") is not None:
            raise ValueError(
                "subset is of whole sets, and batches_of=COLUMN streams each value by itself: give one of them"
            )
        known = [field.name for field in dataclasses.fields(Options)]
        for name in options:
            if name not in known:
                raise TypeError(f"mix has no option {name!r}: {nearest(name, known)}")
        options["columns"] = tuple(options.get("columns", ()))
        options["device"] = str(options.get("device", "cpu"))
        own = Options(**options)
        super().__init__(own, rank, world_size)
        self._dtype = numpy_type(dtype, own.output)
        paths = [os.fspath(path) for path in sets]
        # seeds of their own: cells of two sets may have one cell_id, and sets one number of blocks
        seeds = [stream_number(own.seed, "mix", s) for s in range(len(paths))]
        shared = common_tokenizer(paths, own, tokenizer)
        self._sets = [
            SetStream(path, dataclasses.replace(own, seed=seed), shared)
            for path, seed in zip(paths, seeds, strict=True)
        ]
        check_common(self._sets)
        # what is dealt: sets, or the cells of each value in each of them
        self._streams, self._set_of = list(self._sets), list(range(len(paths)))
        weights_of = [Fraction(weight) for weight in sets.values()]
        if batches_of not in (None, _SET):
            self._streams, self._set_of = [], []
            for s, stream in enumerate(self._sets):
                for number, text in enumerate(filters_of_kinds(stream, batches_of)):
                    seed = stream_number(own.seed, "mix", s, number)
                    kind = dataclasses.replace(own, seed=seed, filter=text)
                    self._streams.append(SetStream(paths[s], kind, shared))
                    self._set_of.append(s)
            n_cells = np.bincount(self._set_of, [stream.n_cells for stream in self._streams]).astype(int).tolist()
            weights_of = [
                weights_of[s] * stream.n_cells / n_cells[s]
                for stream, s in zip(self._streams, self._set_of, strict=True)
            ]
        self._weights, self._stop, self._batches_of = weights_of, stop, batches_of
        self._mixtures: dict[int, Mixture | BatchMixture] = {}
        columns = common_columns(self._sets)
        for stream in (*self._sets, *self._streams):
            stream.use_columns(columns)
        self._categories = common_categories(self._sets)
        parts = [
            f"{stream.manifest_hash[:16]} × {weight}" for stream, weight in zip(self._sets, sets.values(), strict=True)
        ]
        self._identity = f"mix of {', '.join(parts)}; stop={stop}"
        self._mixture.n  # noqa: B018  # sets that fill no batch are refused now

    @property
    def _mixture(self) -> Mixture | BatchMixture:
        """Which set each position is of; where batches are of one kind, this depends on their size over all ranks."""
        batch = 0 if self._batches_of is None else self._options.batch_size * self.resolve_rank()[1]
        if batch not in self._mixtures:
            sizes, own = [stream.n_cells for stream in self._streams], self._options
            self._mixtures[batch] = (
                BatchMixture(sizes, self._weights, seed=own.seed, batch=batch, stop=self._stop)
                if batch
                else Mixture(
                    sizes, self._weights, seed=own.seed, lanes=own.lanes if own.shuffle else 1, stop=self._stop
                )
            )
        return self._mixtures[batch]

    def _state(self, epoch: int, position: int, piece: int = 0) -> State:
        found = super()._state(epoch, position, piece)
        if self._batches_of is None:
            return found
        order = f"{found.manifest}; batches of one {self._batches_of}, {found.global_batch} cells each"
        return dataclasses.replace(found, manifest=order)

    # -- what the mix is ---------------------------------------------------

    @property
    def sets(self) -> list[str]:
        """Places of the sets: ``batch["set"]`` counts them from 0."""
        return [stream.path for stream in self._sets]

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the batches."""
        return self._streams[0].tokens.tokenizer

    @property
    def vocab(self) -> Vocab:
        """Token ids: ``token_ids`` by feature id, ``feature_ids``, ``symbols``, ``specials``."""
        return self.tokenizer.genes()

    @property
    def n_cells(self) -> int:
        """Cells of an epoch, of all sets together, each as often as it comes."""
        return self._mixture.n

    @property
    def n_cells_of(self) -> dict[str, int]:
        """How many of these are of each set."""
        found = np.bincount(self._set_of, self._mixture.totals, len(self._sets)).astype(int).tolist()
        return dict(zip(self.sets, found, strict=True))

    @property
    def categories(self) -> dict[str, list[str]]:
        """Strings behind the codes of obs columns (−1: null), and of ``dataset``; of all sets together."""
        return self._categories

    @property
    def dense_feature_ids(self) -> tuple[str, ...]:
        """Genes of the columns of a dense batch: those of all sets."""
        vocab, tokens = self.vocab, self._streams[0].tokens.map.dense_tokens
        return tuple(vocab.feature_ids[i] for i in np.searchsorted(vocab.gene_tokens, tokens))

    @property
    def pad_id(self) -> int:
        """Token id behind the end of cells in padded batches (0 where the vocabulary has no token for it)."""
        return self._streams[0].tokens.pad_id

    # -- batches -----------------------------------------------------------

    def _warn_once(self, plan: BatchPlan) -> None:
        first = not self._warned and plan.worker == 0
        super()._warn_once(plan)
        if first and plan.rank == 0 and self._options.weighted:
            for stream in self._streams:
                say_shares(stream, self._lifecycle.epoch)

    def _base_order(self, epoch: int) -> MixOrder:
        return MixOrder(self._mixture, lambda s, own: self._streams[s].order(own), epoch)

    def _length_of(self, cells: MixedPlaces) -> Array:
        lengths = np.empty(len(cells.set), np.int64)
        for s, stream in enumerate(self._streams):
            at = np.flatnonzero(cells.set == s)
            lengths[at] = stream.length_of(Places(cells.block[at], cells.row[at]))
        return lengths

    def _maker(
        self, plan: BatchPlan, epoch: int, base: MixOrder, stack: ExitStack
    ) -> tuple[MakeBatches[MixedPlaces], Callable[[MixedPlaces], None]]:
        types, tables = number_types(self._sets), recoded(self._sets, self._categories)
        makers = [
            CellMaker(stream.tokens, stream.stored_names, {**types, **tables[s]}, s, stream.pairs(stack))
            for stream, s in zip(self._streams, self._set_of, strict=True)
        ]
        maker = BatchMaker([stream.tokens for stream in self._streams], self._options, self._dtype)
        readers = [
            stack.enter_context(stream.reader(base.order(s, base.first_epochs[s]), plan.global_batch))
            for s, stream in enumerate(self._streams)
        ]

        def make(chunk: Chunk[MixedPlaces], memory: Memory) -> list[dict[str, Any]]:
            groups = []
            for s, own in np.unique(np.stack([chunk.cells.set, chunk.cells.epoch]), axis=1).T.tolist():
                at, places = chunk.cells.of(s, own)
                groups.append((at, makers[s].make(places, readers[s].get, memory, own)))
            batches = []
            for number, part in chunk.parts():
                found = [
                    made.part(slice(*np.searchsorted(at, [part.start, part.stop]).tolist())) for at, made in groups
                ]
                cells = joined([one for one in found if one.n_cells], self._options.seed, epoch, memory)
                batches.append(maker.make(cells, plan.batches_before + number, memory))
            return batches

        def expect(cells: MixedPlaces) -> None:
            for s, reader in enumerate(readers):
                reader.expect(cells.block[cells.set == s])

        return make, expect


def mix(
    sets: Mapping[Any, float], *, stop: str = "exhaust", batches_of: str | None = None, **options: Any
) -> MixedDataset:
    """Batches of cells of several sets, by weight, resumable like those of one.

    Parameters
    ----------
    sets
        Folders of sets and their weights: of a long run of cells, each set has its part of the sum of weights.
    stop
        ``"exhaust"``: an epoch ends with the first set that is used up; ``"cycle"``: with the last one, and sets that are
        used up before begin anew, in another order and with other random draws.
    batches_of
        None: batches have cells of all sets. ``"set"``: each batch, over all ranks, is of one set; or an obs column: of one set
        and one value of it, as ``"organism"`` (which need be no obs column where the set knows its species), whose weight is
        the set's by its share of cells, so that ``mix({"both.set": 1}, batches_of="organism")`` streams one set by species. All
        batches are full: with ``stop="exhaust"`` an epoch leaves out what fills none, and ends with the last of some set.
    options
        As of `ShardDataset`, for all sets: `filter`, `subset`, `balance` are worked out set by set. `tokenizer` must give one
        vocabulary: a published one, or ``"NAME+fit"``: the genes of all sets together, so that sets of several species mix.

    Returns
    -------
    MixedDataset
        Batches as of `ShardDataset`, and ``set`` int32 (B,): which set a cell is of, in the order given (a ``cell_id`` is one
        of its set). Cells of a set stand side by side in a batch. Codes of ``dataset`` and of text columns are the mix's
        (`categories`); columns of a dense batch are the genes of all sets, and ``measured`` says which a cell has.

    Raises
    ------
    ValueError, TypeError
        For weights and options out of range.
    TokenizerError
        If vocabularies, presets or fitted numbers of the sets differ.

    Examples
    --------
    >>> import scdata, tempfile
    >>> out = tempfile.mkdtemp()
    >>> for name, genes in (("a", 50), ("b", 70)):
    ...     _ = scdata.build_shards(f"synthetic:cells=300,genes={genes}", f"{out}/{name}")
    >>> ds = mix({f"{out}/a": 2, f"{out}/b": 1}, tokenizer="counts+fit", batch_size=30)
    >>> batch = next(iter(ds))
    >>> len(batch["cell_id"]), ds.n_cells > 400
    (30, True)
    """
    return MixedDataset(sets, stop=stop, batches_of=batches_of, **options)
