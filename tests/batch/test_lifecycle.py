"""Epochs, positions and ranks, in the trainer's process and in workers of every kind."""

import itertools
import os
import pickle
import subprocess
import sys

import pytest
from torch.utils.data import DataLoader

from scdata import ShardDataset
from scdata._errors import CorruptShardError, SetNotFoundError, StateError
from scdata.batch import lifecycle


def test_set_epoch_keeps_a_loaded_position_of_that_epoch_only(counts_set, ids_in_order):
    dataset = ShardDataset(counts_set, batch_size=10)
    dataset.set_epoch(3)
    batches = [b["cell_id"].tolist() for b in dataset]
    dataset.set_epoch(3)
    state = next(itertools.islice(iter(dataset), 4, None))["state"]
    fresh = ShardDataset(counts_set, batch_size=10)
    fresh.load_state_dict(state)
    fresh.set_epoch(3)
    assert [b["cell_id"].tolist() for b in fresh] == batches[5:]
    fresh.load_state_dict(state)
    fresh.set_epoch(4)
    assert len(ids_in_order(fresh)) == fresh.n_cells


def test_state_dict_is_that_of_the_last_batch_delivered(counts_set):
    dataset = ShardDataset(counts_set, batch_size=10)
    assert dataset.state_dict()["position"] == 0
    iterator = iter(dataset)
    for k in range(1, 4):
        batch = next(iterator)
        assert dataset.state_dict() == batch["state"]
        assert batch["state"]["position"] == 10 * k


def test_state_dict_refuses_after_workers(counts_set):
    dataset = ShardDataset(counts_set, batch_size=100)
    list(DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn"))
    with pytest.raises(StateError, match=r'batch\["state"\]'):
        dataset.state_dict()
    next(iter(dataset))
    assert dataset.state_dict()["position"] == 100


def test_persistent_workers_follow_the_trainer(counts_set):
    dataset = ShardDataset(counts_set, batch_size=20)
    loader = DataLoader(
        dataset, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context="spawn"
    )
    epochs = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        epochs.append(list(loader))
    plain = ShardDataset(counts_set, batch_size=20)
    for epoch in (0, 1):
        plain.set_epoch(epoch)
        assert [b["cell_id"].tolist() for b in epochs[epoch]] == [b["cell_id"].tolist() for b in plain]
    dataset.load_state_dict(epochs[0][3]["state"])
    rest = [b["cell_id"].tolist() for b in epochs[0][4:]]
    assert [b["cell_id"].tolist() for b in loader] == rest
    assert len(list(loader)) == len(epochs[0])


def test_a_loaded_position_is_not_used_by_another_number_of_workers(counts_set):
    dataset = ShardDataset(counts_set, batch_size=20)
    state = next(iter(dataset))["state"]
    dataset.load_state_dict(state)
    list(DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="spawn"))
    assert sum(len(b["cell_id"]) for b in dataset) == dataset.n_cells


def test_collating_batches_again_is_an_error(counts_set):
    with pytest.raises(ValueError, match=r"DataLoader\(ds, batch_size=None\)"):
        next(iter(DataLoader(ShardDataset(counts_set), batch_size=2)))


def test_pickling_carries_the_rank_and_refuses_another_set(counts_set, tmp_path, ids_in_order):
    import shutil

    import scdata

    dataset = ShardDataset(counts_set, batch_size=10, rank=1, world_size=3)
    assert ids_in_order(pickle.loads(pickle.dumps(dataset))) == ids_in_order(dataset)
    moved = tmp_path / "set"
    shutil.copytree(counts_set, moved)
    data = pickle.dumps(ShardDataset(moved))
    scdata.build_shards("synthetic:cells=40,genes=20", moved, overwrite=True)
    with pytest.raises(CorruptShardError, match="the set was replaced"):
        pickle.loads(data)


