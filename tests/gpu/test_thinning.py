import numpy as np
import pytest

from scdata._splitmix import splitmix64
from scdata.normalize.thinning import thin, thin_numpy
from scdata.normalize.thinning_device import thin_device

CELLS = {
    "no cells": [],
    "empty cells": [0, 0],
    "one gene": [1],
    "cells": [5, 0, 255, 256, 257, 700],
}


def cells(shape, rng, largest=40):
    indptr = np.concatenate(([0], np.cumsum(CELLS[shape]))).astype(np.int64)
    n = int(indptr[-1])
    counts = np.minimum(rng.geometric(0.2, n), largest).astype(np.int32)
    counts[rng.random(n) < 0.1] = 0
    token_ids = rng.permutation(70_000)[:n].astype(np.int32)
    return indptr, counts, token_ids, splitmix64(np.arange(len(indptr) - 1, dtype=np.uint64))


@pytest.mark.parametrize("rule", [(1.0, 2, 2), (0.5, 2, 2), (1.0, 1, 7), (0.0, 3, 1)])
@pytest.mark.parametrize("shape", CELLS)
def test_draws_are_those_of_the_cpu(device, rng, shape, rule):
    indptr, counts, token_ids, cell_keys = cells(shape, rng)
    total = rng.integers(0, 3, len(cell_keys)) * 1000
    given = dict(zip(("p", "alpha", "beta"), rule, strict=True), min_counts=500)
    expected, thinned = thin(indptr, counts, token_ids, total, cell_keys, **given)
    for _ in device.orders():
        left, which = device.back(*thin(*device(indptr, counts, token_ids, total, cell_keys), **given))
        assert left.dtype == np.int32
        assert left.tolist() == expected.tolist()
        assert which.tolist() == thinned.tolist()


def test_a_gene_with_very_many_molecules(device, rng):
    indptr, counts, token_ids, cell_keys = cells("cells", rng)
    counts[[0, 100, -1]] = 200_000
    share = np.full(len(cell_keys), 1 << 62, np.uint64)
    expected = thin_numpy(indptr, counts, token_ids, np.ones(len(cell_keys), bool), share, cell_keys)
    there = device(indptr, counts, token_ids, np.ones(len(cell_keys), bool), share, cell_keys)
    left = device.back(thin_device(*there))
    assert left.tolist() == expected.tolist()
    assert abs(left[100] / 200_000 - 0.25) < 0.01


def test_a_draw_that_is_the_share_does_not_stay(device):
    indptr, counts, token_ids = np.array([0, 1]), np.array([1], np.int32), np.array([7], np.int32)
    base = np.array([12345], np.uint64)
    draw = splitmix64(splitmix64(base + np.uint64(7)))
    for share, left in ((draw, 0), (draw + np.uint64(1), 1)):
        there = device(indptr, counts, token_ids, np.ones(1, bool), share, base)
        assert device.back(thin_device(*there)).tolist() == [left]
        assert thin_numpy(indptr, counts, token_ids, np.ones(1, bool), share, base).tolist() == [left]


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
def test_token_ids_of_any_width(device, rng, dtype):
    indptr, counts, token_ids, cell_keys = cells("cells", rng)
    token_ids %= 60_000
    share = np.full(len(cell_keys), 1 << 63, np.uint64)
    thinned = np.arange(len(cell_keys)) % 2 == 0
    expected = thin_numpy(indptr, counts, token_ids, thinned, share, cell_keys)
    there = device(indptr, counts, token_ids.astype(dtype), thinned, share, cell_keys)
    assert device.back(thin_device(*there)).tolist() == expected.tolist()
