import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

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
