"""Which cells go where, for all combinations of ranks, workers, batch sizes, remainders and starts: integers only."""

import itertools

import numpy as np
import pytest

from scdata.batch.loader import BatchPlan, iter_chunks
from scdata.stream.order import Order

# cells of the blocks of a split: none, fewer than most batches, a multiple of many, a prime
SPLITS = {"none": [], "few": [3, 2], "multiple": [48] * 8, "prime": [40, 39, 40, 40, 40, 40, 40, 40, 40, 38]}


def cells_of(plan, order):
    """The cells of each batch of a plan, by its number."""
    found = {}
    for chunk in iter_chunks(plan, order):
        cells = list(zip(chunk.cells.block.tolist(), chunk.cells.row.tolist(), strict=True))
        for number, size in zip(chunk.numbers, chunk.sizes, strict=True):
            found[number], cells = cells[:size], cells[size:]
        assert cells == []
    return found


def everyone(n, start, batch_size, world_size, n_workers, drop_last):
    """The plans of all ranks and workers."""
    for rank, worker in itertools.product(range(world_size), range(max(1, n_workers))):
        yield BatchPlan(n, start, batch_size, rank, world_size, drop_last, worker, n_workers)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_cell_once_in_the_same_global_batches(split, drop_last, batch_size, shuffle):
    order = Order(np.array(SPLITS[split], np.int64), seed=3, epoch=1, shuffle=shuffle, lanes=4, window=64)
    block, row, _ = order.cells(np.arange(order.n))
    cells = list(zip(block.tolist(), row.tolist(), strict=True))
    assert sorted(cells) == [(b, r) for b, size in enumerate(SPLITS[split]) for r in range(size)]
    for world_size, n_workers, start in itertools.product(range(1, 9), range(4), {0, order.n // 3, order.n}):
        G = batch_size * world_size
        kept = (order.n - start) // G * G if drop_last else order.n - start
        together = {}
        for plan in everyone(order.n, start, batch_size, world_size, n_workers, drop_last):
            own = cells_of(plan, order)
            assert list(own) == list(plan.numbers())
            assert all(own.values())
            for number, part in own.items():
                together.setdefault(number, []).extend(part)
        # as sorted lists: a cell that two ranks or workers have is there twice
        expected = [sorted(cells[s : s + G]) for s in range(start, start + kept, G)]
        assert [sorted(together[k]) for k in range(len(together))] == expected


@pytest.mark.parametrize("drop_last", [False, True])
def test_the_parts_of_a_global_batch_are_even(drop_last):
    for n, world_size, batch_size in itertools.product((5, 383, 384), range(1, 9), (1, 7, 64)):
        sizes = {}
        for plan in everyone(n, 0, batch_size, world_size, 0, drop_last):
            for number in plan.numbers():
                sizes.setdefault(number, []).append(len(plan.positions(number)))
        for parts in sizes.values():
            assert max(parts) - min(parts) <= 1
            assert len(parts) == world_size or sum(parts) < world_size
        if drop_last:
            # ranks that end at different steps would wait for each other for ever
            assert all(parts == [batch_size] * world_size for parts in sizes.values())


def test_the_rest_after_every_position_on_one_to_eight_ranks():
    n = 97
    for position, world_size, batch_size in itertools.product(range(n + 1), range(1, 9), (1, 5)):
        plans = list(everyone(n, position, batch_size, world_size, 2, False))
        seen = [p for plan in plans for number in plan.numbers() for p in plan.positions(number).tolist()]
        assert sorted(seen) == list(range(position, n))
        done = {number: plan.after(number) for plan in plans for number in plan.numbers()}
        assert [done[k] for k in sorted(done)] == [
            min(n, position + (k + 1) * batch_size * world_size) for k in range(len(done))
        ]
