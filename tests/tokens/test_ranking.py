import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata.tokens.ranking import rank_order

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


@settings(max_examples=300)
@given(st.lists(st.lists(VALUE, max_size=25), max_size=8))
def test_like_a_stable_sort(rows):
    indptr = np.cumsum([0, *map(len, rows)])
    values = np.array([value for row in rows for value in row])
    assert rank_order(indptr, values).tolist() == stable(indptr, values).tolist()


def test_many_near_ties_in_long_rows():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 3000, 40)
    lengths[::7] = 0
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    values = 1.0 + rng.integers(0, 5000, indptr[-1]) * 2.0**-52
    order = rank_order(indptr, values)
    assert order.tolist() == stable(indptr, values).tolist()
    assert order.dtype == np.int64


def test_rows_at_and_over_16_bits_of_places():
    rng = np.random.default_rng(1)
    for longest in (1 << 16, (1 << 16) + 1):
        indptr = np.array([0, 3, 3, 3 + longest, 5 + longest])
        values = rng.integers(1, 50, indptr[-1]).astype(np.float64)
        assert rank_order(indptr, values).tolist() == stable(indptr, values).tolist()


def test_no_rows_and_values_that_do_not_lie_together():
    assert rank_order(np.zeros(1, np.int64), np.empty(0)).tolist() == []
    spread = np.array([1.0, 9.0, 3.0, 9.0, 2.0])[::2]
    assert rank_order(np.array([0, 3]), spread).tolist() == [1, 2, 0]
