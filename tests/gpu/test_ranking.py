import numpy as np
import pytest

from scdata.tokens.kernels import ranking_device
from scdata.tokens.kernels.rank_tokens import rank_tokens_numpy
from scdata.tokens.kernels.ranking import rank_order, rank_order_numpy
from scdata.tokens.kernels.ranking_device import rank_packed, rank_tokens_device


def rows_of(lengths):
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


SHAPES = {
    "no rows": [],
    "empty rows": [0, 0, 0],
    "one entry": [1],
    "around powers of two": [0, 1, 2, 3, 4, 5, 7, 8, 9, 0, 63, 64, 65, 1],
    "cells": [300, 0, 777, 1025, 12],
}


def values_of(kind, n, rng):
    if kind == "ties":
        return rng.integers(1, 4, n).astype(np.float64)
    if kind == "near ties":
        return 1.0 + rng.integers(0, 50, n) * 2.0**-52
    if kind == "wide":
        return np.exp2(rng.uniform(-900, 900, n))
    return rng.geometric(0.3, n) / rng.uniform(1e-3, 1e4, n)


@pytest.mark.parametrize("kind", ["like real ones", "ties", "near ties", "wide"])
@pytest.mark.parametrize("shape", SHAPES)
def test_like_the_cpu(device, rng, shape, kind):
    indptr = rows_of(SHAPES[shape])
    values = values_of(kind, indptr[-1], rng)
    expected = rank_order_numpy(indptr, values)
    for _ in device.orders():
        order = device.back(rank_order(*device(indptr, values)))
        assert order.dtype == np.int64
        assert order.tolist() == expected.tolist()


@pytest.mark.parametrize("kind", ["like real ones", "ties", "near ties", "wide"])
def test_long_rows_go_by_a_packed_key(device, rng, monkeypatch, kind):
    # rows as long as that are slow on the stand-in: shorter ones count as long here
    monkeypatch.setattr(ranking_device, "BLOCK_ROW", 16)
    monkeypatch.setattr(ranking_device, "CHUNK_ROWS", 3)
    indptr = rows_of([20, 3, 0, 17, 40, 16, 100, 1, 33])
    values = values_of(kind, indptr[-1], rng)
    order = device.back(rank_order(*device(indptr, values)))
    assert order.tolist() == rank_order_numpy(indptr, values).tolist()


@pytest.mark.parametrize("longest", [(1 << 13) + 1, 1 << 16, (1 << 16) + 1])
def test_rows_over_the_limits(device, rng, longest):
    indptr = rows_of([3, 0, longest, 2])
    for kind in ("ties", "near ties", "like real ones"):
        values = values_of(kind, indptr[-1], rng)
        order = device.back(rank_order(*device(indptr, values)))
        assert order.tolist() == rank_order_numpy(indptr, values).tolist()


def test_the_longest_row_that_a_block_sorts(device, rng):
    indptr = rows_of([ranking_device.BLOCK_ROW, 5])
    values = values_of("near ties", indptr[-1], rng)
    order = device.back(rank_order(*device(indptr, values)))
    assert order.tolist() == rank_order_numpy(indptr, values).tolist()


@pytest.mark.parametrize("n_rows", [1, 1023, 1024])
def test_packed_keys_on_the_cpu(rng, n_rows):
    indptr = rows_of(rng.integers(0, 9, n_rows))
    for kind in ("like real ones", "ties", "near ties", "wide"):
        values = values_of(kind, indptr[-1], rng)
        assert rank_packed(indptr, values).tolist() == rank_order_numpy(indptr, values).tolist()


@pytest.mark.parametrize("edge", [2.0**-64, np.nextafter(2.0**64, 0), np.nextafter(2.0**-64, 0), 2.0**64])
def test_values_at_the_ends_of_the_packed_range(edge):
    values = np.array([1.0, edge, 1.0, edge, 2.0**-60, 2.0**60])
    indptr = np.array([0, 6])
    assert rank_packed(indptr, values).tolist() == rank_order_numpy(indptr, values).tolist()


@pytest.mark.parametrize("block_row", [16, 1 << 13])
def test_ranked_tokens(device, rng, monkeypatch, block_row):
    monkeypatch.setattr(ranking_device, "BLOCK_ROW", block_row)
    monkeypatch.setattr(ranking_device, "CHUNK_ROWS", 3)
    lengths = [20, 3, 0, 17, 40, 16, 100, 1, 33]
    indptr = rows_of(lengths)
    genes = np.concatenate([rng.permutation(500)[:n] for n in lengths]).astype(np.int32)
    counts = rng.integers(1, 4, len(genes)).astype(np.int32)  # many ties
    counts[:5] = (1 << 31) - 1
    total = rng.integers(100, 1 << 33, len(lengths))
    medians, tokens = rng.choice([0.5, 1.7, 3.1], 500), rng.permutation(70_000)[:500].astype(np.int32)
    expected = rank_tokens_numpy(indptr, genes, counts, total, 1e4, medians, tokens)
    there = device(indptr, genes, counts, total)
    for _ in device.orders():
        found = device.back(rank_tokens_device(*there, 1e4, *device(medians, tokens)))
        assert found.dtype == np.int32
        assert found.tolist() == expected.tolist()


def test_values_that_do_not_lie_together(device):
    spread = device(np.array([1.0, 9.0, 3.0, 9.0, 2.0]))[::2]
    assert device.back(rank_order(device(np.array([0, 3])), spread)).tolist() == [1, 2, 0]
