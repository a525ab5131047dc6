"""Every test of this folder runs twice: on a stand-in for CuPy, anywhere, and on a device where there is one."""

import sys
from pathlib import Path

import numpy as np
import pytest

from scdata import _backend

sys.path.append(str(Path(__file__).parents[1] / "cuda"))


class Device:
    """The machine that kernels are tested on."""

    def __init__(self, cupy, real):
        self.cupy, self.real = cupy, real

    def __call__(self, *arrays):
        """Copies of NumPy arrays on the device."""
        copies = tuple(self.cupy.asarray(array) for array in arrays)
        return copies if len(copies) > 1 else copies[0]

    def back(self, *arrays):
        """What a kernel gave, as NumPy arrays; an error if it is not on the device."""
        for array in arrays:
            assert isinstance(array, self.cupy.ndarray)
        copies = tuple(array.get() for array in arrays)
        return copies if len(copies) > 1 else copies[0]

    def orders(self):
        """Once on a device; on the stand-in, once for each order of threads: forward, backward, shuffled."""
        for order in (0,) if self.real else (0, 1, 2):
            if not self.real:
                self.cupy.state.order = order
            yield order


@pytest.fixture(params=["stand-in", pytest.param("device", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "device":
        if not _backend.device_count():
            pytest.skip("no CUDA device")
        import cupy

        yield Device(cupy, True)
        return
    import cuda_on_host
    import cupy_standin

    if cuda_on_host.COMPILER is None:
        pytest.skip("no C++ compiler for CUDA sources on the CPU")
    with cupy_standin.installed():
        yield Device(cupy_standin, False)


@pytest.fixture
def rng():
    return np.random.default_rng(20250801)
