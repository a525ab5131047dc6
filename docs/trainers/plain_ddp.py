"""Plain PyTorch, on any number of processes: `DistributedDataParallel`, and a checkpoint that goes on in mid-epoch.

    torchrun --nproc-per-node 2 docs/trainers/plain_ddp.py SET CHECKPOINT --steps 20

Run it again with more steps, on as many processes or others: it goes on with the cells that were not used yet.
"""

import argparse
from pathlib import Path

import torch
import torch.distributed as dist
from tiny_model import TinyModel
from torch.nn.parallel import DistributedDataParallel

import scdata
from scdata.objectives import MaskedValues


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--steps", type=int, default=20, help="of all runs together")
    parser.add_argument("--global-batch", type=int, default=64, help="cells of a step, over all processes")
    arguments = parser.parse_args()

    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    # rank and world size are those of torch.distributed; every rank gets its part of each global batch
    dataset = scdata.ShardDataset(
        arguments.set, batch_size=arguments.global_batch // world_size, tokenizer="scgpt+fit", objective=MaskedValues()
    )
    model = DistributedDataParallel(TinyModel(dataset.vocab.n_tokens))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    step, epoch = 0, 0
    if arguments.checkpoint.exists():
        saved = torch.load(arguments.checkpoint, weights_only=True)
        model.module.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, epoch = saved["step"], saved["data"]["epoch"]
        dataset.load_state_dict(saved["data"])

    state = dataset.state_dict()
    while step < arguments.steps:
        dataset.set_epoch(epoch)
        for batch in dataset:
            loss = model(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step, state = step + 1, batch["state"]
            dist.all_reduce(loss.detach().div_(world_size))
            if rank == 0:
                print(f"step {step} loss {loss.item():.4f}", flush=True)
            if step == arguments.steps:
                break
        else:
            epoch += 1
            # an epoch that was used up begins anew, as the next one
            state = {**state, "epoch": epoch, "position": 0}
    if rank == 0:
        data = {"model": model.module.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "data": state}
        torch.save(data, arguments.checkpoint)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
