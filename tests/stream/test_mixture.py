"""Positions of a mix are dealt to its sets by their shares, each own position once, in closed form."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata.stream.mixture import Mixture

sets = st.lists(
    st.tuples(st.integers(1, 3000), st.sampled_from([1, 2, 5, 0.1, 1 / 3, 0.001, 40])), min_size=1, max_size=5
)


def mixture(sizes, weights, *, lanes=4, stop="exhaust", seed=0):
    return Mixture(sizes, [Fraction(w) for w in weights], seed=seed, lanes=lanes, stop=stop)


@settings(max_examples=60)
@given(sets, st.integers(1, 5), st.sampled_from(["exhaust", "cycle"]))
def test_every_own_position_once_until_a_set_is_used_up(sets, lanes, stop):
    sizes, weights = zip(*sets, strict=True)
    if stop == "cycle" and max(sizes) * sum(weights) / min(weights) > 1_000_000:
        sizes = tuple(min(size, 50) for size in sizes)
        weights = tuple(max(w, 0.1) for w in weights)
    own_mix = mixture(sizes, weights, lanes=lanes, stop=stop)
    found, own = own_mix.places(np.arange(own_mix.n))
    for s in range(len(sizes)):
        assert sorted(own[found == s].tolist()) == list(range(own_mix.totals[s]))
    used_up = [total >= size for total, size in zip(own_mix.totals, sizes, strict=True)]
    assert any(used_up) if stop == "exhaust" else all(used_up)
    # the very last position is the last cell of a set
    assert own_mix.totals[found[-1]] == sizes[found[-1]]
    assert own[-1] == sizes[found[-1]] - 1
    if stop == "exhaust":
        assert all(total <= size for total, size in zip(own_mix.totals, sizes, strict=True))
        assert own_mix.passes == tuple(1 if total else 0 for total in own_mix.totals)


@pytest.mark.parametrize("weights", [[3, 1], [1, 1, 1], [0.5, 0.001, 0.499], [2, 1e-4, 1e-4, 5]])
def test_shares_hold_in_every_window(weights):
    own = mixture([400_000] * len(weights), weights, lanes=8)
    shares = np.array(weights) / sum(weights)
    found, _ = own.places(np.arange(own.n))
    counts = np.cumsum(found[:, None] == np.arange(len(weights)), 0)
    for end in range(8 * 1024, own.n, 8 * 1024):
        assert np.abs(counts[end - 1] - shares * end).max() <= 8 * len(weights)
    # inside a window they are mixed as by chance: no run of a set is longer than chance has it
    p = shares.max()
    runs = np.diff(np.flatnonzero(np.r_[True, np.diff(found[: 1 << 16]) != 0, True]))
    assert runs.max() < 3 + 2 * np.log(1 << 16) / -np.log(p)


def test_a_lane_of_the_mix_is_a_lane_of_every_set():
    own = mixture([100_000, 30_000, 200_000], [5, 1, 3], lanes=8)
    positions = np.arange(0, own.n - 8 * 1024)
    _, number = own.places(positions)
    assert np.array_equal(number % 8, positions % 8)


@given(st.data())
@settings(max_examples=30)
def test_any_position_alone(data):
    sizes, weights = [5000, 2000, 9000], [2, 1, 7]
    own = mixture(sizes, weights, stop="cycle")
    found = np.stack(own.places(np.arange(own.n)))
    some = np.array(sorted(data.draw(st.sets(st.integers(0, own.n - 1), min_size=1))))
    assert np.array_equal(np.stack(mixture(sizes, weights, stop="cycle").places(some)), found[:, some])


def test_golden_mixture():
    # The order is part of the format: states saved by one version are resumed by another. Do not edit these numbers.
    own = mixture([9, 4], [2, 1], lanes=2)
    assert own.n == 11
    found, number = own.places(np.arange(own.n))
    assert found.tolist() == [0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1]
    assert number.tolist() == [0, 0, 1, 1, 2, 3, 4, 5, 6, 2, 3]
    large = mixture([50_000, 40_000], [2, 1], lanes=2)
    assert np.stack(large.places(np.arange(5000, 5012))).tolist() == [
        [0, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0],
        [3320, 1683, 1680, 1685, 3322, 3319, 3324, 3321, 1682, 3323, 3326, 3325],
    ]
    assert (large.n, large.totals) == (74991, (50000, 24991))


def test_an_epoch_without_end_is_refused():
    with pytest.raises(ValueError, match="raise the smallest weights"):
        mixture([3, 100_000], [1, 1e-16], stop="cycle")


def test_300_million_cells_are_quick():
    own = mixture([200_000_000, 100_000_000, 3_000_000], [10, 1, 1], lanes=16, stop="cycle")
    assert own.totals[1] == 100_000_000
    found, number = own.places(np.arange(own.n - 10, own.n))
    assert (found[-1], number[-1]) == (1, 99_999_999)
