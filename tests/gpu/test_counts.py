"""Kernels that are one definition for both machines."""

import numpy as np
import pytest

from scdata._backend import beside, per_entry, row_of_entry
from scdata._splitmix import keys, splitmix64
from scdata.counts.csr import gather_genes, ragged_rows
from scdata.normalize.depth_table import DepthTable
from scdata.normalize.hvg_seurat import normalized_moments
from scdata.normalize.hvg_seurat_v3 import VarianceTrend, moments_below_clip
from scdata.normalize.library_size import library_size, log1p_normalized, normalize_total
from scdata.normalize.medians import ValueHistogram
from scdata.normalize.moments import GeneMoments
from scdata.tokens.kernels.binning import quantile_bins
from scdata.tokens.kernels.edges import depth_edge_bins, depth_edge_bins_numpy, edge_bins
from scdata.tokens.kernels.levels import count_levels
from scdata.tokens.kernels.rank_tokens import rank_tokens, rank_tokens_numpy
from scdata.tokens.kernels.ranking_device import rank_tokens_device

CELLS = {
    "no cells": [],
    "empty cells": [0, 0, 0],
    "one gene": [0, 1],
    "cells": [40, 0, 1, 200, 3, 120],
}


def cells(shape, rng, n_genes=500, largest=1 << 31):
    """A CSR of counts with rows in any order of genes, distinct within a row."""
    indptr = np.concatenate(([0], np.cumsum(CELLS[shape]))).astype(np.int64)
    genes = [rng.permutation(n_genes)[:n] for n in CELLS[shape]]
    indices = np.concatenate([np.empty(0, int), *genes]).astype(np.int32)
    counts = np.where(
        rng.random(len(indices)) < 0.9, rng.geometric(0.3, len(indices)), rng.integers(1, largest, len(indices))
    )
    return indptr, indices, counts.astype(np.int32)


def test_random_numbers(device, rng):
    counter = rng.integers(-(1 << 63), 1 << 63, 1000)
    there = device(counter)
    assert device.back(keys(there, 17)).tolist() == keys(counter, 17).tolist()
    assert device.back(splitmix64(there.view(np.uint64))).tolist() == splitmix64(counter.view(np.uint64)).tolist()


@pytest.mark.parametrize("shape", CELLS)
def test_rows(device, rng, shape):
    indptr, _, _ = cells(shape, rng)
    n_cells = len(indptr) - 1
    there = device(indptr)
    assert device.back(row_of_entry(there)).tolist() == row_of_entry(indptr).tolist()
    of_row = rng.integers(0, 99, n_cells)
    assert device.back(per_entry(device(of_row), there)).tolist() == per_entry(of_row, indptr).tolist()
    rows = rng.integers(0, n_cells, 9) if n_cells else np.empty(0, np.int64)
    own, take = device.back(*ragged_rows(there, device(rows)))
    expected = ragged_rows(indptr, rows)
    assert (own.tolist(), take.tolist()) == (expected[0].tolist(), expected[1].tolist())


@pytest.mark.parametrize("n_genes", [200, 1 << 20, (1 << 31) - 1])
@pytest.mark.parametrize("shape", CELLS)
def test_gather_genes(device, rng, shape, n_genes):
    indptr, indices, counts = cells(shape, rng, largest=1 << 20)
    target = rng.integers(-1, min(n_genes, 300), 500).astype(np.int32)  # some dropped, some the same gene
    expected = gather_genes(indptr, indices, counts, target, n_genes)
    found = device.back(*gather_genes(*device(indptr, indices, counts, target), n_genes))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


def test_sums_over_the_limit_are_refused(device):
    given = np.array([0, 2]), np.array([0, 1], np.int32), np.full(2, 1 << 30, np.int32), np.zeros(2, np.int32)
    with pytest.raises(OverflowError, match="2147483648"):
        gather_genes(*device(*given), 5)


@pytest.mark.parametrize("shape", CELLS)
def test_library_size_and_normalized_values(device, rng, shape):
    indptr, _, counts = cells(shape, rng)
    total = library_size(indptr, counts)
    there = device(indptr, counts, total)
    assert device.back(library_size(*there[:2])).tolist() == total.tolist()
    relative = normalize_total(indptr, counts, total, 1e4)
    assert device.back(normalize_total(*there, 1e4)).tolist() == relative.tolist()
    logs = device.back(log1p_normalized(*there, 1e4))
    assert logs.dtype == np.float32
    np.testing.assert_allclose(logs, log1p_normalized(indptr, counts, total, 1e4), rtol=1e-6)


