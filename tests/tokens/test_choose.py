"""Zeros, unexpressed genes, order, and a cut weighted by counts: against plain loops, with numba and without."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from scdata import _jit
from scdata.tokens import Draws, Ragged, choose
from scdata.tokens.choose import descending, fill_unexpressed, molecule_keys, permuted, values_at, with_zeros
from scdata.tokens.sequence import finish

TOKENS = np.array([2, 3, 5, 8, 11, 12], np.int32)
CELLS = st.lists(st.dictionaries(st.sampled_from(TOKENS.tolist()), st.integers(1, 9), max_size=6), max_size=5)
EPOCH = st.integers(0, 20)


@pytest.fixture(params=[True, False], ids=["numba", "numpy"])
def jit(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(_jit, "available", lambda: False)
    return request.param


def ragged(cells, dtype=np.int32, order=sorted):
    """Cells given as {token: value}."""
    rows = [[(token, cell[token]) for token in order(cell)] for cell in cells]
    flat = [pair for row in rows for pair in row]
    ids, values = [np.array([pair[i] for pair in flat], dtype) for i in (0, 1)]
    return Ragged(np.cumsum([0, *map(len, rows)]), ids.astype(np.int32), values)


def pairs(found):
    """(token, value) of each cell, in order."""
    assert found.indptr[-1] == len(found.token_ids) == len(found.values)
    flat = list(zip(found.token_ids.tolist(), found.values.tolist(), strict=True))
    return [flat[a:b] for a, b in itertools.pairwise(found.indptr.tolist())]


def draws(cells, epoch=0, seed=0):
    return Draws(seed, epoch, np.arange(len(cells)) * 7)


@st.composite
def measured_cells(draw):
    """Cells, and which of `TOKENS` their datasets measured; all that they express are among these."""
    cells = draw(CELLS)
    seen = [[draw(st.booleans()) or token in cell for token in TOKENS.tolist()] for cell in cells]
    return cells, np.array(seen, bool).reshape(len(cells), len(TOKENS))


@given(measured_cells(), st.sampled_from([np.int32, np.float32]), st.sampled_from([sorted, list]))
def test_zeros_of_every_gene_that_was_measured(given_cells, dtype, order):
    cells, measured = given_cells
    whole = ragged(cells, dtype, order)
    full = [[(token, cell.get(token, 0)) for token in TOKENS.tolist()] for cell in cells]
    assert pairs(with_zeros(whole, TOKENS, None, None)) == full
    left_out = [[p for p, m in zip(row, seen, strict=True) if m] for row, seen in zip(full, measured, strict=True)]
    assert pairs(with_zeros(whole, TOKENS, measured, None)) == left_out
    marked = [
        [(t, v if m else -1) for (t, v), m in zip(row, seen, strict=True)]
        for row, seen in zip(full, measured, strict=True)
    ]
    found = with_zeros(whole, TOKENS, measured, -1)
    assert pairs(found) == marked
    assert (found.values.dtype, found.token_ids.dtype) == (dtype, np.int32)


def test_who_writes_into_a_cell_with_zeros_does_not_write_into_the_vocabulary():
    found = with_zeros(ragged([{3: 5}]), TOKENS, None, None)
    found.token_ids[:] = 0
    assert with_zeros(ragged([{3: 5}]), TOKENS, None, None).token_ids.tolist() == list(TOKENS)


def test_a_count_of_a_gene_that_was_not_measured_is_still_a_token():
    # of level 0, as fixed levels of several counts have it, too
    for value in (4, 0):
        found = with_zeros(ragged([{3: value}]), TOKENS, np.zeros((1, 6), bool), None)
        assert pairs(found) == [[(3, value)]]


@given(measured_cells(), st.integers(1, 8), EPOCH)
def test_unexpressed_genes_fill_up_to_the_limit(given_cells, limit, epoch):
    cells, measured = given_cells
    whole = ragged(cells, order=list)
    for seen in (None, measured):
        found = pairs(fill_unexpressed(whole, limit, draws(cells, epoch), TOKENS, seen))
        for i, (cell, own, before) in enumerate(zip(cells, found, pairs(whole), strict=True)):
            allowed = set(TOKENS[measured[i]].tolist() if seen is not None else TOKENS.tolist()) - set(cell)
            added = own[len(before) :]
            assert own[: len(before)] == before
            assert {value for _, value in added} <= {0}
            assert len({token for token, _ in added}) == len(added) == min(max(limit - len(cell), 0), len(allowed))
            assert {token for token, _ in added} <= allowed


@given(measured_cells(), st.integers(1, 8), EPOCH, st.integers(1, 13))
def test_unexpressed_genes_do_not_depend_on_how_many_cells_come_together(given_cells, limit, epoch, chunk):
    cells, measured = given_cells
    at_once = pairs(fill_unexpressed(ragged(cells), limit, draws(cells, epoch), TOKENS, measured))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "_CHUNK_KEYS", chunk)
        assert pairs(fill_unexpressed(ragged(cells), limit, draws(cells, epoch), TOKENS, measured)) == at_once
    for i, cell in enumerate(cells):
        alone = Draws(0, epoch, np.array([i * 7]))
        found = fill_unexpressed(ragged([cell]), limit, alone, TOKENS, measured[[i]])
        assert pairs(found) == [at_once[i]]


def test_unexpressed_genes_and_their_order_are_drawn_uniformly():
    cells = [{5: 1}] * 4000
    found = pairs(fill_unexpressed(ragged(cells), 3, draws(cells), TOKENS, None))
    drawn = [tuple(token for token, _ in row[1:]) for row in found]
    orders = list(itertools.permutations([2, 3, 8, 11, 12], 2))
    times = np.array([drawn.count(order) for order in orders])
    assert times.sum() == 4000
    assert chi2.sf(((times - 200) ** 2 / 200).sum(), len(orders) - 1) > 1e-3


@given(st.data(), CELLS, st.sampled_from([np.int32, np.float32]))
def test_values_that_other_cells_have_at_these_tokens(data, cells, dtype):
    token = st.sampled_from(TOKENS.tolist())
    sought = [data.draw(st.lists(token, max_size=6, unique=True)) for _ in cells]
    whole, here = ragged(cells, dtype, list), ragged([dict.fromkeys(row, 1) for row in sought], order=list)
    values, there = values_at(here, whole, 13)
    assert (values.dtype, there.dtype) == (dtype, np.bool_)
    flat = [(cell.get(token, 0), token in cell) for cell, row in zip(cells, sought, strict=True) for token in row]
    assert list(zip(values.tolist(), there.tolist(), strict=True)) == flat


@given(CELLS, EPOCH)
def test_molecule_keys_are_the_smallest_of_a_genes_molecules(cells, epoch):
    from scdata._splitmix import splitmix64

    whole = ragged(cells)
    base = draws(cells, epoch).keys("weighted", whole.indptr, whole.token_ids)
    by_hand = [
        min((int(splitmix64(np.array([(int(b) + m) % 2**64], np.uint64))[0]) for m in range(count)), default=2**64 - 1)
        for b, count in zip(base, whole.values.tolist(), strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        for available in (True, False):
            patch.setattr(_jit, "available", lambda available=available: available)
            keys = molecule_keys(whole, whole.values, draws(cells, epoch))
            assert keys.dtype == np.uint64
            assert [int(key) for key in keys] == by_hand


def weighted(cells, limit, **more):
    whole = ragged(cells)
    keys = molecule_keys(whole, whole.values, draws(cells, **more))
    return finish(whole, limit, None, [], [], 0, keys)


def test_a_weighted_cut_takes_genes_as_their_molecules_come(jit):
    """Two of three genes: the chance of each pair is a sum over the orders in which they are met."""
    counts = {2: 1, 3: 3, 5: 6}
    n = 6000
    found = pairs(weighted([counts] * n, 2))
    kept = [frozenset(token for token, _ in row) for row in found]
    statistic = 0.0
    for pair in itertools.combinations(counts, 2):
        total = sum(counts.values())
        a, b = (counts[token] for token in pair)
        chance = a / total * b / (total - a) + b / total * a / (total - b)
        expected = n * chance
        statistic += (kept.count(frozenset(pair)) - expected) ** 2 / expected
    assert chi2.sf(statistic, 2) > 1e-3
    assert all(value == counts[token] for row in found for token, value in row)


@given(CELLS, st.integers(1, 6), EPOCH)
def test_a_weighted_cut_keeps_a_subset_in_its_order(cells, limit, epoch):
    for row, cell in zip(pairs(weighted(cells, limit, epoch=epoch)), cells, strict=True):
        assert len(row) == min(len(cell), limit)
        assert row == [(token, cell[token]) for token in sorted(cell) if token in dict(row)]


@given(CELLS, EPOCH)
def test_a_random_order_holds_the_same_tokens_and_values(cells, epoch):
    found = pairs(permuted(ragged(cells), draws(cells, epoch)))
    assert [dict(row) for row in found] == cells
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "available", lambda: False)
        assert pairs(permuted(ragged(cells), draws(cells, epoch))) == found
    # the order they are given in does not matter
    assert pairs(permuted(ragged(cells, order=list), draws(cells, epoch))) == found


def test_random_orders_are_uniform_and_new_in_every_epoch(jit):
    cells = [{2: 1, 3: 2, 5: 3, 8: 4}] * 4800
    found = [tuple(token for token, _ in row) for row in pairs(permuted(ragged(cells), draws(cells)))]
    orders = list(itertools.permutations([2, 3, 5, 8]))
    expected = len(cells) / math.factorial(4)
    times = np.array([found.count(order) for order in orders])
    assert chi2.sf(((times - expected) ** 2 / expected).sum(), len(orders) - 1) > 1e-3
    again = pairs(permuted(ragged(cells), draws(cells, epoch=1)))
    assert found != [tuple(token for token, _ in row) for row in again]


@given(CELLS, st.booleans())
def test_falling_values_equal_ones_in_their_order(cells, zeros):
    whole = ragged(cells, order=list)
    if zeros:  # and genes that were not measured
        measured = np.zeros((len(cells), len(TOKENS)), bool)
        measured[:, :3] = True
        whole = with_zeros(whole, TOKENS, measured, -1)
    by_hand = [sorted(row, key=lambda pair: -pair[1]) for row in pairs(whole)]
    assert pairs(descending(whole)) == by_hand
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "available", lambda: False)
        assert pairs(descending(whole)) == by_hand


def test_a_weighted_cut_of_a_cell_with_zeros_keeps_what_is_expressed():
    n = 60
    counts = np.zeros(n, np.int32)
    counts[[3, 20, 41, 59]] = [5, 1, 2, 9]
    whole = Ragged(np.array([0, n]), np.arange(n, dtype=np.int32), counts)
    draws = Draws(0, 1, np.array([7]))
    found = []
    for compiled in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not compiled:
                patch.setattr(_jit, "available", lambda: False)
            keys = choose.molecule_keys(whole, counts, draws)
            found.append(finish(whole, 8, None, [], [], 0, keys))
    assert found[0].token_ids.tolist() == found[1].token_ids.tolist() == [0, 1, 2, 3, 4, 20, 41, 59]


def test_weighted_keys_of_a_huge_count_come_in_pieces(monkeypatch):
    monkeypatch.setattr(_jit, "available", lambda: False)
    counts = np.array([1, 3_000_000, 0, 2], np.int32)
    whole = Ragged(np.array([0, 4]), np.arange(4, dtype=np.int32), counts)
    draws = Draws(0, 0, np.array([1]))
    expected = choose.molecule_keys(whole, counts, draws)
    monkeypatch.setattr(choose, "_CHUNK_KEYS", 1 << 10)
    assert choose.molecule_keys(whole, counts, draws).tolist() == expected.tolist()
    monkeypatch.setattr(_jit, "available", lambda: True)
    assert choose.molecule_keys(whole, counts, draws).tolist() == expected.tolist()
