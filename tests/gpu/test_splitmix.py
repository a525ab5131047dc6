"""Random numbers of a device are those of the CPU."""

import numpy as np
import pytest

from scdata._splitmix import keys, splitmix64


@pytest.mark.parametrize("shape", [(0,), (1,), (257,), (5, 300), (4096 * 256 + 3,)])
def test_mixed(device, rng, shape):
    counters = rng.integers(0, 1 << 64, shape, np.uint64)
    assert np.array_equal(device.back(splitmix64(device(counters))), splitmix64(counters))


def test_counters_that_do_not_lie_together(device, rng):
    counters = rng.integers(0, 1 << 64, (6, 8), np.uint64)
    assert np.array_equal(device.back(splitmix64(device(counters)[:, ::3])), splitmix64(counters[:, ::3]))


def test_keys_of_integers(device):
    numbers = np.array([0, 1, -1, 1 << 40], np.int64)
    assert np.array_equal(device.back(keys(device(numbers), 77)), keys(numbers, 77))
