"""Which library and which machine an array belongs to, without a device (with one: tests/gpu)."""

import gc
import subprocess
import sys
import types

import numpy as np
import pytest

from scdata import _backend
from scdata._backend import backend, beside, device_count, on_device, per_entry, row_of_entry, to_host


class DeviceArray:
    """An array that NumPy knows nothing of."""

    def __init__(self, array):
        self.array = array

    def get(self):
        return self.array


@pytest.fixture
def cupy(monkeypatch):
    module = types.ModuleType("cupy")
    module.ndarray, module.asarray = DeviceArray, lambda array: DeviceArray(array.copy())
    module.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDevice=lambda: 0, getDeviceCount=lambda: 2),
        get_current_stream=lambda: types.SimpleNamespace(synchronize=lambda: None),
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(_backend, "_copies", {})
    device_count.cache_clear()
    yield module
    device_count.cache_clear()


def test_an_array_decides_where_it_is_worked_on(cupy):
    assert backend(np.arange(3)) is np
    assert backend([1, 2]) is np
    assert backend(DeviceArray(np.arange(3))) is cupy
    assert on_device(DeviceArray(0))
    assert not on_device(np.float64(1))


def test_asking_does_not_import_cupy():
    code = "import sys, numpy as np, scdata._backend as b; b.backend(np.arange(3)); print('cupy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_devices_are_counted(cupy, monkeypatch):
    assert device_count() == 2
    device_count.cache_clear()

    def no_driver():
        raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")

    cupy.cuda.runtime.getDeviceCount = no_driver
    assert device_count() == 0
    device_count.cache_clear()
    monkeypatch.setitem(sys.modules, "cupy", None)  # an import fails
    assert device_count() == 0


def test_rows_of_entries():
    indptr = np.array([0, 0, 2, 2, 5, 5])
    assert row_of_entry(indptr).tolist() == [1, 1, 3, 3, 3]
    assert per_entry(np.array([9, 8, 7, 6, 5]), indptr).tolist() == [8, 8, 6, 6, 6]
    assert row_of_entry(np.zeros(1, np.int64)).tolist() == []


def test_to_host(cupy):
    x = np.arange(3)
    assert to_host(x) is x
    assert to_host(DeviceArray(x)) is x


def test_a_table_is_copied_once(cupy):
    x, table = DeviceArray(0), np.arange(4)
    assert beside(np.arange(2), table) is table
    copy = beside(x, table)
    assert copy.array.tolist() == table.tolist()
    assert beside(x, table) is copy
    assert beside(x, table.copy()) is not copy


def test_copies_of_tables_that_are_gone_are_forgotten(cupy):
    table = np.arange(4)
    beside(DeviceArray(0), table)
    assert len(_backend._copies) == 1
    del table
    gc.collect()
    assert _backend._copies == {}
