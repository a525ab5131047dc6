import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata import _jit
from scdata.normalize import ValueHistogram, library_size, normalize_total
from scdata.normalize.medians import _edges

N_GENES = 6
CELL = st.dictionaries(
    st.integers(0, N_GENES - 1), st.one_of(st.integers(1, 4), st.integers(1, 2**31 - 1)), max_size=N_GENES
)


def arrays(cells):
    indptr = np.cumsum([0, *map(len, cells)])
    genes = np.array([gene for cell in cells for gene in sorted(cell)], np.int32)
    counts = np.array([cell[gene] for cell in cells for gene in sorted(cell)], np.int32)
    return indptr, genes, counts, library_size(indptr, counts)


def exact(indptr, genes, counts, total):
    """Lower median of each gene's values x / n · 1e4."""
    values = normalize_total(indptr, counts, total, 1e4)
    own = [np.sort(values[genes == gene]) for gene in range(N_GENES)]
    return np.array([v[(len(v) - 1) // 2] if len(v) else 1.0 for v in own])


@given(st.lists(CELL, max_size=30))
def test_within_half_a_percent_of_the_exact_median(cells):
    found = ValueHistogram.of(*arrays(cells)).medians(N_GENES)
    np.testing.assert_allclose(found, exact(*arrays(cells)), rtol=0.005)


def test_many_cells_against_numpy_median():
    rng = np.random.default_rng(0)
    cells = [
        dict(enumerate(rng.integers(1, 60, N_GENES).tolist())) for _ in range(2001)
    ]  # an odd number: one middle value
    indptr, genes, counts, total = arrays(cells)
    values = normalize_total(indptr, counts, total, 1e4)
    middle = [np.median(values[genes == gene]) for gene in range(N_GENES)]
    found = ValueHistogram.of(indptr, genes, counts, total).medians(N_GENES)
    np.testing.assert_allclose(found, middle, rtol=0.005)


@settings(max_examples=50)
@given(st.lists(st.lists(CELL, max_size=5), max_size=6), st.randoms(use_true_random=False))
def test_parts_merge_in_any_order_and_grouping(parts, random):
    whole = ValueHistogram.of(*arrays([cell for part in parts for cell in part]))
    histograms = [ValueHistogram.of(*arrays(part)) for part in parts]
    random.shuffle(histograms)
    half = len(histograms) // 2
    nested = [ValueHistogram.merge(histograms[:half]), ValueHistogram.merge(histograms[half:])]
    for merged in (ValueHistogram.merge(histograms), ValueHistogram.merge(nested)):
        assert merged.key.tolist() == whole.key.tolist()
        assert merged.count.tolist() == whole.count.tolist()


@given(st.lists(CELL, max_size=30), st.lists(st.integers(1, 2**40), min_size=30, max_size=30))
def test_compiled_like_numpy(cells, totals):
    indptr, genes, counts, _ = arrays(cells)
    total = np.array(totals[: len(cells)], np.int64)
    parts = [
        make(indptr, genes, counts, total) for make in (ValueHistogram.of, ValueHistogram.of_arrays, ValueHistogram.of)
    ]
    for found in parts[::2]:
        np.testing.assert_array_equal(found.key, parts[1].key)
        np.testing.assert_array_equal(found.count, parts[1].count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "available", lambda: False)
        plain = ValueHistogram.merge(parts)
    merged = ValueHistogram.merge(parts)
    np.testing.assert_array_equal(merged.key, plain.key)
    np.testing.assert_array_equal(merged.count, plain.count)


def test_bins_of_values_on_and_beside_their_edges():
    # x / n · 1e4 over many magnitudes, and below the lowest edge and over the highest
    rng = np.random.default_rng(4)
    counts = np.concatenate([rng.integers(1, 2**k, 200) for k in range(1, 32)])
    total = np.minimum(counts * np.exp(rng.uniform(-1, 24, len(counts))), 2.0**62).astype(np.int64) + 1
    counts = counts.astype(np.int32)
    cells = np.arange(len(counts) + 1), np.zeros(len(counts), np.int32), counts, total
    found, plain = ValueHistogram.of(*cells), ValueHistogram.of_arrays(*cells)
    assert found.key[0] == 0
    assert found.key[-1] == len(_edges())
    np.testing.assert_array_equal(found.key, plain.key)
    np.testing.assert_array_equal(found.count, plain.count)


def test_a_gene_that_no_cell_expresses_has_median_one():
    assert ValueHistogram.merge([]).medians(3).tolist() == [1.0, 1.0, 1.0]
    one = ValueHistogram.of(*arrays([{2: 7}]))
    found = one.medians(4)
    assert found[[0, 1, 3]].tolist() == [1.0, 1.0, 1.0]
    np.testing.assert_allclose(found[2], 1e4, rtol=0.005)


def test_the_largest_and_smallest_values_have_a_bin():
    rare = ValueHistogram.of(np.array([0, 1]), np.zeros(1, np.int32), np.ones(1, np.int32), np.array([10**10]))
    np.testing.assert_allclose(rare.medians(1), 1e-6, rtol=0.005)


def test_edges_are_products_and_nothing_else():
    # a power function differs between processors in the last digit, and fitted sets would differ with it
    value, expected = 1e-6, []
    while len(expected) < 2000:
        expected.append(value)
        value *= 1.01
    assert _edges()[:2000].tolist() == expected
