"""What happens to shards, workers and processes in the middle of an epoch: named, and the rest is still the rest."""

import os
import shutil
import subprocess
import sys
import threading

import pytest
import torch
from torch.utils.data import DataLoader

import scdata
from scdata import ShardDataset
from scdata._errors import CorruptShardError
from scdata.shard import ShardSet

# little of the set is read before the first batches are there
FEW = {"batch_size": 8, "lanes": 2, "window": 32}


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory):
    out = tmp_path_factory.mktemp("many") / "set"
    scdata.build_shards("synthetic:cells=4000,genes=300,mean_genes=60,seed=3", out, block_size=20, shard_size=1 << 16)
    assert len(ShardSet(out).shards("train")) >= 3
    return out


@pytest.fixture
def copy(many_shards, tmp_path):
    return shutil.copytree(many_shards, tmp_path / "set")


def ids(batches):
    return [batch["cell_id"].tolist() for batch in batches]


def vanish(path, whole):
    path.unlink()


def shrink(path, whole):
    os.truncate(path, 3 * 512)


def flip(path, whole):
    with path.open("r+b") as file:
        for at in range(600, len(whole), 1000):
            file.seek(at)
            file.write(bytes([whole[at] ^ 4]))


@pytest.mark.parametrize("n_workers", [0, 1])
@pytest.mark.parametrize("num_threads", [0, 2])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (vanish, "the shard is missing: restore it"),
        (shrink, r"the shard has 1536 bytes, the manifest says \d+|ends at byte 1536, a block needs"),
        (flip, r"block train-\d{6}-\d{6}\.arrow differs from what was written"),
    ],
)
def test_a_shard_that_changes_in_mid_epoch(copy, fault, said, num_threads, n_workers):
    whole = ids(ShardDataset(copy, shuffle=False, **FEW))
    dataset = ShardDataset(copy, num_threads=num_threads, shuffle=False, **FEW)
    options = {"multiprocessing_context": "fork"} if n_workers else {}
    batches = iter(DataLoader(dataset, batch_size=None, num_workers=n_workers, **options))
    done = [next(batches) for _ in range(3)]
    shards = {path: path.read_bytes() for path in (copy / "shards").rglob("*.tar")}
    for path, data in shards.items():
        fault(path, data)
    with pytest.raises(CorruptShardError, match=said):  # noqa: PT012  (whatever was read ahead comes first)
        for batch in batches:
            done.append(batch)
    assert ids(done) == whole[: len(done)]
    assert len(done) < len(whole)
    for path, data in shards.items():
        path.write_bytes(data)
    again = ShardDataset(copy, num_threads=num_threads, shuffle=False, **FEW)
    again.load_state_dict(done[-1]["state"])
    assert ids(again) == whole[len(done) :]


