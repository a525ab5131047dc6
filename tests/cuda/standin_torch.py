"""A stand-in for the parts of torch that need a CUDA device: tensors "on the device" are of a class of their own.

Streams do nothing: what is put on them is done at once. What is asked of them is kept, for tests to look at. Fresh memory holds
rubbish, so that a tensor that was never written to shows.
"""

from contextlib import contextmanager

import torch
from standin_array import RUBBISH

DEVICE = torch.device("cuda", 0)
_empty = torch.empty


class DeviceTensor(torch.Tensor):
    """A tensor on the device; views of it are such tensors too."""

    device = property(lambda self: DEVICE)

    def record_stream(self, stream):
        stream.reads.add(self.untyped_storage().data_ptr())

    def read_by(self, stream):
        """True if torch was told that a stream reads the memory of this tensor."""
        return self.untyped_storage().data_ptr() in stream.reads


class Stream:
    """A stream that remembers."""

    def __init__(self, stream_ptr=None, device=None):
        self.reads, self.waited_for, self.n_events = set(), [], 0

    def record_event(self):
        self.n_events += 1
        return self, self.n_events

    def wait_event(self, event):
        self.waited_for.append(event)


def empty(*size, device=None, pin_memory=False, **options):
    made = _empty(*size, **options)
    if made.dtype == torch.uint8:
        made.fill_(RUBBISH)
    return made.as_subclass(DeviceTensor) if device is not None and torch.device(device) == DEVICE else made


@contextmanager
def installed(patch):
    """The stand-ins in torch, by pytest's `monkeypatch`; gives the stream that the trainer works on."""
    trainer = Stream()

    @contextmanager
    def stream(own):
        yield

    patch.setattr(torch, "empty", empty)
    for name, value in {
        "ExternalStream": Stream,
        "stream": stream,
        "current_stream": lambda device: trainer,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
    }.items():
        patch.setattr(torch.cuda, name, value)
    yield trainer
