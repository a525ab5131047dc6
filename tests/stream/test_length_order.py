"""Groups of lengths: a permutation inside groups and lanes, batches of like lengths, in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata.stream.length_order import BATCHES, LengthOrder
from scdata.stream.order import Order


def orders(n, lengths, *, global_batch, lanes, epoch=0):
    """The order of n cells in blocks of 50, and the same in groups of lengths."""
    sizes = np.array([50] * (n // 50) + [n % 50] * (n % 50 > 0), np.int64)
    base = Order(sizes, seed=0, epoch=epoch, lanes=lanes, window=200)
    grouped = LengthOrder(
        base,
        n,
        lambda places: lengths[places.block * 50 + places.row],
        global_batch=global_batch,
        lanes=lanes,
        seed=0,
        epoch=epoch,
    )
    return base, grouped


def numbers(places):
    return places.block * 50 + places.row


@given(
    st.integers(1, 9000),
    st.sampled_from([1, 3, 16, 40, 128, 130, 256, 400]),
    st.integers(1, 6),
    st.integers(0, 3),
    st.data(),
)
def test_a_group_has_its_cells_in_order_of_length_class_by_class(n, global_batch, lanes, epoch, data):
    lengths = np.random.default_rng(n).integers(0, 30, n)
    base, grouped = orders(n, lengths, global_batch=global_batch, lanes=lanes, epoch=epoch)
    plain, found = (numbers(order.cells(np.arange(n))) for order in (base, grouped))
    group, classes = BATCHES * global_batch, grouped.classes
    for start in range(0, n, group):
        stop = min(start + group, n)
        batches = [found[s : s + global_batch] for s in range(start, stop, global_batch)]
        last = [batches.pop()] if (stop - start) % global_batch else []
        class_of = dict(zip(plain[start:stop].tolist(), (np.arange(start, stop) % classes).tolist(), strict=True))
        # some order of the batches that were full, then the last one, is every class sorted
        batches.sort(key=lambda batch: np.sort(lengths[batch]).tolist()[::-1])
        together = np.concatenate([*batches, *last])
        assert sorted(together.tolist()) == sorted(plain[start:stop].tolist())
        for one in range(classes):
            own = [lengths[cell] for cell in together.tolist() if class_of[cell] == one]
            if global_batch % classes == 0:
                assert own == sorted(own)
        # positions of a class have its cells
        if global_batch % classes == 0:
            assert [class_of[cell] for cell in found[start:stop].tolist()] == (
                np.arange(start, stop) % classes
            ).tolist()
    some = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1))))
    _, fresh = orders(n, lengths, global_batch=global_batch, lanes=lanes, epoch=epoch)
    assert np.array_equal(numbers(fresh.cells(some)), found[some])


def test_batches_are_of_like_lengths_in_no_order():
    lengths = np.random.default_rng(0).lognormal(7, 0.6, 20_000).astype(int)
    base, grouped = orders(20_000, lengths, global_batch=64, lanes=16)
    longest, means = [], []
    for order in (base, grouped):
        rows = lengths[numbers(order.cells(np.arange(19_968)))].reshape(-1, 64)
        longest.append(rows.max(1).sum() * 64 / rows.sum())
        means.append(rows.mean(1))
    # padding each batch to its longest cell: times the tokens there are
    assert longest[0] > 3
    assert longest[1] < 1.3
    # as many batches follow a shorter as a longer one
    rises = (np.diff(means[1]) > 0).mean()
    assert 0.42 < rises < 0.58


@pytest.mark.parametrize(
    ("global_batch", "lanes", "classes"), [(64, 16, 1), (512, 16, 8), (600, 16, 8), (4096, 16, 16), (516, 6, 6)]
)
def test_ranks_keep_their_lanes(global_batch, lanes, classes):
    base, grouped = orders(20_000, np.arange(20_000) % 977, global_batch=global_batch, lanes=lanes)
    assert grouped.classes == classes
    n = 20_000 - 2000  # before lanes are used up
    lane_of = dict(zip(numbers(base.cells(np.arange(n))).tolist(), (np.arange(n) % lanes).tolist(), strict=True))
    n -= n % (BATCHES * global_batch)
    for rank in range(classes):
        found = numbers(grouped.cells(np.arange(rank, n, classes)))
        assert {lane_of[cell] % classes for cell in found.tolist()} <= {rank}


def test_golden_lengths():
    # The order is part of the format: states saved by one version are resumed by another. Do not edit these numbers.
    lengths = np.array([5, 3, 9, 1, 7, 7, 2, 8, 4, 6])
    _, grouped = orders(10, lengths, global_batch=3, lanes=2)
    assert numbers(grouped.cells(np.arange(10))).tolist() == [3, 6, 1, 8, 0, 9, 5, 4, 7, 2]
