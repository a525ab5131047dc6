"""A stand-in for the parts of torch that need a CUDA device: tensors "on the device" are of a class of their own.

Streams do nothing: what is put on them is done at once. What is asked of them is kept, for tests to look at. Fresh memory holds
rubbish, so that a tensor that was never written to shows.
"""

import zlib
from contextlib import contextmanager

import torch
from standin_array import RUBBISH

DEVICE = torch.device("cuda", 0)
_empty = torch.empty
_made = []  # memory of the device since the last event


class DeviceTensor(torch.Tensor):
    """A tensor on the device; views of it are such tensors too."""

    device = property(lambda self: DEVICE)

    def record_stream(self, stream):
        stream.reads.add(_address(self))

    def read_by(self, stream):
        """True if torch was told that a stream reads the memory of this tensor."""
        return _address(self) in stream.reads

    def made_before(self, event):
        """True if the memory of this tensor held what it holds now when an event was recorded."""
        return event.held[_address(self)] == _content(self)


def _address(tensor):
    return tensor.untyped_storage().data_ptr()


def _content(tensor):
    return zlib.crc32(_empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).numpy())


class Stream:
    """A stream that remembers."""

    def __init__(self, stream_ptr=None, device=None):
        self.reads, self.waited_for = set(), []

    def record_event(self):
        return Event()

    def wait_event(self, event):
        self.waited_for.append(event)


class Event:
    """What the memory held, when it was recorded, that was made since the event before."""

    def __init__(self):
        self.held = {_address(tensor): _content(tensor) for tensor in _made}
        _made.clear()


def empty(*size, device=None, pin_memory=False, **options):
    made = _empty(*size, **options)
    if made.dtype == torch.uint8:
        made.fill_(RUBBISH)
    if device is None or torch.device(device) != DEVICE:
        return made
    own = made.as_subclass(DeviceTensor)
    _made.append(own)
    return own


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
