"""One process or several: the same sums on all of them.

`torchrun` starts several and says so in the environment; without it there is one, and nothing here communicates.
"""

import os
import warnings
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def start(device: str) -> torch.device:
    """Join the other processes, if there are any; the device of this one."""
    here = torch.device(device, int(os.environ.get("LOCAL_RANK", 0))) if device == "cuda" else torch.device(device)
    if here.type == "cuda":
        torch.cuda.set_device(here)
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if here.type == "cuda" else "gloo")
    return here


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def wait() -> None:
    """Until all processes are here."""
    if dist.is_initialized():
        dist.barrier()


def summed(part: Tensor) -> Tensor:
    """The sum of a tensor over all processes."""
    if dist.is_initialized():
        part = part.detach().clone()
        dist.all_reduce(part)
    return part


def totals(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sums (scalars) over all processes, in one message."""
    if not parts:
        return {}
    table = summed(torch.stack([part.detach().double() for part in parts.values()]))
    return dict(zip(parts, table.unbind(), strict=True))


def anywhere(flag: bool, device: torch.device) -> bool:
    """True if the flag is up in any process."""
    return bool(totals({"flag": torch.tensor(float(flag), device=device)})["flag"] > 0)


def wrapped(model: nn.Module) -> nn.Module:
    """The model, gradients averaged over processes where there are several."""
    if not dist.is_initialized():
        return model
    with warnings.catch_warnings():
        # torch 2.13 has a new name for it, older ones do not know that
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
        return DistributedDataParallel(model, broadcast_buffers=False)