def test_nothing_is_open_before_iteration(counts_set):
    def open_shards():
        links = [os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd")]
        return [t for t in (os.readlink(link) for link in links if os.path.exists(link)) if t.endswith(".tar")]

    dataset = ShardDataset(counts_set, batch_size=50)
    assert open_shards() == []
    iterator = iter(dataset)
    next(iterator)
    assert open_shards() != []
    iterator.close()
    del iterator
    assert open_shards() == []


def test_epochs_reopen_nothing_but_shards(counts_set, tmp_path, ids_in_order):
    import shutil

    moved = tmp_path / "set"
    shutil.copytree(counts_set, moved)
    options = {"batch_size": 16, "filter": "not is_control", "balance": "cell_type", "group_by_length": True}
    dataset = ShardDataset(moved, columns=("cell_type", "measured"), **options)
    epochs = [ids_in_order(dataset)]
    for path in moved.iterdir():
        if path.name != "shards":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        epochs.append(ids_in_order(dataset))
    assert len(set(map(tuple, epochs))) == 3


def test_fork_fixes_the_rank_before_the_child_can_ask(counts_set, monkeypatch):
    dataset = ShardDataset(counts_set, batch_size=10)
    monkeypatch.setattr("scdata.batch.resumable.distributed_rank", lambda: (2, 5))
    lifecycle._resolve_all()
    monkeypatch.setattr("scdata.batch.resumable.distributed_rank", lambda: (0, 1))
    monkeypatch.setattr("scdata.batch.resumable.worker_info", lambda: (0, 2, 7))
    assert dataset.resolve_rank() == (2, 5)


def test_torchrun_ranks_without_arguments(counts_set):
    script = (
        "import sys, torch.distributed as dist\n"
        "from scdata import ShardDataset\n"
        "from torch.utils.data import DataLoader\n"
        "if __name__ == '__main__':\n"
        "    dist.init_process_group('gloo')\n"
        "    ds = ShardDataset(sys.argv[1], batch_size=8, drop_last=False)\n"
        "    out = []\n"
        "    for n in (0, 2):\n"
        "        dl = DataLoader(ds, batch_size=None, num_workers=n, multiprocessing_context='spawn' if n else None)\n"
        "        out.append([i for b in dl for i in b['cell_id'].tolist()])\n"
        "    assert out[0] == out[1], 'workers of a rank saw other cells'\n"
        "    parts = [None] * dist.get_world_size()\n"
        "    dist.all_gather_object(parts, out[0])\n"
        "    ids = [i for part in parts for i in part]\n"
        "    assert len(ids) == len(set(ids)) == ds.n_cells, (len(ids), ds.n_cells)\n"
        "    dist.destroy_process_group()\n"
    )
    import pathlib
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ranks.py"
        path.write_text(script)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(path)]
        done = subprocess.run(
            [*command, str(counts_set)], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    assert done.returncode == 0, done.stderr


def test_world_size_above_lanes_warns(counts_set):
    dataset = ShardDataset(counts_set, batch_size=2, lanes=2, rank=0, world_size=4)
    with pytest.warns(UserWarning, match="blocks are read 2.0 times over"):
        next(iter(dataset))


def test_no_set_and_unfinished_sets_are_named(tmp_path):
    with pytest.raises(SetNotFoundError, match="does not exist"):
        ShardDataset(tmp_path / "none")
    (tmp_path / "half" / ".build").mkdir(parents=True)
    with pytest.raises(SetNotFoundError, match="unfinished build"):
        ShardDataset(tmp_path / "half")


def test_a_position_is_for_the_first_iterator_that_begins(counts_set):
    """Worker 1 of an abandoned iterator may never have begun: the next iterator must not mix two positions."""
    life = lifecycle.Lifecycle()
    life.load(epoch=0, position=40)
    assert life.begin(worker=0, reader=11) == (40, 0)
    assert [life.begin(worker, reader=22) for worker in (0, 1)] == [(0, 0), (0, 0)]


def test_a_deep_copy_still_shares_its_memory(counts_set):
    import copy

    assert copy.deepcopy(ShardDataset(counts_set))._lifecycle._shared.is_shared()


def test_loading_makes_state_dict_work_again(counts_set):
    dataset = ShardDataset(counts_set, batch_size=100)
    batch = next(iter(DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")))
    dataset.load_state_dict(batch["state"])
    assert dataset.state_dict() == batch["state"]


def test_a_split_smaller_than_a_global_batch_warns(counts_set):
    dataset = ShardDataset(counts_set, split="val", batch_size=100, rank=0, world_size=4)
    with pytest.warns(
        UserWarning, match=r"no batch on rank 0: \d+ cells are less than a batch of 100 on each of 4 rank"
    ):
        assert list(dataset) == []


def test_a_rank_without_a_cell_of_the_last_batch_is_no_cause_for_a_warning(counts_set):
    dataset = ShardDataset(counts_set, subset=3, batch_size=1, rank=3, world_size=4, drop_last=False)
    assert list(dataset) == []
