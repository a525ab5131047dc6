import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata.tokens.kernels.levels import count_levels, decode_levels, n_levels

STARTS, STEPS = (0, 100, 1000, 10000), (1, 10, 100)


def closed_formula(count):
    """The levels as they are stated: a decade at a time."""
    if count < 100:
        return count
    if count > 9999:
        return 280
    k = len(str(count)) - 1
    return 100 + 90 * (k - 2) + (count - 10**k) // 10 ** (k - 1)


def test_every_count_to_20000():
    counts = np.arange(20001, dtype=np.int32)
    levels = count_levels(counts, STARTS, STEPS)
    assert levels.tolist() == [closed_formula(count) for count in range(20001)]
    assert levels.dtype == np.int32
    assert n_levels(STARTS, STEPS) == 281


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_huge_counts_fall_in_the_last_level(dtype):
    counts = np.array([[9999, 10000], [10001, np.iinfo(dtype).max]], dtype)
    assert count_levels(counts, STARTS, STEPS).tolist() == [[279, 280], [280, 280]]


def test_back_to_the_lowest_count_of_each_level():
    lowest = decode_levels(np.arange(281), STARTS, STEPS)
    assert lowest.dtype == np.int64
    assert lowest.tolist() == [*range(100), *range(100, 1000, 10), *range(1000, 10000, 100), 10000]
    assert count_levels(lowest, STARTS, STEPS).tolist() == list(range(281))


@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 40)), min_size=1, max_size=5), st.integers(0, 2**32))
def test_levels_of_any_stretches(stretches, seed):
    starts, steps = [0], []
    for step, n in stretches:
        steps.append(step)
        starts.append(starts[-1] + step * n)
    edges = np.concatenate(
        [*(np.arange(a, b, c) for a, b, c in zip(starts, starts[1:], steps, strict=False)), [starts[-1]]]
    )
    assert n_levels(starts, steps) == len(edges)
    rng = np.random.default_rng(seed)
    counts = np.concatenate((edges, edges[1:] - 1, rng.integers(0, 2 * starts[-1], 50), [2**31 - 1]))
    levels = count_levels(counts, starts, steps)
    assert levels.tolist() == (np.searchsorted(edges, counts, side="right") - 1).tolist()
    assert decode_levels(levels, starts, steps).tolist() == edges[levels].tolist()


def test_a_last_start_beyond_the_largest_count():
    starts, steps = (0, 10, 2**31 + 6), (1, 2**31 - 4)
    assert count_levels(np.array([0, 9, 10, 2**31 - 1], np.int32), starts, steps).tolist() == [0, 9, 10, 10]


@pytest.mark.parametrize("last", [(1 << 14) - 1, 1 << 14, (1 << 14) + 1, 1 << 15])
def test_around_the_end_of_the_table(last):
    counts = np.arange((1 << 14) - 3, (1 << 15) + 3)
    assert count_levels(counts, (0, last), (1,)).tolist() == np.minimum(counts, last).tolist()


def test_nothing():
    none = np.empty(0, np.int32)
    assert count_levels(none, STARTS, STEPS).tolist() == decode_levels(none, STARTS, STEPS).tolist() == []


def test_padding_and_what_was_not_measured_stay():
    assert decode_levels(np.array([-1, 0, 280, -1]), STARTS, STEPS).tolist() == [-1, 0, 10000, -1]


@pytest.mark.parametrize("levels", [[281], [0, -2]])
def test_what_is_no_level(levels):
    with pytest.raises(ValueError, match="there are 0 to 280"):
        decode_levels(np.array(levels), STARTS, STEPS)
