"""Which cells go where, for all combinations of ranks, workers, batch sizes, remainders and starts: integers only."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from scdata.batch.loader import BatchPlan, iter_chunks
from scdata.stream.length_order import LengthOrder
from scdata.stream.mix_order import MixOrder
from scdata.stream.mixture import Mixture
from scdata.stream.order import Order
from scdata.stream.weighted_order import WeightedOrder
from scdata.stream.weights import CellWeights

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


def weighted(base, epoch):
    codes = np.arange(base.n) % 5 // 2
    own = CellWeights("x", (0, 1, 2), np.bincount(codes, minlength=3), np.array([1.0, 4, 0.5]), codes.astype(np.uint8))
    first = np.concatenate(([0], np.cumsum(SPLITS["prime"])))
    return WeightedOrder(base, own, first, seed=3, epoch=epoch, window=64, max_repeat=9)


@pytest.mark.parametrize("kind", ["weighted", "by length", "weighted by length", "mixed", "mixed by length"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_same_global_batches_in_every_kind_of_order(kind, drop_last):
    def order_of(s, epoch):
        return Order(np.array(SPLITS["prime"]), seed=s, epoch=epoch, lanes=4, window=64)

    n, lengths = sum(SPLITS["prime"]), np.random.default_rng(0).integers(0, 50, (10, 40))
    if "mixed" in kind:
        mixture = Mixture([n, n], [Fraction(2), Fraction(1)], seed=0, lanes=4, stop="cycle")
        base, n = MixOrder(mixture, order_of, 1), mixture.n
    else:
        base = weighted(order_of(3, 1), 1) if "weighted" in kind else order_of(3, 1)
    counts = {}
    for world_size, n_workers, per_rank in itertools.product(range(1, 9), range(4), (1, 6)):
        G = per_rank * world_size
        order = base
        if "length" in kind:
            order = LengthOrder(base, n, lambda p: lengths[p.block, p.row], global_batch=G, lanes=4, seed=3, epoch=1)
        together = {}
        for plan in everyone(n, 0, per_rank, world_size, n_workers, drop_last):
            for chunk in iter_chunks(plan, order):
                for number, part in chunk.parts():
                    columns = [column[part].tolist() for column in chunk.cells if column is not None]
                    together.setdefault(number, []).extend(zip(*columns, strict=True))
        found = [sorted(together[k]) for k in sorted(together)]
        # the same for any number of ranks and workers that make up G
        assert found == counts.setdefault(G, found)
        every = [cell for batch in found for cell in batch]
        assert len(every) == len(set(every)) == (n // G * G if drop_last else n)
        if not drop_last:
            assert sorted(every) == counts.setdefault("all", sorted(every))


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
