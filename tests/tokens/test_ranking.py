from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata import _jit
from scdata.tokens.kernels.rank_tokens import rank_tokens
from scdata.tokens.kernels.ranking import rank_order, rank_order_numpy

VALUE = st.one_of(
    st.sampled_from([1.0, np.nextafter(1.0, 2), np.nextafter(1.0, 0), 1.0 + 2**-40, 0.5, 2.0]),
    st.integers(0, 200).map(lambda k: 1.0 + k * 2.0**-52),  # equal in their first 48 bits
    st.floats(1e-300, 1e300),
)


def stable(indptr, values):
    order = np.empty(len(values), np.int64)
    for start, stop in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True):
        order[start:stop] = start + np.argsort(-values[start:stop], kind="stable")
    return order


def check(indptr, values):
    assert _jit.available()
    expected = stable(indptr, values).tolist()
    for order in (rank_order(indptr, values), rank_order_numpy(indptr, values)):
        assert order.tolist() == expected
        assert order.dtype == np.int64


@settings(max_examples=300)
@given(st.lists(st.lists(VALUE, max_size=25), max_size=8))
def test_like_a_stable_sort(rows):
    check(np.cumsum([0, *map(len, rows)]), np.array([value for row in rows for value in row]))


def test_many_near_ties_in_long_rows():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 3000, 40)
    lengths[::7] = 0
    indptr = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    check(indptr, 1.0 + rng.integers(0, 5000, indptr[-1]) * 2.0**-52)


def test_rows_at_and_over_16_bits_of_places():
    rng = np.random.default_rng(1)
    for longest in (1 << 16, (1 << 16) + 1):
        indptr = np.array([0, 3, 3, 3 + longest, 5 + longest])
        check(indptr, rng.integers(1, 50, indptr[-1]).astype(np.float64))


@pytest.mark.parametrize("lowest", [1e-300, 1.0])
def test_near_ties_beside_a_distant_value(lowest):
    # all but one value share every bit that is sorted by, and stand the wrong way round
    rising = lowest * (1.0 + np.arange(3000) * 2.0**-52)
    row = np.concatenate((rising[:1500], [1e300], rising[1500:]))
    check(np.array([0, len(row), len(row) + 2]), np.concatenate((row, [1.0, 2.0])))


def test_whole_numbers_with_many_ties():
    rng = np.random.default_rng(2)
    indptr = np.array([0, 1800, 1801, 5000])
    check(indptr, rng.geometric(0.7, 5000).astype(np.float64))


def test_no_rows_and_values_that_do_not_lie_together():
    check(np.zeros(1, np.int64), np.empty(0))
    check(np.zeros(4, np.int64), np.empty(0))
    spread = np.array([1.0, 9.0, 3.0, 9.0, 2.0])[::2]
    assert rank_order(np.array([0, 3]), spread).tolist() == [1, 2, 0]


def cells(rng, lengths, n_genes):
    indptr = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    genes = [np.sort(rng.choice(n_genes, n, replace=False)) for n in lengths]
    counts = rng.geometric(0.4, indptr[-1]).astype(np.int32)
    counts[::50] *= 1000
    total = np.array([counts[a:b].sum() + 7 for a, b in pairwise(indptr)], np.int64)
    return indptr, np.concatenate([*genes, []]).astype(np.int32), counts, total


def by_hand(indptr, genes, counts, total, medians, gene_tokens):
    """Geneformer's algorithm, a cell at a time."""
    out = []
    for cell, (start, stop) in enumerate(pairwise(indptr)):
        own = genes[start:stop]
        value = counts[start:stop] / total[cell] * 1e4 / medians[own]
        out += gene_tokens[own][np.argsort(-value, kind="stable")].tolist()
    return out


@pytest.mark.parametrize("numba", [True, False])
def test_tokens_of_cells(numba, monkeypatch):
    monkeypatch.setattr(_jit, "available", lambda: numba)
    rng = np.random.default_rng(5)
    given_ = cells(rng, [0, 1, 900, 0, 30, 1999, 0], 2000)
    medians = np.exp(rng.normal(0.5, 1, 2000))
    medians[::3] = 1.5  # ties
    gene_tokens = rng.permutation(70_000)[:2000].astype(np.int32)
    found = rank_tokens(*given_, 1e4, medians, gene_tokens)
    assert found.tolist() == by_hand(*given_, medians, gene_tokens)
    assert found.dtype == np.int32


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 40), max_size=6))
def test_the_fused_kernel_equals_its_parts(seed, lengths):
    rng = np.random.default_rng(seed)
    given_ = cells(rng, lengths, 40)
    # few different medians: many equal values
    medians, gene_tokens = rng.choice([0.5, 1.0, 3.0], 40), np.arange(40, dtype=np.int32) + 4
    assert rank_tokens(*given_, 1e4, medians, gene_tokens).tolist() == by_hand(*given_, medians, gene_tokens)


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("n_genes", [3000, 90_000])
def test_genes_in_any_order(numba, n_genes, monkeypatch):
    monkeypatch.setattr(_jit, "available", lambda: numba)
    rng = np.random.default_rng(6)
    indptr, genes, counts, total = cells(rng, [0, 1, 900, 0, 30, 1999], n_genes)
    medians, gene_tokens = rng.choice([0.5, 1.0, 3.0], n_genes), rng.permutation(n_genes).astype(np.int32)
    expected = rank_tokens(indptr, genes, counts, total, 1e4, medians, gene_tokens)
    assert expected.tolist() == by_hand(indptr, genes, counts, total, medians, gene_tokens)
    order = np.concatenate([start + rng.permutation(stop - start) for start, stop in pairwise(indptr)])
    found = rank_tokens(indptr, genes[order], counts[order], total, 1e4, medians, gene_tokens)
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("falling", [False, True])
def test_more_genes_than_16_bits_of_places(falling):
    n = (1 << 16) + 5
    genes = np.arange(n, dtype=np.int32)[:: -1 if falling else 1].copy()
    counts = np.random.default_rng(7).integers(1, 9, n, np.int32)
    given_ = np.array([0, n]), genes, counts, np.array([counts.sum()])
    medians, gene_tokens = np.ones(n), np.arange(n, dtype=np.int32)
    expected = np.lexsort((genes, -counts))
    assert rank_tokens(*given_, 1e4, medians, gene_tokens).tolist() == genes[expected].tolist()


def test_worked_example():
    counts = np.array([3, 1, 7, 2, 1, 12], np.int32)
    genes = np.array([0, 2, 3, 5, 6, 7], np.int32)
    medians = np.array([1, 1, 2, 7, 1, 4, 0.25, 12], np.float64)
    found = rank_tokens(
        np.array([0, 6]), genes, counts, np.array([26]), 1e4, medians, np.arange(8, dtype=np.int32) + 10
    )
    # values 3, 0.5, 1, 0.5, 4, 1 times 1e4 / 26; equal ones in the order of the genes
    assert found.tolist() == [16, 10, 13, 17, 12, 15]
