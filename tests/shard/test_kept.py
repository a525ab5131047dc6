"""Some cells of a block are those cells, in memory of their own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata.shard.block import COUNTS, TOKENS, encode_block, parse_block
from scdata.shard.cells import Cells
from scdata.shard.kept import kept_cells

# gaps and counts that need exceptions, empty cells, one cell, none
CELLS = st.lists(st.lists(st.sampled_from([0, 1, 5, 70, 400, 9000, 59_999]), unique=True).map(sorted), max_size=6)


def block(lists, encoding, with_values=True):
    n = sum(map(len, lists))
    cells = Cells(
        indptr=np.cumsum([0, *map(len, lists)]),
        ids=np.array([i for own in lists for i in own], np.int32),
        values=np.resize(np.array([1, 2, 40, 100_000], np.int32), n) if with_values else None,
        cell_id=np.arange(len(lists)) * 3_000_000_007,
        dataset=np.arange(len(lists), dtype=np.int32) % 3,
        total_counts=np.arange(len(lists)) + 2**40,
        vocab_counts=np.arange(len(lists)),
        obs={"age": np.arange(len(lists)) / 2},
    )
    return parse_block(encode_block(cells, encoding, "zstd", 60_000))


@pytest.mark.parametrize(("encoding", "with_values"), [(COUNTS, True), (TOKENS, True), (TOKENS, False)])
@given(CELLS, st.data())
def test_the_kept_cells_decode_as_before(encoding, with_values, lists, data):
    stored = block(lists, encoding, with_values)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(lists), max_size=len(lists))), bool)
    found, whole = kept_cells(stored, keep).decode(), stored.decode()
    assert found.n_cells == keep.sum()
    for name in ("cell_id", "dataset", "total_counts", "vocab_counts"):
        assert np.array_equal(getattr(found, name), getattr(whole, name)[keep])
    assert np.array_equal(found.obs["age"], whole.obs["age"][keep])
    for i, cell in enumerate(np.flatnonzero(keep)):
        own, before = slice(*found.indptr[i : i + 2]), slice(*whole.indptr[cell : cell + 2])
        assert np.array_equal(found.ids[own], whole.ids[before])
        assert (found.values is None) == (not with_values)
        if with_values:
            assert np.array_equal(found.values[own], whole.values[before])


@pytest.mark.parametrize("encoding", [COUNTS, TOKENS])
def test_the_others_are_not_held_in_memory(encoding):
    stored = block([[1, 2, 300, 9000], [5], [1, 70, 59_999], [4, 8]], encoding)
    kept = kept_cells(stored, np.array([False, True, True, False]))

    def arrays(own):
        more = own.coded.arrays if own.coded is not None else (own.offsets, own.tokens, own.values)
        return [own.lengths, *own.columns.values(), *more]

    for mine in arrays(kept):
        assert not any(np.shares_memory(mine, other) for other in arrays(stored))
