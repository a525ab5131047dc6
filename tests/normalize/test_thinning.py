import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scdata import _jit
from scdata._errors import NotCountsError
from scdata._splitmix import mix, splitmix64, stream
from scdata.normalize import thinning
from scdata.normalize.thinning import thin

RULE = {"p": 0.5, "alpha": 2, "beta": 2, "min_counts": 1000}
ALL = {**RULE, "p": 1.0, "min_counts": 0}


def keys(n_cells, seed=0):
    return splitmix64(np.arange(n_cells, dtype=np.uint64) + np.uint64(stream(seed, "thin", 0)))


def random_cells(rng, lengths, n_genes=5000):
    indptr = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    ids = [rng.choice(n_genes, n, replace=False) for n in lengths]
    counts = rng.geometric(0.3, indptr[-1]).astype(np.int32)
    total = np.add.reduceat(np.append(counts, 0), indptr[:-1]) * (np.diff(indptr) > 0)
    return indptr, counts, np.concatenate([*ids, []]).astype(np.int32), total.astype(np.int64)


def by_definition(indptr, counts, ids, total, cell_keys, *, p, alpha, beta, min_counts):
    """The table of counters, with Python's integers."""
    left, thinned = counts.tolist(), []
    for cell, key in enumerate(cell_keys.tolist()):
        thinned.append(total[cell] > min_counts and mix(key) < p * 2**64)
        if not thinned[-1]:
            continue
        b = sorted(mix(mix(key + 1) + i) for i in range(alpha + beta - 1))[alpha - 1]
        for i in range(indptr[cell], indptr[cell + 1]):
            gene = mix(mix(key + 2) + int(ids[i]))
            left[i] = sum(mix(gene + molecule) < b for molecule in range(counts[i]))
    return left, thinned


def both(*arguments, **rule):
    """`thin`, with numba and without; they must agree."""
    assert _jit.available()
    left, thinned = thin(*arguments, **rule)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "available", lambda: False)
        plain, same = thin(*arguments, **rule)
    assert left.tolist() == plain.tolist()
    assert thinned.tolist() == same.tolist()
    assert left.dtype == plain.dtype == np.int32
    assert thinned.dtype == same.dtype == np.bool_
    return left, thinned


@settings(max_examples=150)
@given(
    st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=6),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 60),
    st.integers(0, 2**64 - 1),
)
def test_as_defined(cells, p, alpha, beta, min_counts, seed):
    indptr = np.cumsum([0, *map(len, cells)])
    counts = np.array([count for cell in cells for count in cell], np.int32)
    ids = np.concatenate(
        [*(np.random.default_rng(i).permutation(100)[: len(cell)] for i, cell in enumerate(cells)), []]
    )
    total = np.array([sum(cell) for cell in cells], np.int64)
    rule = {"p": p, "alpha": alpha, "beta": beta, "min_counts": min_counts}
    arguments = (indptr, counts, ids.astype(np.int32), total, keys(len(cells), seed))
    left, thinned = both(*arguments, **rule)
    assert (left.tolist(), thinned.tolist()) == by_definition(*arguments, **rule)


def test_literal():
    indptr, counts, ids = (
        np.array([0, 4, 6]),
        np.array([5, 1, 900, 7, 50, 3], np.int32),
        np.array([1, 2, 3, 70000, 1, 2]),
    )
    left, thinned = both(indptr, counts, ids, np.array([913, 53]), keys(2), **ALL)
    # part of the format: the draws of a set never change
    assert thinned.tolist() == [True, True]
    assert left.tolist() == [0, 1, 366, 1, 45, 3]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunks_change_nothing(monkeypatch, chunk):
    rng = np.random.default_rng(2)
    arguments = (*random_cells(rng, [0, 30, 1, 0, 55, 2]), keys(6))
    arguments[1][::9] = 0
    whole, _ = thin(*arguments, **ALL)
    monkeypatch.setattr(thinning, "_CHUNK", chunk)
    both(*arguments, **ALL)
    assert whole.tolist() == both(*arguments, **ALL)[0].tolist()


def test_a_gene_with_very_many_molecules():
    counts = np.array([3, 3_000_000, 1], np.int32)
    left, _ = both(np.array([0, 3]), counts, np.array([5, 6, 7]), np.array([3_000_004]), keys(1), **ALL)
    b = _share(keys(1), 2, 2)[0]
    assert abs(left[1] / 3_000_000 - b) < 5 * np.sqrt(0.25 / 3_000_000)


