import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scdata.counts.distinct import distinct_columns, distinct_columns_numpy


@given(st.lists(st.lists(st.integers(0, 6), max_size=9), max_size=8))
def test_like_sets(rows):
    indptr = np.cumsum([0, *map(len, rows)])
    indices = np.array([column for row in rows for column in row], np.int32)
    for count in (distinct_columns, distinct_columns_numpy):
        assert count(indptr, indices, 7).tolist() == [len(set(row)) for row in rows]