# In a process of its own: torch raises this error in the main thread whenever another worker ends, too
KILLED = """
import os, signal, sys
from torch.utils.data import DataLoader
from scdata import ShardDataset

if __name__ == "__main__":
    path, context = sys.argv[1:]
    options = {"batch_size": 8, "lanes": 2, "window": 32}
    whole = [b["cell_id"].tolist() for b in ShardDataset(path, **options)]
    ds = ShardDataset(path, **options)
    batches = iter(DataLoader(ds, batch_size=None, num_workers=2, multiprocessing_context=context, prefetch_factor=1))
    done = [next(batches) for _ in range(5)]
    try:
        os.kill(batches._workers[1].pid, signal.SIGKILL)
        for batch in batches:
            done.append(batch)
    except (RuntimeError, ConnectionError, EOFError) as error:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # or what it had queued cannot be fetched from it any more
        assert "DataLoader worker (pid" in str(error) or not isinstance(error, RuntimeError), error
    else:
        sys.exit("a dead worker was not noticed")
    assert [b["cell_id"].tolist() for b in done] == whole[: len(done)]
    again = ShardDataset(path, **options)
    again.load_state_dict(done[-1]["state"])
    assert [b["cell_id"].tolist() for b in again] == whole[len(done) :]
    print(len(done), len(whole), flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_killed_worker_is_said_and_the_rest_is_the_rest(many_shards, tmp_path, context):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = [sys.executable, str(script), str(many_shards), context]
    found = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr
    done, whole = map(int, found.stdout.split())
    assert 5 <= done < whole


def test_fork_while_threads_read(many_shards):
    """Forked workers have none of the threads of their parent, whose locks may have been held."""
    dataset = ShardDataset(many_shards, num_threads=2, **FEW)
    whole = ids(dataset)
    for _ in range(3):
        own = iter(dataset)
        next(own)
        assert threading.active_count() > 1
        loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
        assert ids(loader) == whole
        assert ids(own) == whole[1:]


@pytest.mark.parametrize("context", ["fork", "forkserver"])
def test_persistent_workers_and_a_consumer_that_keeps_everything(many_shards, context):
    dataset = ShardDataset(many_shards, batch_size=64, num_threads=1, output="packed")
    loader = DataLoader(
        dataset, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context=context
    )
    kept, plain = [], []
    fresh = ShardDataset(many_shards, batch_size=64, num_threads=0, output="packed")
    for epoch in range(3):
        for own, source, into in ((dataset, loader, kept), (fresh, fresh, plain)):
            own.set_epoch(epoch)
            into += list(source)
    assert len(kept) == len(plain) > 20
    for a, b in zip(kept, plain, strict=True):
        for key in ("cell_id", "token_ids", "values", "cu_seqlens"):
            assert torch.equal(a[key], b[key])


def test_more_ranks_than_blocks(counts_set):
    n_blocks = len(ShardSet(counts_set).blocks("val").shard)
    world_size = n_blocks + 5
    found = []
    for rank in range(world_size):
        dataset = ShardDataset(
            counts_set, split="val", batch_size=2, rank=rank, world_size=world_size, drop_last=False, num_threads=0
        )
        found += [i for own in ids(dataset) for i in own]
    assert len(found) == len(set(found)) == dataset.n_cells


@pytest.mark.parametrize("output", ["padded", "packed", "dense"])
@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_batch_larger_than_the_set(counts_set, output, num_threads):
    options = {"split": "val", "batch_size": 10_000, "output": output, "num_threads": num_threads}
    (batch,) = ShardDataset(counts_set, **options)
    assert len(set(batch["cell_id"].tolist())) == len(batch["cell_id"]) == ShardDataset(counts_set, **options).n_cells
    with pytest.warns(UserWarning, match="no batch on rank 0"):
        assert list(ShardDataset(counts_set, drop_last=True, **options)) == []


def test_a_link_to_a_shard_is_followed_but_what_it_leads_to_is_checked(copy, tmp_path):
    """The cache of the Hugging Face Hub is made of links."""
    whole = ids(ShardDataset(copy, **FEW))
    secret = tmp_path / "secret"
    for number, path in enumerate(sorted(copy.rglob("*.tar"))):
        moved = tmp_path / f"blob-{number}"
        path.rename(moved)
        path.symlink_to(moved)
    assert ids(ShardDataset(copy, **FEW)) == whole
    secret.write_bytes(b"password " * 100_000)
    os.truncate(secret, path.stat().st_size)
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(CorruptShardError, match="differs from what was written") as caught:
        ids(ShardDataset(copy, **FEW))
    assert "password" not in str(caught.value)


RANKS = """
import sys, torch.distributed as dist
from torch.utils.data import DataLoader
from scdata import ShardDataset

if __name__ == "__main__":
    path, context = sys.argv[1:]
    dist.init_process_group("gloo")
    ds = ShardDataset(path, batch_size=8, drop_last=False)
    loader = DataLoader(ds, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context=context)
    orders = []
    for epoch in range(2):
        ds.set_epoch(epoch)
        parts = [None] * dist.get_world_size()
        dist.all_gather_object(parts, [i for b in loader for i in b["cell_id"].tolist()])
        ids = [i for part in parts for i in part]
        assert len(ids) == len(set(ids)) == ds.n_cells, (epoch, len(ids), ds.n_cells)
        orders.append(ids)
    assert orders[0] != orders[1]
    dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("n_ranks", [2, 3])
def test_torchrun_with_workers_of_every_kind(counts_set, tmp_path, context, n_ranks):
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_ranks}", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*run, str(counts_set), context], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
