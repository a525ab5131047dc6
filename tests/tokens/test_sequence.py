import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata import _jit
from scdata.tokens import Draws, Ragged, cut
from scdata.tokens.sequence import JoinedDraws, cut_to_lowest, finish, surround

CELLS = st.lists(st.lists(st.integers(10, 90), max_size=12, unique=True), max_size=6)


def ragged(cells, values=True):
    indptr = np.cumsum([0, *map(len, cells)])
    ids = np.array([token for cell in cells for token in cell], np.int32)
    return Ragged(indptr, ids, ids * 2 if values else None)


def rows(found):
    assert found.indptr[-1] == len(found.token_ids)
    return [part.tolist() for part in np.split(found.token_ids, found.indptr[1:-1])] if len(found.indptr) > 1 else []


def cut_at_random(cells, limit, draws):
    whole = ragged(cells)
    return rows(cut(whole, limit, draws.keys("cut", whole.indptr, whole.token_ids)))


@given(CELLS, st.integers(1, 13))
def test_the_first_tokens_stay(cells, limit):
    found = cut(ragged(cells), limit, None)
    assert rows(found) == [cell[:limit] for cell in cells]
    assert found.values.tolist() == (found.token_ids * 2).tolist()


@given(CELLS, st.integers(1, 13), st.integers(0, 5))
def test_a_random_cut_keeps_a_subset_in_its_order(cells, limit, epoch):
    draws = Draws(3, epoch, np.arange(len(cells)))
    found = cut_at_random(cells, limit, draws)
    for cell, kept in zip(cells, found, strict=True):
        assert len(kept) == min(len(cell), limit)
        assert kept == [token for token in cell if token in set(kept)]


@given(CELLS, st.integers(3, 13))
def test_special_tokens_stay(cells, limit):
    around = surround(ragged(cells), [1], [2], -2)
    for cell, kept in zip(cells, rows(cut(around, limit, None, (1, 1))), strict=True):
        assert kept == [1, *cell[: limit - 2], 2]


def test_a_random_cut_is_uniform_and_new_in_every_epoch():
    cell = [list(range(10, 50))]
    times = np.zeros(50)
    for epoch in range(400):
        (kept,) = cut_at_random(cell, 10, Draws(0, epoch, np.array([7])))
        times[kept] += 1
    assert (times[10:] > 60).all()
    assert (times[10:] < 140).all()


def test_a_cell_is_cut_alike_whatever_stands_beside_it():
    cells = [list(range(10, 40)), list(range(5, 45)), list(range(50, 99))]
    together = cut_at_random(cells, 8, Draws(1, 2, np.array([4, 9, 6])))
    alone = [cut_at_random([c], 8, Draws(1, 2, np.array([i])))[0] for c, i in zip(cells, (4, 9, 6), strict=True)]
    assert together == alone
    assert cut_at_random(cells[:1], 8, Draws(1, 3, np.array([4])))[0] != alone[0]


@given(CELLS)
def test_surround(cells):
    found = surround(ragged(cells), [1, 2], [3], -2)
    assert rows(found) == [[1, 2, *cell, 3] for cell in cells]
    assert found.values.tolist() == [v for cell in cells for v in [-2, -2, *(2 * t for t in cell), -2]]
    assert surround(ragged(cells, values=False), [1], [], 0).values is None
    assert rows(surround(ragged(cells), [], [], 0)) == cells


@pytest.mark.parametrize("purpose", ["cut", "ties", "mask"])
def test_draws_belong_to_seed_epoch_purpose_cell_and_token(purpose):
    indptr, ids = np.array([0, 2, 3]), np.array([5, 6, 5])
    base = Draws(0, 0, np.array([1, 2])).keys(purpose, indptr, ids)
    assert len(set(base.tolist())) == 3
    for other in (Draws(1, 0, np.array([1, 2])), Draws(0, 1, np.array([1, 2])), Draws(0, 0, np.array([3, 4]))):
        assert set(other.keys(purpose, indptr, ids).tolist()).isdisjoint(base.tolist())
    back = Draws(0, 0, np.array([2, 1])).keys(purpose, np.array([0, 1, 3]), np.array([5, 6, 5]))
    assert back.tolist() == base[[2, 1, 0]].tolist()


