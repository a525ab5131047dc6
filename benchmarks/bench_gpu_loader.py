"""The loader on a CUDA device beside the loader on the CPU, and what a training step waits for its data.

    python benchmarks/bench_gpu_loader.py [SET] [--seconds 3] [--threads 1 2 4] --out benchmarks/results/bench_gpu_loader.json

SET: a set of counts that was fitted (`scdata fit`), for machines that cannot build one; without it one of 40,000 synthetic
cells with 1,800 of 20,000 genes is built. Loaders, alternating: ``device``, that of `ShardDataset(device="cuda")`; ``moved``,
that of the CPU in a DataLoader that pins tensors, copied to the device when they come. The first batches of both are compared.
Data wait: the part of a step's time that it does not take with batches that lie on the device already. Without a device it says
so and ends with status 1.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import bench_gpu  # noqa: E402

import scdata  # noqa: E402
from scdata._backend import device_count  # noqa: E402
from scdata.objectives import MaskedGenes, MaskedValues, NextGene  # noqa: E402
from scdata.source import SyntheticSource  # noqa: E402

GOAL_WAIT = 0.02  # of a step
CASES: dict[str, dict[str, Any]] = {
    "counts, packed": {"output": "packed"},
    "counts, padded to 2,048": {"context_length": 2048, "pad_to": "context"},
    "counts, dense": {"output": "dense"},
    "scGPT bins, padded": {"tokenizer": "scgpt+fit"},
    "scGPT bins, masked": {"tokenizer": "scgpt+fit", "objective": MaskedValues(rate=0.4)},
    "Geneformer ranks, masked": {"tokenizer": "geneformer-v2+fit", "objective": MaskedGenes()},
    "scFoundation thinned, dense": {"tokenizer": "scfoundation+fit", "output": "dense"},
    "TranscriptFormer, next gene": {"tokenizer": "transcriptformer+fit", "objective": NextGene()},
    "Lingshu-Cell levels, dense": {"tokenizer": "lingshu-cell+fit", "output": "dense"},
}
TRAINED = "scGPT bins, masked"
BATCH = 256


def endless(path: Path, way: str, device: str, **options: Any) -> Iterator[dict[str, Any]]:
    """Batches on the device, epoch after epoch."""
    dataset = scdata.ShardDataset(path, device=device if way == "device" else "cpu", **options)
    pinned = DataLoader(dataset, batch_size=None, pin_memory=way == "moved" and device != "cpu")
    for epoch in range(1 << 30):
        dataset.set_epoch(epoch)
        for batch in pinned:
            tensors = {key: v for key, v in batch.items() if isinstance(v, torch.Tensor)}
            yield tensors if way == "device" else {key: v.to(device, non_blocking=True) for key, v in tensors.items()}


def cells_a_second(batches: Iterator[dict[str, Any]], wait: Callable[[], Any], seconds: float) -> float:
    """Cells that come in a second, after a warm-up of half the time."""
    for part in (seconds / 2, seconds):
        cells, begin = 0, time.perf_counter()
        while cells == 0 or time.perf_counter() - begin < part:
            cells += len(next(batches)["cell_id"])
        wait()
        rate = cells / (time.perf_counter() - begin)
    return rate


def equal(path: Path, device: str, options: dict[str, Any]) -> bool:
    """True if the first batches are those of the CPU (numbers with a logarithm: to the last bit of float32 or so)."""
    loaders = [iter(scdata.ShardDataset(path, device=own, **options)) for own in (device, "cpu")]
    for _ in range(2):
        found, expected = (next(loader) for loader in loaders)
        for key, value in expected.items():
            if isinstance(value, torch.Tensor):
                close = torch.allclose if value.is_floating_point() else torch.equal
                if not close(found[key].cpu(), value):
                    return False
    return True


def loaders(
    path: Path, device: str, wait: Callable[[], Any], seconds: float, threads: list[int], rounds: int = 3
) -> dict[str, Any]:
    """Cells and tokens a second of both loaders: medians of rounds in turn."""
    table: dict[str, Any] = {}
    for name, own in CASES.items():
        options = {"batch_size": BATCH, **own}
        packed = {key: v for key, v in options.items() if key not in ("output", "pad_to", "objective")}
        first = next(iter(scdata.ShardDataset(path, **packed, output="packed", num_threads=0)))
        tokens = len(first["token_ids"]) / len(first["cell_id"])
        table[name] = {"tokens_a_cell": round(tokens), "equal": equal(path, device, options)}
        for n in threads:
            rates: dict[str, list[float]] = {"device": [], "moved": []}
            for _ in range(rounds):
                for way, found in rates.items():
                    batches = endless(path, way, device, **options, num_threads=n)
                    found.append(cells_a_second(batches, wait, seconds))
            medians = {way: statistics.median(found) for way, found in rates.items()}
            table[name][f"{n} threads"] = {
                **{f"{way}_cells_s": round(rate) for way, rate in medians.items()},
                "device_tokens_s": round(medians["device"] * tokens),
                "times": round(medians["device"] / medians["moved"], 2),
            }
        print(f"{name:28} {table[name]}", file=sys.stderr, flush=True)
    return table


class Encoder(nn.Module):
    """Predicts values that are masked: ids and values in, a number a token out."""

    def __init__(self, n_tokens: int, width: int, layers: int) -> None:
        super().__init__()
        self.ids, self.values, self.head = nn.Embedding(n_tokens, width), nn.Linear(1, width), nn.Linear(width, 1)
        layer = nn.TransformerEncoderLayer(
            width, max(1, width // 64), 4 * width, 0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        x = self.ids(batch["token_ids"]) + self.values(batch["masked_values"].float()[..., None])
        found = self.head(self.encoder(x, src_key_padding_mask=~batch["attention_mask"]))[..., 0].float()
        return ((found - batch["values"]) ** 2 * batch["masked"]).sum() / batch["masked"].sum().clamp(min=1)


def training(
    path: Path,
    device: str,
    wait: Callable[[], Any],
    steps: int = 60,
    batch_size: int = 64,
    width: int = 256,
    layers: int = 4,
) -> dict[str, Any]:
    """Milliseconds of a step with batches that are there already, and with those of each loader; the share that it waits."""
    options = {**CASES[TRAINED], "batch_size": batch_size, "pad_to": "context", "num_threads": 2}
    vocab = scdata.ShardDataset(path, tokenizer=options["tokenizer"]).vocab
    model = Encoder(vocab.n_tokens, width, layers).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def step(batch: dict[str, Any]) -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            loss = model(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    kept = [batch for batch, _ in zip(endless(path, "moved", device, **options), range(8), strict=False)]
    sources: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "kept": lambda: (kept[i % len(kept)] for i in range(1 << 30)),
        **{way: lambda w=way: endless(path, w, device, **options) for way in ("device", "moved")},
    }
    times: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(3):
        for name, source in sources.items():
            batches = source()
            for _ in range(max(1, steps // 6)):
                step(next(batches))
            wait()
            begin = time.perf_counter()
            for _ in range(steps):
                step(next(batches))
            wait()
            times[name].append((time.perf_counter() - begin) / steps)
    seconds = {name: statistics.median(own) for name, own in times.items()}
    waits = {f"{way}_wait": round(1 - seconds["kept"] / seconds[way], 4) for way in ("device", "moved")}
    return {
        "model": f"{layers} layers of {width}, context {CASES[TRAINED]['tokenizer']}, batch {batch_size}, bfloat16",
        **{f"{name}_ms": round(own * 1e3, 3) for name, own in seconds.items()},
        **waits,
        "goal_wait": GOAL_WAIT,
        "goal_met": waits["device_wait"] < GOAL_WAIT,
    }


def synthetic(folder: Path) -> Path:
    """A set to measure."""
    scdata.build_shards(SyntheticSource(40_000, n_genes=20_000, mean_genes=1_839).uri, folder / "set")
    scdata.fit_set(folder / "set")
    return folder / "set"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", nargs="?", help="folder of a fitted set of counts")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each loader and round (%(default)s)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4], help="num_threads (%(default)s)")
    parser.add_argument("--out", help="where the result is written as JSON")
    given = parser.parse_args(arguments)
    if not device_count() or not torch.cuda.is_available():
        print("bench_gpu_loader: no CUDA device that CuPy and torch can use: nothing was run", file=sys.stderr)
        return 1
    import cupy

    wait = torch.cuda.synchronize
    with tempfile.TemporaryDirectory() as folder:
        path = synthetic(Path(folder)) if given.set is None else Path(given.set)
        result = {
            "benchmark": "bench_gpu_loader",
            "machine": {**bench_gpu.machine(cupy), "torch": torch.__version__},
            "training": training(path, "cuda", wait),
            "loaders": loaders(path, "cuda", wait, given.seconds, given.threads),
        }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    print(text)
    if given.out is not None:
        Path(given.out).parent.mkdir(parents=True, exist_ok=True)
        Path(given.out).write_text(text + "\n")
    return 0 if all(case["equal"] for case in result["loaders"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
