"""kill -9 of ranks in mid-epoch, then the rest on one to four ranks."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from scdata import ShardDataset

# Every rank appends the cells of each batch that it used; rank 0 saves the state once all have done so.
TRAINER = """
import json, os, sys, time
import torch.distributed as dist
from torch.utils.data import DataLoader
from scdata import ShardDataset

if __name__ == "__main__":
    path, out, batch_size, n_workers, pause = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    with open(f"{out}/pid-{rank}", "w") as file:
        file.write(str(os.getpid()))
    ds = ShardDataset(path, batch_size=batch_size, seed=4, drop_last=False)
    if len(sys.argv) > 6:
        ds.load_state_dict(json.load(open(sys.argv[6])))
    loader = DataLoader(ds, batch_size=None, num_workers=n_workers, multiprocessing_context="fork" if n_workers else None)
    batches = iter(loader)
    while True:
        batch = next(batches, None)
        ids = [] if batch is None else batch["cell_id"].tolist()
        with open(f"{out}/ids-{rank}", "a") as file:
            file.write(json.dumps(ids) + "\\n")
        everyone = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, len(ids))
        if not any(everyone):
            break
        if rank == 0 and batch is not None:
            with open(f"{out}/state.tmp", "w") as file:
                json.dump(batch["state"], file)
            os.replace(f"{out}/state.tmp", f"{out}/state")
        time.sleep(pause / 1000)
    dist.destroy_process_group()
"""


def command(folder, n_ranks, path, out, *arguments):
    out.mkdir()
    script = folder / "trainer.py"
    script.write_text(TRAINER)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_ranks}", str(script)]
    return [*run, str(path), str(out), *map(str, arguments)]


def ids_of(out, n_ranks, n_batches=None):
    """The cells that each rank used, in its first batches."""
    lines = [(out / f"ids-{rank}").read_text().splitlines()[:n_batches] for rank in range(n_ranks)]
    return [cell for own in lines for line in own for cell in json.loads(line)]


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [0, 1])
def test_kill_two_ranks_and_resume_on_one_to_four(counts_set, tmp_path, n_workers):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    first = tmp_path / "first"
    run = command(tmp_path, 2, counts_set, first, 6, n_workers, 50)
    with (tmp_path / "log").open("w") as log:
        torchrun = subprocess.Popen(run, env=environment, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 120
        while not (first / "state").is_file() or json.loads((first / "state").read_text())["position"] < 60:
            assert torchrun.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end, "no batch within two minutes"
            time.sleep(0.02)
        # one rank first, as by the kernel when memory is short, then whatever torchrun has not yet ended
        os.kill(int((first / "pid-1").read_text()), signal.SIGKILL)
        os.killpg(torchrun.pid, signal.SIGKILL)
        torchrun.wait()
    state = json.loads((first / "state").read_text())
    done = ids_of(first, 2, state["position"] // 12)
    dataset = ShardDataset(counts_set, batch_size=12, seed=4)
    order = list(itertools.chain(*[batch["cell_id"].tolist() for batch in dataset]))
    assert 60 <= state["position"] < len(order)
    assert sorted(done) == sorted(order[: state["position"]])
    for n_ranks in (1, 2, 3, 4):
        out = tmp_path / f"rest-{n_ranks}"
        run = command(tmp_path, n_ranks, counts_set, out, 12 // n_ranks, n_workers, 0, first / "state")
        again = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=120)
        assert again.returncode == 0, again.stderr
        assert sorted(ids_of(out, n_ranks)) == sorted(order[state["position"] :])
