"""Every cell exactly once, on any number of ranks, workers and threads; and exactly the rest after a state."""

import itertools
import json

import numpy as np
import pytest
from torch.utils.data import DataLoader

from scdata import ShardDataset

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*world_size .* is above lanes:UserWarning",
    "ignore:.*DataLoader workers each read:UserWarning",
    "ignore:no batch on rank:UserWarning",
    "ignore:This DataLoader will create:UserWarning",  # small machines
)


def ranks(path, world_size, batch_size, **options):
    return [
        ShardDataset(path, batch_size=batch_size, rank=rank, world_size=world_size, output="packed", **options)
        for rank in range(world_size)
    ]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(("batch_size", "split"), [(1, "val"), (7, "train"), (64, "train"), (1000, "train")])
@pytest.mark.parametrize("drop_last", [False, True])
def test_union_is_complete_and_parts_are_disjoint(counts_set, ids_in_order, world_size, batch_size, split, drop_last):
    loaders = ranks(counts_set, world_size, batch_size, split=split, drop_last=drop_last)
    n = loaders[0].n_cells
    seen = [ids_in_order(loader) for loader in loaders]
    everything = list(itertools.chain(*seen))
    assert len(set(everything)) == len(everything)
    full = n // (batch_size * world_size) * batch_size * world_size
    assert len(everything) == (full if drop_last else n)
    for loader, ids in zip(loaders, seen, strict=True):
        sizes = [len(batch["cell_id"]) for batch in loader]
        assert len(loader) == len(sizes)
        assert sum(sizes) == len(ids)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_global_batches_do_not_depend_on_the_number_of_ranks(counts_set, ids_in_order, world_size):
    one = ids_in_order(ranks(counts_set, 1, 24)[0])
    parts = [[b["cell_id"].tolist() for b in loader] for loader in ranks(counts_set, world_size, 24 // world_size)]
    for k in range(len(one) // 24):
        together = {cell for part in parts for cell in part[k]}
        assert together == set(one[24 * k : 24 * (k + 1)])


@pytest.mark.parametrize("num_threads", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [5, 600])
def test_threads_change_nothing(counts_set, ids_in_order, num_threads, batch_size):
    base = ids_in_order(ShardDataset(counts_set, batch_size=5, num_threads=0))
    assert ids_in_order(ShardDataset(counts_set, batch_size=batch_size, num_threads=num_threads)) == base


def test_epochs_differ_and_repeat(counts_set, ids_in_order):
    dataset = ShardDataset(counts_set, batch_size=32)
    first, again = ids_in_order(dataset), ids_in_order(dataset)
    dataset.set_epoch(1)
    second = ids_in_order(dataset)
    assert first == again
    assert first != second
    assert sorted(first) == sorted(second)


def test_unshuffled_is_the_stored_order(counts_set, ids_in_order):
    from scdata.shard import ShardSet

    stored = ShardSet(counts_set).read_obs("train")["cell_id"].to_pylist()
    assert ids_in_order(ShardDataset(counts_set, batch_size=32, shuffle=False)) == stored
    assert stored != sorted(stored)


def test_resume_at_every_position_on_one_to_four_ranks(counts_set, ids_in_order):
    batches = list(ShardDataset(counts_set, batch_size=12, seed=7, output="packed"))
    order = [b["cell_id"].tolist() for b in batches]
    for k in [*range(0, len(batches), 5), len(batches) - 1]:
        state = json.loads(json.dumps(batches[k]["state"]))
        rest = set(itertools.chain(*order[k + 1 :]))
        for world_size in (1, 2, 3, 4):
            loaders = ranks(counts_set, world_size, 12 // world_size, seed=7, drop_last=False)
            for loader in loaders:
                loader.load_state_dict(state)
            seen = list(itertools.chain(*[ids_in_order(loader) for loader in loaders]))
            assert len(seen) == len(set(seen))
            assert set(seen) == rest
    assert rest == set()


@pytest.mark.filterwarnings("ignore:the loader state was saved with 1 cells:UserWarning")
def test_resume_at_every_position_of_a_small_split(counts_set, ids_in_order):
    one = {"split": "val", "output": "packed", "seed": 2, "num_threads": 0}
    batches = list(ShardDataset(counts_set, batch_size=1, **one))
    order = [b["cell_id"].item() for b in batches]
    loaders = {
        w: ranks(counts_set, w, 5, drop_last=False, **{k: v for k, v in one.items() if k != "output"}) for w in (1, 3)
    }
    for k, batch in enumerate(batches):
        assert batch["state"]["position"] == k + 1
        for own in loaders.values():
            for loader in own:
                loader.load_state_dict(batch["state"])
            rest = list(itertools.chain(*[ids_in_order(loader) for loader in own]))
            assert sorted(rest) == sorted(order[k + 1 :])


@pytest.mark.parametrize(
    ("world_size", "n_workers", "num_threads", "batch_size", "drop_last"),
    [(1, 2, 0, 7, False), (2, 1, 2, 16, None), (3, 3, 1, 5, True), (3, 2, 1, 9, False)],
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_workers_of_ranks(counts_set, world_size, n_workers, num_threads, batch_size, drop_last):
    order = np.concatenate([b["cell_id"] for b in ShardDataset(counts_set, batch_size=64)])
    together = {}
    options = {"drop_last": drop_last, "num_threads": num_threads}
    for own in ranks(counts_set, world_size, batch_size, **options):
        loader = DataLoader(own, batch_size=None, num_workers=n_workers, multiprocessing_context="fork")
        assert len(loader) == len(own)
        for k, batch in enumerate(loader):
            together.setdefault(k, []).extend(batch["cell_id"].tolist())
    G = batch_size * world_size
    drops = world_size > 1 if drop_last is None else drop_last
    kept = len(order) // G * G if drops else len(order)
    assert [sorted(together[k]) for k in sorted(together)] == [sorted(order[s : s + G]) for s in range(0, kept, G)]


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_resume_in_dataloader_workers(counts_set, ids_in_order, context):
    batches = list(ShardDataset(counts_set, batch_size=20, output="packed"))
    state = batches[6]["state"]
    rest = [b["cell_id"].tolist() for b in batches[7:]]
    dataset = ShardDataset(counts_set, batch_size=20, output="packed")
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=context)
    dataset.load_state_dict(state)
    assert [b["cell_id"].tolist() for b in loader] == rest
    # a loaded position counts once
    assert [b["cell_id"].tolist() for b in loader] == [b["cell_id"].tolist() for b in batches]


def test_a_state_from_workers_resumes_without_them(counts_set, ids_in_order):
    dataset = ShardDataset(counts_set, batch_size=20)
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
    seen = list(itertools.islice(loader, 5))
    rest = ShardDataset(counts_set, batch_size=20)
    rest.load_state_dict(seen[-1]["state"])
    everything = [i for b in seen for i in b["cell_id"].tolist()] + ids_in_order(rest)
    assert sorted(everything) == sorted(ids_in_order(ShardDataset(counts_set, batch_size=20)))


def test_another_batch_size_resumes_with_a_warning(counts_set, ids_in_order):
    batches = list(ShardDataset(counts_set, batch_size=12))
    order = np.concatenate([b["cell_id"] for b in batches])
    dataset = ShardDataset(counts_set, batch_size=50)
    with pytest.warns(UserWarning, match="12 cells a global batch, now 50"):
        dataset.load_state_dict(batches[2]["state"])
    assert ids_in_order(dataset) == order[36:].tolist()
