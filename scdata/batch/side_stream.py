"""Batches made on a CUDA device, by CuPy, on a stream beside the trainer's.

All loaders of a process use one such stream a device: work that their threads put there is done in order, so that memory can
pass from one to the other, and tables that are copied once serve all. Memory that leaves it, in a tensor, is torch's, and CuPy
writes to it (by DLPack, without a copy): only of its own memory does torch know which streams use it (`record_stream`), and
reuses it when they are done. Pinned memory is torch's too, which keeps it until the copy is over.
"""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from scdata._backend import device_count, on_device
from scdata._blocks import Array
from scdata._optional import need
from scdata.batch.machine import Memory
from scdata.batch.tensors import Batch, tensors_in

K = TypeVar("K", bound=Hashable)

_ALIGNED = 256  # bytes, as the device's own allocations
_LEAST = 1 << 16  # bytes that are pinned at once


class SideStream:
    """Makes batches on a device.

    Parameters
    ----------
    device
        One that CUDA has.
    xp
        ``cupy``.
    """

    def __init__(self, device: torch.device, xp: Any) -> None:
        self._device, self._xp = device, xp
        with xp.cuda.Device(device.index):
            # one that does not wait for the default stream, where a trainer may work
            self._of_cupy = xp.cuda.Stream(non_blocking=True)
        self._stream: Any = torch.cuda.ExternalStream(self._of_cupy.ptr, device)  # type: ignore[no-untyped-call]

    @contextmanager
    def working(self) -> Iterator[Memory]:
        with torch.cuda.stream(self._stream), self._xp.cuda.Device(self._device.index), self._of_cupy:
            yield DeviceMemory(self._device, self._xp)

    def ready(self) -> Any:
        return self._stream.record_event()

    def delivered(self, batch: Batch, ready: Any) -> Batch:
        trainer = torch.cuda.current_stream(self._device)
        trainer.wait_event(ready)
        for value in tensors_in(batch):
            if value.device == self._device:
                value.record_stream(trainer)
        return batch


class DeviceMemory:
    """`Memory` of a device, for the batches of a chunk."""

    def __init__(self, device: torch.device, xp: Any) -> None:
        self._device, self._xp = device, xp
        self._pieces: list[_Pinned] = []
        self._places: dict[int, _Place] = {}
        self._taken: dict[int, tuple[Array, torch.Tensor]] = {}

    def buffer(self, shape: int, dtype: npt.DTypeLike) -> Array:
        kind = np.dtype(dtype)
        n_bytes = shape * kind.itemsize
        if not self._pieces or not self._pieces[-1].has_room(n_bytes):
            # token ids come first: values beside them take as much, and columns little
            self._pieces.append(_Pinned(2 * n_bytes + _LEAST))
        start, array = self._pieces[-1].take(n_bytes, kind)
        self._places[id(array)] = _Place(array, len(self._pieces) - 1, start)
        return array

    def sent(self, arrays: Mapping[K, Array]) -> dict[K, Array]:
        places = {key: self._places.get(id(array)) or self._put(array) for key, array in arrays.items()}
        there = [self._xp.from_dlpack(piece.copied(self._device)) for piece in self._pieces]
        self._pieces, self._places = [], {}
        return {key: place.within(there) for key, place in places.items()}

    def _put(self, array: Array) -> "_Place":
        pinned = self.buffer(len(array), array.dtype)
        pinned[:] = array
        place = self._places[id(pinned)]
        # the same array may be sent under two keys
        self._places[id(array)] = _Place(array, place.piece, place.start)
        return place

    def take(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        kind = np.dtype(dtype)
        n_bytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        # bytes, which DLPack has in every version; at least one, which has an address
        flat = torch.empty(max(n_bytes, 1), dtype=torch.uint8, device=self._device)
        array: Array = self._xp.from_dlpack(flat)[:n_bytes].view(kind).reshape(shape)
        self._taken[id(array)] = array, flat[:n_bytes].view(_torch_type(kind)).reshape(shape)
        return array

    def apart(self, array: Array) -> Array:
        return array  # what was not taken for a tensor is copied to one

    def tensors(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: self.tensors(value)
            if isinstance(value, dict)  # controls beside the cells
            else self._tensor(value)
            if on_device(value)
            else value
            for key, value in batch.items()
        }

    def _tensor(self, array: Array) -> torch.Tensor:
        if id(array) not in self._taken:
            own = self.take(array.shape, array.dtype)
            own[...] = array
            array = own
        return self._taken[id(array)][1]


class _Pinned:
    """Pinned memory that goes to the device in one copy."""

    def __init__(self, n_bytes: int) -> None:
        # torch keeps pinned memory in powers of two
        self._tensor = torch.empty(1 << (n_bytes - 1).bit_length(), dtype=torch.uint8, pin_memory=True)
        self._bytes: Array = self._tensor.numpy()
        self._end = 0

    def has_room(self, n_bytes: int) -> bool:
        return self._end + n_bytes <= len(self._bytes)

    def take(self, n_bytes: int, kind: np.dtype[Any]) -> tuple[int, Array]:
        """Where an array begins, and the array."""
        start = self._end
        self._end += -(-n_bytes // _ALIGNED) * _ALIGNED
        return start, self._bytes[start : start + n_bytes].view(kind)

    def copied(self, device: torch.device) -> torch.Tensor:
        """What was taken, on the device: a copy that the current stream makes when it comes to it."""
        here = self._tensor[: max(1, self._end)]
        there = torch.empty(len(here), dtype=torch.uint8, device=device)
        return there.copy_(here, non_blocking=True)


class _Place:
    """Where an array stands in pinned memory; keeps it, so that its id stays its own."""

    def __init__(self, array: Array, piece: int, start: int) -> None:
        self.array, self.piece, self.start = array, piece, start

    def within(self, there: list[Array]) -> Array:
        """The array in copies of the pieces."""
        return there[self.piece][self.start : self.start + self.array.nbytes].view(self.array.dtype)


def _torch_type(kind: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, kind)).dtype


@cache
def _side_stream(device: torch.device) -> SideStream:
    return SideStream(device, need("cupy", "make batches on a CUDA device"))


def check_cuda(device: torch.device) -> None:
    """Say whether batches can be made on a CUDA device, without making a context there, which takes memory.

    Raises
    ------
    ValueError
        If torch or CuPy finds no such device.
    MissingExtraError
        If there is no CuPy.
    """
    need("cupy", "make batches on a CUDA device")
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = {"torch": n_devices, "CuPy": device_count()}
    for library, n in found.items():
        if n == 0:
            raise ValueError(
                f"device = '{device}': {library} finds no CUDA device here: take device='cpu', or a build of {library} for the "
                "driver of this machine (torch.cuda.is_available(); scdata-engine[cuda12] or [cuda13])"
            )
    if device.index is not None and device.index >= min(found.values()):
        raise ValueError(f"device = '{device}': there are {min(found.values())} CUDA devices here, from cuda:0")


def cuda_machine(device: torch.device) -> SideStream:
    """What makes batches on a CUDA device of torch; without a number the one that is current now."""
    return _side_stream(torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index))
