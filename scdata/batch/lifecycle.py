"""Epoch and start position of a loader, in memory that its workers share.

A loader is copied into worker processes, once an epoch or for good (persistent workers), by fork or by pickling. What the
trainer says later (`set_epoch`, `load_state_dict`) must reach all copies, and a loaded position must count once.
"""

import os
import weakref
from typing import Any

from scdata._optional import need

MAX_WORKERS = 512
# Places in the shared tensor
_EPOCH, _POSITION, _PIECE, _LOADS, _LOADED_EPOCH, _READER, _BY_WORKERS, _SEEN = range(8)
_NOBODY = -1


class Lifecycle:
    """Shared epoch and position. All methods may be called in any copy.

    A loaded position is for one iteration: that of the reader (0: the trainer's process; else a number that the workers of
    one DataLoader iterator share) which begins first. Each of its workers takes it once.
    """

    def __init__(self) -> None:
        torch = need("torch", "stream batches")
        # A multiprocessing value could not be pickled into a worker that is already running; a shared tensor can.
        self._shared = torch.zeros(_SEEN + MAX_WORKERS, dtype=torch.int64).share_memory_()
        self._shared[_LOADED_EPOCH] = _NOBODY
        self._shared[_READER] = _NOBODY

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._shared.share_memory_()  # a copy made by copy.deepcopy has its own memory

    @property
    def epoch(self) -> int:
        return int(self._shared[_EPOCH])

    def set_epoch(self, epoch: int) -> None:
        """Stream this epoch next; a position that was loaded for another one is forgotten."""
        self._shared[_EPOCH] = epoch
        if epoch != self._shared[_LOADED_EPOCH]:
            self._shared[_LOADED_EPOCH] = _NOBODY

    def load(self, epoch: int, position: int, piece: int = 0) -> None:
        """Start the next iteration at a position, and a piece of the batch there."""
        self._shared[_EPOCH] = epoch
        self._shared[_LOADED_EPOCH] = epoch
        self._shared[_POSITION] = position
        self._shared[_PIECE] = piece
        self._shared[_READER] = _NOBODY
        self._shared[_BY_WORKERS] = 0
        self._shared[_LOADS] += 1

    def pending(self, worker: int = 0, reader: int = 0) -> tuple[int, int]:
        """The position, and the piece of a batch, that the next iteration of a worker starts at."""
        if self._shared[_LOADED_EPOCH] != self._shared[_EPOCH]:
            return 0, 0
        if self._shared[_READER] not in (_NOBODY, reader) or self._shared[_SEEN + worker] >= self._shared[_LOADS]:
            return 0, 0
        return int(self._shared[_POSITION]), int(self._shared[_PIECE])

    def begin(self, worker: int, reader: int) -> tuple[int, int]:
        """`pending`, and counts it as used by this worker, and as nobody else's."""
        start = self.pending(worker, reader)
        if self._shared[_READER] in (_NOBODY, reader):
            self._shared[_READER] = reader
            self._shared[_SEEN + worker] = self._shared[_LOADS]
        self._shared[_BY_WORKERS] = int(reader != 0)
        return start

    @property
    def by_workers(self) -> bool:
        """True if workers of a DataLoader iterated last."""
        return bool(self._shared[_BY_WORKERS])


_before_fork: "weakref.WeakSet[Any]" = weakref.WeakSet()


def call_before_fork(owner: Any) -> None:
    """Have ``owner.resolve_rank()`` called before this process forks.

    A forked worker would find the trainer's process group in its memory and could not tell that it is not the trainer.
    """
    _before_fork.add(owner)


def _resolve_all() -> None:
    for owner in list(_before_fork):
        owner.resolve_rank()


os.register_at_fork(before=_resolve_all)


def distributed_rank() -> tuple[int, int]:
    """Rank and world size of torch.distributed in this process; (0, 1) where it is not in use."""
    torch_distributed: Any = need("torch.distributed", "stream batches")
    if torch_distributed.is_available() and torch_distributed.is_initialized():
        return int(torch_distributed.get_rank()), int(torch_distributed.get_world_size())
    return 0, 1


def worker_info() -> tuple[int, int, int]:
    """Number of this DataLoader worker, how many there are, and a number of their iterator; zeros in the trainer's process."""
    data: Any = need("torch.utils.data", "stream batches")
    info = data.get_worker_info()
    if info is None:
        return 0, 0, 0
    # torch seeds worker w of an iterator with base + w
    return int(info.id), int(info.num_workers), max(1, (int(info.seed) - int(info.id)) % (1 << 63))