@pytest.mark.parametrize("shape", CELLS)
def test_statistics_of_a_corpus(device, rng, shape):
    indptr, genes, counts = cells(shape, rng)
    total = library_size(indptr, counts)
    there = device(indptr, genes, counts, total)
    expected, found = ValueHistogram.of(indptr, genes, counts, total), ValueHistogram.of(*there)
    assert (found.key.tolist(), found.count.tolist()) == (expected.key.tolist(), expected.count.tolist())
    moments, same = GeneMoments.of(indptr, genes, counts, 500), GeneMoments.of(*there[:3], 500)
    for name in ("n_cells", "expressing", "total"):
        assert getattr(same, name).tolist() == getattr(moments, name).tolist()
    assert same.squares.high.tolist() == moments.squares.high.tolist()
    assert same.squares.low.tolist() == moments.squares.low.tolist()
    batch = rng.integers(0, 3, len(total)).astype(np.int32)
    units, equal = (
        normalized_moments(*given[:4], 500, given[4])
        for given in ((indptr, genes, counts, total, batch), (*there, device(batch)))
    )
    assert equal.total.tolist() == units.total.tolist()
    assert equal.squares.high.tolist() == units.squares.high.tolist()
    table, alike = DepthTable.of(indptr, counts, total, 1e4), DepthTable.of(there[0], there[2], there[3], 1e4)
    assert alike.values.tolist() == table.values.tolist()
    assert alike.cells.tolist() == table.cells.tolist()


def test_moments_below_a_clip(device, rng):
    indptr, genes, counts = cells("cells", rng, largest=1 << 20)
    batch = rng.integers(0, 2, len(indptr) - 1).astype(np.int32)
    batch[:2] = 0, 1
    n = np.bincount(batch)
    ones = np.ones((2, 500))
    trend = VarianceTrend(np.arange(2, dtype=np.int32), n, n[:, None] * ones.astype(np.int64), 2 * ones, 3 * ones)
    expected = moments_below_clip(indptr, genes, counts, trend, batch)
    there = device(indptr, genes, counts, batch)
    found = moments_below_clip(*there[:3], trend, there[3])
    for name in ("batches", "n_cells", "expressing", "total"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
    assert found.squares.low.tolist() == expected.squares.low.tolist()


@pytest.mark.parametrize("n_edges", [1, 2, 31, 49, 64])
@pytest.mark.parametrize("shape", CELLS)
def test_bins_by_edges(device, rng, shape, n_edges):
    indptr, _, counts = cells(shape, rng)
    total = library_size(indptr, counts)
    edges = np.sort(rng.exponential(2, (4, n_edges)), axis=1)
    borders = np.sort(rng.integers(0, 1 + total.max(initial=0), 3))
    there = device(indptr, counts, total)
    expected = depth_edge_bins_numpy(indptr, counts, total, borders, edges, 1e4)
    assert device.back(depth_edge_bins(*there, borders, edges, 1e4)).tolist() == expected.tolist()
    same = edge_bins(indptr, counts, total, edges[1], 1e4)
    assert device.back(edge_bins(*there, edges[1], 1e4)).tolist() == same.tolist()


@pytest.mark.parametrize("shape", CELLS)
def test_ranked_tokens(device, rng, shape):
    indptr, genes, counts = cells(shape, rng)
    total = library_size(indptr, counts)
    medians, tokens = rng.uniform(0.1, 9, 500), np.arange(4, 504, dtype=np.int32)
    expected = rank_tokens_numpy(indptr, genes, counts, total, 1e4, medians, tokens)
    found = rank_tokens(*device(indptr, genes, counts, total), 1e4, *device(medians, tokens))
    assert device.back(found).tolist() == expected.tolist()


def test_arrays_of_other_types_are_taken_as_on_the_cpu(device, rng):
    indptr, genes, counts = cells("cells", rng, largest=1 << 16)
    total = library_size(indptr, counts)
    medians, tokens = rng.uniform(0.1, 9, 500), np.arange(4, 504, dtype=np.int32)
    given = indptr.astype(np.int32), genes.astype(np.int64), counts.astype(np.uint16), total.astype(np.int32)
    expected = rank_tokens_numpy(indptr, genes, counts, total, 1e4, medians, tokens)
    found = rank_tokens_device(*device(*given), 1e4, *device(medians, tokens))
    assert device.back(found).tolist() == expected.tolist()
    low, high = device.back(*quantile_bins(*device(given[0], given[2]), 51))
    assert [low.tolist(), high.tolist()] == [bins.tolist() for bins in quantile_bins(indptr, counts, 51)]


def test_count_levels(device, rng):
    counts = np.concatenate([np.arange(300), rng.integers(0, 1 << 31, 300)]).astype(np.int32)
    rule = (0, 100, 1000, 10000), (1, 10, 100)
    assert device.back(count_levels(device(counts), *rule)).tolist() == count_levels(counts, *rule).tolist()


def test_a_table_is_copied_once(device):
    x, table = device(np.arange(3)), np.arange(5)
    copy = beside(x, table)
    assert device.back(copy).tolist() == table.tolist()
    assert beside(x, table) is copy
    assert beside(x, np.arange(5)) is not copy
    assert beside(table, table) is table
