"""`device=` where there is no CUDA: devices of torch that batches are moved to, and what is refused. With CUDA: tests/gpu."""

import sys
import types

import pytest
import torch

from scdata import ShardDataset, _backend, mix
from scdata._errors import MissingExtraError
from scdata.batch.machine import Host
from scdata.batch.tensors import Batch
from scdata.stream.buffers import BufferPool


def test_batches_are_moved_to_any_device_of_torch(counts_set):
    # the only one that is everywhere, and holds nothing
    expected = list(ShardDataset(counts_set, batch_size=50, columns=("total_counts",)))
    found = list(ShardDataset(counts_set, batch_size=50, columns=("total_counts",), device=torch.device("meta")))
    assert len(found) == len(expected)
    for batch, own in zip(found, expected, strict=True):
        assert batch["state"] == own["state"]
        assert {key: value.device.type for key, value in batch.items() if key != "state"}.items() == {
            key: "meta" for key in own if key != "state"
        }.items()
        assert all(
            batch[key].shape == own[key].shape and batch[key].dtype == own[key].dtype for key in own if key != "state"
        )


@pytest.mark.parametrize(
    "make", [lambda path, **options: ShardDataset(path, **options), lambda path, **o: mix({path: 1}, **o)]
)
def test_a_device_that_torch_does_not_know(counts_set, make):
    with pytest.raises(ValueError, match=r"device = 'gpu': 'cpu', 'cuda', 'cuda:1' and so on, 'mps'"):
        make(counts_set, device="gpu")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is one")
def test_a_device_that_is_not_here(counts_set):
    with pytest.raises(ValueError, match=r"device = 'mps': torch cannot use it here \(.+\); 'cpu' always works"):
        ShardDataset(counts_set, device="mps")


def test_cuda_without_cupy(counts_set, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(
        MissingExtraError, match=r"cupy is needed to make batches .*pip install 'scdata-engine\[cuda13\]'"
    ):
        ShardDataset(counts_set, device="cuda")


@pytest.fixture
def cupy(monkeypatch):
    """A CuPy that finds one device."""
    runtime = types.SimpleNamespace(getDeviceCount=lambda: 1)
    module = types.ModuleType("cupy")
    module.cuda = types.SimpleNamespace(runtime=runtime)
    monkeypatch.setitem(sys.modules, "cupy", module)
    _backend.device_count.cache_clear()
    yield runtime
    _backend.device_count.cache_clear()


def test_no_cuda_for_torch(counts_set, cupy, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device = 'cuda': torch finds no CUDA device here: take device='cpu'"):
        ShardDataset(counts_set, device="cuda")


def test_no_cuda_for_cupy(counts_set, cupy, monkeypatch):
    cupy.getDeviceCount = lambda: 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="device = 'cuda:0': CuPy finds no CUDA device here"):
        ShardDataset(counts_set, device="cuda:0")


def test_a_number_that_no_device_has(counts_set, cupy, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(ValueError, match="device = 'cuda:1': there are 1 CUDA devices here, from cuda:0"):
        ShardDataset(counts_set, device="cuda:1")


def test_workers_hand_over_no_tensors_of_a_device(counts_set):
    loader = torch.utils.data.DataLoader(ShardDataset(counts_set, device="meta"), batch_size=None, num_workers=1)
    with pytest.raises(ValueError, match=r"device = 'meta' with 1 DataLoader workers.*num_workers=0"):
        next(iter(loader))


def test_a_dataloader_without_workers(counts_set):
    loader = torch.utils.data.DataLoader(ShardDataset(counts_set, device="meta"), batch_size=None)
    assert next(iter(loader))["values"].device.type == "meta"


class Moved(torch.Tensor):
    """A tensor that says where it is asked to go."""

    def to(self, device, dtype):
        return device.type, dtype


def test_mps_has_no_float64():
    doubles = torch.arange(3, dtype=torch.float64).as_subclass(Moved)
    batch = Batch({"age": doubles, "values": doubles.int().as_subclass(Moved), "max_seqlen": 3})
    found = Host(BufferPool(), torch.device("mps")).delivered(batch, None)
    assert found == {"age": ("mps", torch.float32), "values": ("mps", torch.int32), "max_seqlen": 3}
    assert Host(BufferPool(), torch.device("cpu")).delivered(batch, None) is batch
