"""What all loaders have in common: epoch, position, rank, and which batches that makes."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any, TypeAlias, TypeVar

from torch.utils.data import IterableDataset

from scdata._blocks import Array
from scdata._errors import StateError
from scdata.batch.lifecycle import MAX_WORKERS, Lifecycle, call_before_fork, distributed_rank, worker_info
from scdata.batch.loader import BatchPlan, Chunk, iter_batches, iter_chunks, look_ahead
from scdata.batch.machine import Memory, check_device, machine_of
from scdata.batch.options import Options
from scdata.batch.pieces import iter_pieces, iter_sizes
from scdata.batch.tensors import Batch, to_batch
from scdata.stream.buffers import BufferPool
from scdata.stream.length_order import LengthOrder
from scdata.stream.places import CellOrder, Parts
from scdata.stream.state import LARGEST, State

C = TypeVar("C", bound=Parts)

# from a chunk to the arrays of its batches
MakeBatches: TypeAlias = Callable[[Chunk[C], Memory], list[dict[str, Any]]]


class ResumableDataset(IterableDataset[Batch]):
    """Batches of the positions of an epoch, resumable on any number of ranks, workers and threads.

    A subclass says how many positions there are (`n_cells`), which set they are of (`_identity`), which cells they have
    (`_base_order`) and of which length (`_length_of`), and makes their batches (`_maker`).

    Parameters
    ----------
    options
        What the loader was asked for.
    rank, world_size
        Which of how many trainers this is; None: torch.distributed's, where it is in use.
    """

    def __init__(self, options: Options, rank: int | None, world_size: int | None) -> None:
        if (rank is None) != (world_size is None):
            raise ValueError("give rank and world_size together, or neither")
        if rank is not None and world_size is not None and not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of world_size {world_size}: ranks go from 0 to world_size − 1")
        self._options = options
        self._pool = BufferPool()
        check_device(options.device)
        self._given = (rank, world_size)
        self._identity = ""  # what a state calls the set; a subclass says
        self._rank: tuple[int, int] | None = None
        self._lifecycle = Lifecycle()
        self._delivered: dict[str, Any] | None = None
        self._warned = False
        self._n_pieces: tuple[tuple[int, int, int], int] | None = None
        call_before_fork(self)

    @property
    @abstractmethod
    def n_cells(self) -> int:
        """Cells of an epoch."""

    @abstractmethod
    def _base_order(self, epoch: int) -> CellOrder[Any]: ...  # before batches of like lengths are made

    @abstractmethod
    def _length_of(self, cells: Any) -> Array: ...  # most tokens of each cell

    @abstractmethod
    def _maker(
        self, plan: BatchPlan, epoch: int, base: Any, stack: ExitStack
    ) -> tuple[MakeBatches[Any], Callable[[Any], None]]:
        """From chunks to batches, and what is told which cells come soon; what it opens, the stack closes."""

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
        return self._state(self._lifecycle.epoch, *self._lifecycle.pending()).to_dict()

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
        self._lifecycle.load(accepted.epoch, accepted.position, accepted.piece)
        self._delivered = None

    def _state(self, epoch: int, position: int, piece: int = 0) -> State:
        options = self._options
        cut = options.max_tokens
        rank, world_size = self.resolve_rank()
        return State(
            manifest=self._identity,
            split=options.split,
            seed=options.seed,
            epoch=epoch,
            shuffle=options.shuffle,
            lanes=options.lanes,
            window=options.window,
            filter=options.filter,
            subset=options.subset,
            draws=options.draws,
            length_groups=options.group_by_length,
            global_batch=options.batch_size * world_size,
            position=position,
            piece=piece,
            piece_of=None if cut is None else f"rank {rank} of {world_size}, max_tokens={cut}",
        )

    # -- ranks and copies --------------------------------------------------

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
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
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
        """Batches of this rank in a whole epoch; with `max_tokens`, pieces in the epoch that is streamed next."""
        plan, max_tokens = self._plan(0), self._options.max_tokens
        if max_tokens is None:
            return plan.n_batches
        epoch = self._lifecycle.epoch
        key = (epoch, plan.rank, plan.world_size)
        if self._n_pieces is None or self._n_pieces[0] != key:
            order = self._order(self._base_order(epoch), plan, epoch)
            sizes = iter_sizes(plan, order, self._length_of, max_tokens)
            self._n_pieces = key, sum(len(own) for _, own, _ in sizes)
        return self._n_pieces[1]

    def __iter__(self) -> Iterator[Batch]:
        worker, n_workers, reader = worker_info()
        if n_workers > MAX_WORKERS:
            raise ValueError(f"{n_workers} workers: at most {MAX_WORKERS}")
        if n_workers and self._options.device != "cpu":
            raise ValueError(
                f"device = {self._options.device!r} with {n_workers} DataLoader workers, which cannot hand over tensors of a "
                "device: num_workers=0; num_threads reads ahead"
            )
        epoch = self._lifecycle.epoch
        start, piece = self._lifecycle.begin(worker, reader)
        plan = self._plan(start)
        self._warn_once(plan)
        self._delivered = self._state(epoch, start, piece).to_dict()
        return self._iterate(plan, piece, epoch)

    def _order(self, base: CellOrder[Any], plan: BatchPlan, epoch: int) -> CellOrder[Any]:
        options = self._options
        if not options.group_by_length:
            return base
        return LengthOrder(
            base,
            plan.n,
            self._length_of,
            global_batch=plan.global_batch,
            lanes=options.lanes,
            seed=options.seed,
            epoch=epoch,
        )

    def _iterate(self, plan: BatchPlan, done: int, epoch: int) -> Iterator[Batch]:
        max_tokens, base = self._options.max_tokens, self._base_order(epoch)
        machine = machine_of(self._options.device, self._pool)
        order = self._order(base, plan, epoch)
        with ExitStack() as stack:
            make, expect = self._maker(plan, epoch, base, stack)
            chunks = (
                iter_chunks(plan, order)
                if max_tokens is None
                else iter_pieces(plan, order, self._length_of, max_tokens, done)
            )

            def batches_of(chunk: Chunk[Any]) -> list[tuple[Batch, Any]]:
                with machine.working() as memory:
                    batches = [to_batch(memory.tensors(one), self._options.transform) for one in make(chunk, memory)]
                    ready = machine.ready()
                return [(batch, ready) for batch in batches]

            chunks = look_ahead(chunks, expect, self._options.window)
            batches = iter_batches(chunks, batches_of, self._options.num_threads)
            state = self._state(epoch, 0).to_dict()
            # threads end before the files close, also where the caller stops early
            for number, (piece, n_pieces), (made, ready) in stack.enter_context(closing(batches)):
                batch = machine.delivered(made, ready)
                if max_tokens is not None:
                    batch["piece"], batch["n_pieces"] = piece, n_pieces
                if piece + 1 < n_pieces:
                    batch["state"] = {**state, "position": plan.before(number), "piece": piece + 1}
                else:
                    batch["state"] = {**state, "position": plan.after(number)}
                self._delivered = batch["state"]
                yield batch

    def _warn_once(self, plan: BatchPlan) -> None:
        if self._warned or plan.worker > 0:
            return
        self._warned = True
        if plan.drop_last and plan.n > plan.start and plan.n_batches == 0:
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
