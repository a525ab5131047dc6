"""The order of an epoch is a permutation, a pure function, and goes round its lanes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata._splitmix import permutation, stream
from scdata.stream.order import Order

sizes = st.lists(st.integers(1, 40), min_size=0, max_size=30)


def walk(n_cells, *, seed, epoch, lanes, window):
    """The order as design says it, by walking: deal blocks, cut lanes in windows, go round."""
    deal = [permutation(len(n_cells), stream(seed, "blocks", epoch))[lane::lanes] for lane in range(lanes)]
    queues = []
    for lane, blocks in enumerate(deal):
        cells = [(int(b), r) for b in blocks for r in range(n_cells[b])]
        size, out = max(1, window // lanes), []
        for w, start in enumerate(range(0, len(cells), size)):
            part = cells[start : start + size]
            out += [part[i] for i in permutation(len(part), stream(seed, "window", epoch, lane, w))]
        queues.append(out)
    order = []
    while any(queues):
        for queue in queues:
            if queue:
                order.append(queue.pop(0))
    return order


@given(sizes, st.integers(0, 2**63), st.integers(0, 5), st.integers(1, 9), st.integers(1, 100))
def test_closed_form_equals_walking(n_cells, seed, epoch, lanes, window):
    n_cells = np.array(n_cells, np.int64)
    order = Order(n_cells, seed=seed, epoch=epoch, lanes=lanes, window=window)
    block, row, _ = order.cells(np.arange(order.n))
    expected = walk(n_cells, seed=seed, epoch=epoch, lanes=lanes, window=window)
    assert list(zip(block.tolist(), row.tolist(), strict=True)) == expected
    assert len(set(expected)) == order.n == n_cells.sum()


@given(sizes, st.data())
def test_any_position_alone(n_cells, data):
    n_cells = np.array([*n_cells, 3], np.int64)
    order = Order(n_cells, seed=1, epoch=0, lanes=4, window=16)
    block, row, _ = order.cells(np.arange(order.n))
    some = np.array(sorted(data.draw(st.sets(st.integers(0, order.n - 1), min_size=1))))
    fresh = Order(n_cells, seed=1, epoch=0, lanes=4, window=16)
    assert np.array_equal(np.stack(fresh.cells(some)[:2]), np.stack([block[some], row[some]]))


def test_without_shuffle_the_order_is_the_stored_one():
    block, row, _ = Order(np.array([2, 3]), seed=9, epoch=3, shuffle=False).cells(np.arange(5))
    assert block.tolist() == [0, 0, 1, 1, 1]
    assert row.tolist() == [0, 1, 0, 1, 2]


def test_golden_order():
    # The order is part of the format: states saved by one version are resumed by another. Do not edit these numbers.
    block, row, _ = Order(np.array([3, 4, 2, 4]), seed=0, epoch=0, lanes=2, window=6).cells(np.arange(13))
    assert list(zip(block.tolist(), row.tolist(), strict=True)) == [
        (3, 0),
        (0, 0),
        (3, 1),
        (0, 1),
        (3, 2),
        (0, 2),
        (1, 1),
        (2, 1),
        (1, 0),
        (2, 0),
        (3, 3),
        (1, 2),
        (1, 3),
    ]


@pytest.mark.parametrize(("seed", "epoch"), [(1, 0), (0, 1)])
def test_seed_and_epoch_change_the_order(seed, epoch):
    n_cells = np.full(8, 50)
    base = np.stack(Order(n_cells, seed=0, epoch=0).cells(np.arange(400))[:2])
    other = np.stack(Order(n_cells, seed=seed, epoch=epoch).cells(np.arange(400))[:2])
    assert (base != other).any(0).mean() > 0.9


def test_windows_hold_few_blocks():
    n_cells = np.full(1000, 1024)
    order = Order(n_cells, seed=0, epoch=0)
    block, _, _ = order.cells(np.arange(200_000, 216_384))
    assert len(np.unique(block)) <= order.blocks_held <= 48


@given(sizes, st.integers(1, 5), st.integers(1, 60))
def test_blocks_held_are_those_of_the_two_widest_windows(n_cells, lanes, window):
    n_cells = np.array(n_cells, np.int64)
    order = Order(n_cells, seed=0, epoch=0, lanes=lanes, window=window)
    widest = 0
    for lane in range(lanes):
        cells = [b for b in permutation(len(n_cells), stream(0, "blocks", 0))[lane::lanes] for _ in range(n_cells[b])]
        size = max(1, window // lanes)
        widest += max((len(set(cells[i : i + 2 * size])) for i in range(0, len(cells), size)), default=0)
    assert order.blocks_held == widest
