import numpy as np
import pytest

from scdata._splitmix import keys, splitmix64
from scdata.tokens.kernels import binning_device
from scdata.tokens.kernels.binning import draw_bins, quantile_bins, quantile_bins_numpy
from scdata.tokens.kernels.quantile_ties import quantile_bins_random, quantile_bins_upper

KINDS = {
    "like real ones": lambda n, rng: rng.geometric(0.4, n),
    "one value": lambda n, rng: np.full(n, 3),
    "around the table's end": lambda n, rng: rng.integers(253, 260, n),
    "large": lambda n, rng: rng.integers(1, 1 << 31, n),
    "mixed": lambda n, rng: np.where(rng.random(n) < 0.8, rng.geometric(0.5, n), rng.integers(1, 1 << 31, n)),
    "largest": lambda n, rng: np.full(n, (1 << 31) - 1),
}
SHAPES = {
    "no cells": [],
    "empty cells": [0, 0],
    "one gene": [1, 0, 1],
    "small": [2, 3, 0, 5, 49, 50, 51, 100],
    "cells": [300, 257, 0, 900],
}


def cells(shape, kind, rng):
    indptr = np.concatenate(([0], np.cumsum(SHAPES[shape]))).astype(np.int64)
    return indptr, np.asarray(KINDS[kind](indptr[-1], rng), np.int32)


def twin(indptr, counts, n_bins):
    return quantile_bins_numpy(indptr, counts, np.linspace(0, 1, n_bins - 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_like_the_cpu(device, rng, shape, kind):
    indptr, counts = cells(shape, kind, rng)
    for n_bins in (3, 51, 257):
        expected = twin(indptr, counts, n_bins)
        for _ in device.orders():
            low, high = device.back(*quantile_bins(*device(indptr, counts), n_bins))
            assert low.dtype == high.dtype == np.int32
            assert (low.tolist(), high.tolist()) == (expected[0].tolist(), expected[1].tolist())


def test_cells_with_more_large_counts_than_a_block_holds(device, rng, monkeypatch):
    monkeypatch.setattr(binning_device, "LARGE_COUNTS", 32)
    indptr, counts = cells("cells", "large", rng)
    counts[:300] = rng.geometric(0.5, 300)
    for full in (32, 33):  # one cell at the limit, or above it
        own = counts.copy()
        own[:full] = 1000 + rng.integers(0, 9, full)
        low, high = device.back(*quantile_bins(*device(indptr, own), 51))
        expected = twin(indptr, own, 51)
        assert (low.tolist(), high.tolist()) == (expected[0].tolist(), expected[1].tolist())


def test_more_edges_than_a_block_holds(device, rng):
    indptr, counts = cells("small", "mixed", rng)
    for n_bins in (binning_device.MOST_EDGES + 1, binning_device.MOST_EDGES + 2):
        low, high = device.back(*quantile_bins(*device(indptr, counts), n_bins))
        expected = twin(indptr, counts, n_bins)
        assert (low.tolist(), high.tolist()) == (expected[0].tolist(), expected[1].tolist())


def test_draws_are_those_of_the_cpu(device, rng):
    low = rng.integers(1, 30, 5000).astype(np.int32)
    high = low + rng.integers(0, 21, 5000).astype(np.int32)
    counter = rng.integers(0, 1 << 63, 5000)
    expected = draw_bins(low, high, keys(counter, 11))
    there = device(low, high, counter)
    drawn = device.back(draw_bins(there[0], there[1], keys(there[2], 11)))
    assert drawn.tolist() == expected.tolist()


def test_upper_and_random_bins_are_those_of_the_cpu(device, rng):
    indptr, counts = cells("cells", "like real ones", rng)
    token_ids = np.concatenate([np.sort(rng.permutation(60_000)[:n]) for n in SHAPES["cells"]]).astype(np.int32)
    cell_keys = splitmix64(np.arange(len(indptr) - 1, dtype=np.uint64))
    upper = quantile_bins_upper(indptr, counts, 51)
    random = quantile_bins_random(indptr, counts, token_ids, cell_keys, 51)
    there = device(indptr, counts, token_ids, cell_keys)
    assert device.back(quantile_bins_upper(*there[:2], 51)).tolist() == upper.tolist()
    assert device.back(quantile_bins_random(*there, 51)).tolist() == random.tolist()
    assert (random <= upper).all()
    assert (random < upper).any()