def test_order_of_genes_and_cells_changes_nothing():
    rng = np.random.default_rng(3)
    indptr, counts, ids, total = random_cells(rng, [80, 0, 300, 20])
    cell_keys = keys(4)
    left, thinned = both(indptr, counts, ids, total, cell_keys, **(ALL | {"p": 0.6}))
    rows = [np.arange(a, b) for a, b in itertools.pairwise(indptr.tolist())]
    order, take = [2, 0, 3, 1], []
    for cell in order:
        take.append(rng.permutation(rows[cell]))
    moved = np.concatenate(([0], np.cumsum([len(row) for row in take])))
    take = np.concatenate(take)
    again = both(moved, counts[take], ids[take], total[order], cell_keys[order], **(ALL | {"p": 0.6}))
    assert again[0].tolist() == left[take].tolist()
    assert again[1].tolist() == thinned[order].tolist()


def test_nobody_everybody_and_only_the_deep():
    rng = np.random.default_rng(4)
    arguments = (*random_cells(rng, [200] * 50), keys(50))
    total = arguments[3]
    left, thinned = both(*arguments, **(ALL | {"p": 0.0}))
    assert not thinned.any()
    assert left.tolist() == arguments[1].tolist()
    left, thinned = both(*arguments, **ALL)
    assert thinned.all()
    assert (left <= arguments[1]).all()
    assert 0 < left.sum() < arguments[1].sum()
    limit = int(np.sort(total)[20])
    left, thinned = both(*arguments, **(ALL | {"min_counts": limit}))
    assert thinned.tolist() == (total > limit).tolist()
    same = np.repeat(~thinned, 200)
    assert left[same].tolist() == arguments[1][same].tolist()


def test_no_cells_and_empty_cells():
    none, int_none = np.empty(0, np.int32), np.zeros(0, np.int64)
    left, thinned = both(np.zeros(1, np.int64), none, none, int_none, keys(0), **RULE)
    assert len(left) == len(thinned) == 0
    left, thinned = both(np.zeros(4, np.int64), none, none, np.full(3, 5000), keys(3), **ALL)
    assert len(left) == 0
    assert thinned.tolist() == [True] * 3


def _share(cell_keys, alpha, beta):
    return np.array(
        [sorted(mix(mix(k + 1) + i) for i in range(alpha + beta - 1))[alpha - 1] / 2**64 for k in cell_keys.tolist()]
    )


def test_share_of_thinned_cells():
    n = 20_000
    _, thinned = thin(
        np.zeros(n + 1, np.int64),
        np.empty(0, np.int32),
        np.empty(0, np.int32),
        np.full(n, 9),
        keys(n),
        **ALL | {"p": 0.3},
    )
    assert stats.binomtest(int(thinned.sum()), n, 0.3).pvalue > 0.001


@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (2, 2), (1, 4), (5, 2)])
def test_molecules_stay_by_a_beta_distribution(alpha, beta):
    n, molecules = 1500, 20_000
    counts = np.full(n, molecules, np.int32)
    left, _ = thin(
        np.arange(n + 1),
        counts,
        np.zeros(n, np.int32),
        counts.astype(np.int64),
        keys(n, 5),
        **(ALL | {"alpha": alpha, "beta": beta}),
    )
    assert stats.kstest(left / molecules, stats.beta(alpha, beta).cdf).pvalue > 0.001


def test_genes_of_one_cell_are_binomial():
    # the same share for all genes of a cell, independent draws for each
    n_genes, molecules = 20_000, 12
    counts = np.full(n_genes, molecules, np.int32)
    for seed in range(3):
        cell = keys(1, seed)
        left, _ = thin(np.array([0, n_genes]), counts, np.arange(n_genes), np.array([counts.sum()]), cell, **ALL)
        b = _share(cell, 2, 2)[0]
        expected = stats.binom(molecules, b).pmf(np.arange(molecules + 1)) * n_genes
        observed = np.bincount(left, minlength=molecules + 1)
        likely = expected > 5
        observed = np.append(observed[likely], observed[~likely].sum())
        expected = np.append(expected[likely], expected[~likely].sum())
        possible = expected > 1
        observed, expected = observed[possible], expected[possible]
        assert stats.chisquare(observed, expected * (observed.sum() / expected.sum())).pvalue > 0.001
        neighbours = np.corrcoef(left[:-1], left[1:])[0, 1]
        assert abs(neighbours) < 4 / np.sqrt(n_genes)


@pytest.mark.parametrize(
    ("counts", "message"), [(np.array([1.0, 2.0]), "got float64"), (np.array([3, -1], np.int32), "got -1")]
)
def test_what_is_no_count(counts, message):
    with pytest.raises(NotCountsError, match=message):
        thin(np.array([0, 2]), counts, np.arange(2), np.array([3]), keys(1), **ALL)


@pytest.mark.parametrize("wrong", [{"p": -0.1}, {"p": 1.5}, {"p": np.nan}, {"alpha": 0}, {"beta": 2.5}])
def test_what_is_no_rule(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        thin(np.array([0, 1]), np.ones(1, np.int32), np.zeros(1, np.int32), np.array([1]), keys(1), **(ALL | wrong))
