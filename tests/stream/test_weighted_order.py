"""Draws by weight: as many as there are cells, in their expected number, in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata.stream.order import Order
from scdata.stream.weighted_order import WeightedOrder, copies_of
from scdata.stream.weights import CellWeights

some_weights = st.lists(st.sampled_from([1e-6, 0.1, 1.0, 1.0, 3.0, 1e4]), min_size=1, max_size=40)


def expected_copies(weights, most):
    """Expected number of each cell, min(most, λ w), with λ found by bisection so that they sum to n."""
    low, high = 0.0, len(weights) / min(weights) * 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if np.minimum(most, middle * np.array(weights)).sum() < len(weights) else (low, middle)
        )
    return np.minimum(most, high * np.array(weights))


@given(some_weights, st.integers(1, 25), st.floats(0, 1, exclude_max=True))
def test_copies_are_the_expected_number_rounded(weights, most, offset):
    copies = copies_of(np.array(weights), most, offset)
    assert copies.sum() == len(weights)
    assert copies.max() <= most
    assert np.abs(copies - expected_copies(weights, most)).max() < 1 + 1e-4


@pytest.mark.parametrize("most", [1, 2, 5, 100])
def test_on_average_copies_are_the_expected_number(most):
    weights = np.array([5.0, 0.01, 1, 1, 1, 7, 30, 2, 2, 0.5])
    mean = np.mean([copies_of(weights, most, k / 4000) for k in range(4000)], 0)
    assert np.abs(mean - expected_copies(weights, most)).max() < 0.01


def weighted(sizes, codes, weights, *, window, max_repeat=20, seed=0, epoch=0):
    sizes, codes, weights = np.array(sizes), np.array(codes, np.uint8), np.array(weights, float)
    own = CellWeights("x", tuple(range(len(weights))), np.bincount(codes, minlength=len(weights)), weights, codes)
    order = Order(sizes, seed=seed, epoch=epoch, lanes=3, window=window)
    first = np.concatenate(([0], np.cumsum(sizes)))
    return order, WeightedOrder(order, own, first, seed=seed, epoch=epoch, window=window, max_repeat=max_repeat)


@given(st.lists(st.integers(1, 15), min_size=1, max_size=12), st.integers(1, 50), st.integers(1, 6), st.data())
def test_a_window_emits_copies_of_its_own_cells(sizes, window, max_repeat, data):
    codes = data.draw(st.lists(st.integers(0, 2), min_size=sum(sizes), max_size=sum(sizes)))
    base, order = weighted(sizes, codes, [1, 10, 0.1], window=window, max_repeat=max_repeat)
    assert order.n == base.n == sum(sizes)
    plain = list(zip(*[a.tolist() for a in base.cells(np.arange(base.n))[:2]], strict=True))
    drawn = list(zip(*[a.tolist() for a in order.cells(np.arange(order.n))], strict=True))
    for start in range(0, order.n, window):
        own = drawn[start : start + window]
        copies = {}
        for block, row, occurrence in own:
            copies.setdefault((block, row), []).append(occurrence)
        assert set(copies) <= set(plain[start : start + window])
        assert all(sorted(found) == list(range(len(found))) for found in copies.values())
        assert max(map(len, copies.values())) <= max_repeat
    # any positions alone, as a resumed loader asks for them
    some = np.array(sorted(data.draw(st.sets(st.integers(0, order.n - 1), min_size=1))))
    fresh = weighted(sizes, codes, [1, 10, 0.1], window=window, max_repeat=max_repeat)[1]
    assert list(zip(*[a.tolist() for a in fresh.cells(some)], strict=True)) == [drawn[p] for p in some]


def test_golden_draws():
    # The order is part of the format: states saved by one version are resumed by another. Do not edit these numbers.
    _, order = weighted([3, 4, 2, 4], [0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0], [1, 5], window=6)
    assert list(zip(*[a.tolist() for a in order.cells(np.arange(13))], strict=True)) == [
        (1, 1, 0),
        (3, 0, 0),
        (0, 0, 0),
        (3, 1, 0),
        (1, 0, 0),
        (0, 1, 0),
        (0, 2, 0),
        (1, 2, 0),
        (2, 0, 1),
        (0, 2, 1),
        (1, 3, 0),
        (2, 0, 0),
        (2, 1, 0),
    ]


def test_shares_are_as_meant():
    random = np.random.default_rng(0)
    codes = random.choice(10, 200_000, p=np.r_[0.001, 0.01, np.full(7, 0.1), 0.289])
    n = np.bincount(codes)
    _, order = weighted(np.full(200, 1000), codes, 1 / n, window=16384, max_repeat=1000)
    shares = order.shares(100)
    # 16 cells of the rarest in a window, give or take four: its share varies by a quarter between the 12 windows
    assert np.abs(shares - 0.1).max() < 4 * 0.1 / 4 / np.sqrt(12)
    assert shares.sum() == pytest.approx(1)
    # so it is in a window of 1,024 positions, where it may have no cell at all
    _, small = weighted(np.full(200, 1000), codes, 1 / n, window=1024, max_repeat=1000)
    assert small.shares(1000)[0] < shares[0]
    # 16 cells, 20 copies each
    _, capped = weighted(np.full(200, 1000), codes, 1 / n, window=16384)
    assert capped.shares(100)[0] == pytest.approx(20 * n[0] / len(codes))


def test_seed_and_epoch_change_the_draws():
    codes = np.arange(300) % 3
    first, other, again = (
        np.stack(weighted(np.full(3, 100), codes, [1, 2, 3], window=100, epoch=e)[1].cells(np.arange(300)))
        for e in (0, 1, 0)
    )
    assert np.array_equal(first, again)
    assert (first != other).any(0).mean() > 0.9