@given(CELLS)
def test_compiled_and_plain_keys_are_equal(cells):
    draws, whole = Draws(2, 3, np.arange(len(cells)) * 7), ragged(cells)
    compiled = draws.keys("ties", whole.indptr, whole.token_ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "available", lambda: False)
        assert draws.keys("ties", whole.indptr, whole.token_ids).tolist() == compiled.tolist()


# part of the format: a change gives other batches for the same seed
def test_draws_never_change():
    found = Draws(7, 2, np.array([3, 4])).keys("cut", np.array([0, 2, 3]), np.array([5, 6, 5]))
    assert [hex(key) for key in found.tolist()] == ["0x3d6142ea4acae22e", "0x7bde2e10d15b2e8c", "0xdd42617250598c31"]


@pytest.mark.parametrize("values", [False, True])
@given(
    cells=st.lists(st.lists(st.integers(10, 60_000), max_size=400, unique=True), max_size=5),
    limit=st.none() | st.integers(1, 300),
    random=st.sampled_from([None, "cell", "token"]),
    specials=st.sampled_from([([], []), ([1], []), ([1, 2], [3])]),
)
def test_compiled_and_plain_sequences_are_equal(values, cells, limit, random, specials):
    draws, whole = Draws(5, 1, np.arange(len(cells)) + 7), ragged(cells, values)
    keys = draws.keys("weighted", whole.indptr, whole.token_ids) if random == "token" else None
    arguments = (limit, draws if random == "cell" else None, *specials, -2, keys)
    compiled = finish(whole, *arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "available", lambda: False)
        plain = finish(whole, *arguments)
    assert compiled.indptr.tolist() == plain.indptr.tolist()
    assert compiled.token_ids.tolist() == plain.token_ids.tolist()
    assert (compiled.values is None) == (plain.values is None) == (not values)
    if values:
        assert compiled.values.tolist() == plain.values.tolist()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5000), unique=True, max_size=40), max_size=6),
    st.integers(1, 20),
    st.booleans(),
)
def test_a_cut_to_the_lowest_ids_keeps_the_order(cells, limit, compiled):
    ids = np.array([token for cell in cells for token in cell], np.int32)
    ragged = Ragged(np.cumsum([0, *map(len, cells)]), ids, np.arange(len(ids), dtype=np.int32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "available", lambda: compiled)
        found = cut_to_lowest(ragged, limit, 5001)
    kept = [[token for token in cell if token in sorted(cell)[:limit]] for cell in cells]
    assert found.indptr.tolist() == np.cumsum([0, *map(len, kept)]).tolist()
    assert found.token_ids.tolist() == [token for cell in kept for token in cell]
    places = {(c, token): i for i, (c, token) in enumerate((c, t) for c, cell in enumerate(cells) for t in cell)}
    assert found.values.tolist() == [places[c, token] for c, cell in enumerate(kept) for token in cell]


@given(st.integers(0, 9), st.integers(0, 9))
def test_joined_draws_in_parts_are_those_of_the_whole(start, stop):
    parts = [Draws(s, s, np.arange(n, dtype=np.int64) + 10 * s) for s, n in ((1, 3), (2, 0), (3, 4), (4, 2))]
    joined = JoinedDraws.of(parts, 5, 6)
    found = joined.part(slice(start, stop))
    assert found.cell_id.tolist() == joined.cell_id[start:stop].tolist()
    assert found.cell_keys("cut").tolist() == joined.cell_keys("cut")[start:stop].tolist()
    assert (found.seed, found.epoch) == (5, 6)
