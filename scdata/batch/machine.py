"""Where a loader makes its batches, and where their tensors are."""

from collections.abc import Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from scdata._blocks import Array
from scdata.batch.tensors import Batch
from scdata.stream.buffers import BufferPool

K = TypeVar("K", bound=Hashable)


class Memory(Protocol):
    """Where the arrays of a few batches come from: here where cells are decoded, then on the machine that makes batches."""

    def buffer(self, shape: int, dtype: npt.DTypeLike) -> Array:
        """An uninitialized array here."""

    def sent(self, arrays: Mapping[K, Array]) -> dict[K, Array]:
        """One-dimensional arrays of here, on the machine."""

    def take(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """An uninitialized array on the machine, for a batch."""

    def apart(self, array: Array) -> Array:
        """Part of an array, for a batch that is not to keep all of it in memory."""

    def tensors(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch of arrays on the machine as tensors; what is no array stays as it is."""


class Machine(Protocol):
    """Where batches are made."""

    def working(self) -> AbstractContextManager[Memory]:
        """In this context, in any thread, work is done there; for the batches of a chunk."""

    def ready(self) -> Any:
        """When what was begun so far is done; what `delivered` wants to know."""

    def delivered(self, batch: Batch, ready: Any) -> Batch:
        """A batch, for the thread that asks for it."""


class HostMemory:
    """`Memory` of the CPU."""

    def __init__(self, pool: BufferPool) -> None:
        self.buffer = self.take = pool.take

    def sent(self, arrays: Mapping[K, Array]) -> dict[K, Array]:
        return dict(arrays)

    def apart(self, array: Array) -> Array:
        return array.copy()

    def tensors(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {key: self._tensor(value) for key, value in batch.items()}

    def _tensor(self, value: Any) -> Any:
        if isinstance(value, dict):  # controls beside the cells
            return self.tensors(value)
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


class Host:
    """Makes batches on the CPU, for `device`.

    Parameters
    ----------
    pool
        Where memory comes from.
    device
        Where the tensors go.
    """

    def __init__(self, pool: BufferPool, device: torch.device) -> None:
        self._memory, self._device = HostMemory(pool), device

    def working(self) -> AbstractContextManager[Memory]:
        return nullcontext(self._memory)

    def ready(self) -> None:
        return None

    def delivered(self, batch: Batch, ready: None) -> Batch:
        return batch if self._device.type == "cpu" else Batch({key: self._moved(v) for key, v in batch.items()})

    def _moved(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._moved(own) for key, own in value.items()}
        if not isinstance(value, torch.Tensor):
            return value
        narrow = self._device.type == "mps" and value.dtype == torch.float64  # which it has not
        return value.to(self._device, torch.float32 if narrow else value.dtype)


def check_device(name: str) -> None:
    """Say whether batches can be made for a device, as torch names it.

    Raises
    ------
    ValueError
        If torch knows no such device, or cannot use it here.
    MissingExtraError
        If it needs CuPy, which is not there.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device = {name!r}: 'cpu', 'cuda', 'cuda:1' and so on, 'mps', or another that torch knows"
        ) from error
    if device.type == "cuda":
        from scdata.batch.side_stream import check_cuda

        check_cuda(device)
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device = {name!r}: torch cannot use it here ({reason}); 'cpu' always works") from error


def machine_of(name: str, pool: BufferPool) -> Machine:
    """Where batches are made for a device that was checked; `pool`: memory of the CPU."""
    device = torch.device(name)
    if device.type == "cuda":
        from scdata.batch.side_stream import cuda_machine

        return cuda_machine(device)
    return Host(pool, device)
