"""How losses fall with parameters and with cells: masked gene modelling at several sizes on nested samples of a set.

    python recipes/scaling/run.py --set pbmc.set --out scaling0

Each run is `masked_gene_modelling/train.py` in a process of its own; runs that are done are kept, so the same command goes on.
"""

import argparse
import dataclasses
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import torch  # noqa: E402
from common.config import load_config  # noqa: E402
from common.data import own_preset  # noqa: E402
from common.report import duration  # noqa: E402
from law import Law, bits, fit_law, scale_of  # noqa: E402
from picture import draw  # noqa: E402

import scdata  # noqa: E402

RECIPE = HERE.parent / "masked_gene_modelling"
# What Kendiukhov's richer regime has: genes, cells, and the parameters of its largest model (arXiv 2602.15253)
PAPER = {"genes": 512, "cells": 200_000, "params": 340_000_000}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The keys of config.toml, which says what they mean."""

    preset: str
    fractions: tuple
    seeds: tuple
    training: dict
    sizes: dict

    def __post_init__(self) -> None:
        if not self.fractions or not all(0 < share <= 1 for share in self.fractions):
            raise ValueError(f"fractions = {list(self.fractions)}: numbers above 0, up to 1")
        if not self.seeds or not self.sizes:
            raise ValueError("seeds and sizes: at least one of each")


def write_config(config: Config, path: Path) -> None:
    """The recipe's config with the keys and sizes of the study."""
    import tomllib

    table = tomllib.loads((RECIPE / "config.toml").read_text(encoding="utf-8"))
    table |= {**config.training, "preset": own_preset(config.preset, HERE), "size": next(iter(config.sizes))}
    del table["sizes"]
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    for name, shape in config.sizes.items():
        lines += [f"[sizes.{name}]", *(f"{key} = {value}" for key, value in shape.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def one_run(path: str, settings: Path, out: Path, size: str, cells: int, seed: int) -> dict[str, Any]:
    """Train, or take what an earlier sitting left; the best of the evaluations, and the parameters that training touched.

    Rows of genes that no cell has are no part of the model: parameters count that ever had a gradient.
    """
    done = out / "point.json"
    if not done.is_file():
        resume = ["--resume"] if list(out.glob("checkpoint-*.pt")) else []
        flags = ["--set", path, "--config", settings, "--out", out, "--size", size, "--cells", cells, "--seed", seed]
        command = [sys.executable, RECIPE / "train.py", *flags, "--json", *resume]
        ended = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        if ended.returncode:
            raise ValueError(f"{size} on {cells} cells: {ended.stderr.strip()[-500:]}")
        last = json.loads(ended.stdout.splitlines()[-1])
        log = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        best = min(line["val_loss"] for line in log if "val_loss" in line)
        saved = torch.load(max(out.glob("checkpoint-*.pt")), map_location="cpu", weights_only=True)
        touched = sum(int((own["exp_avg_sq"] != 0).sum()) for own in saved["optimizer"]["state"].values())
        point = {"size": size, "cells": cells, "seed": seed, "n_params": touched, "loss": best}
        point |= {key: last[key] for key in ("baselines", "unit", "preset", "seconds")}
        done.write_text(json.dumps(point), encoding="utf-8")
        for checkpoint in out.glob("checkpoint-*.pt"):
            checkpoint.unlink()
    result: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
    return result


def over_seeds(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds, in bits, with the standard deviation over seeds where there are several."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for point in points:
        groups.setdefault((point["size"], point["cells"]), []).append(point)
    found = []
    for (size, cells), own in groups.items():
        values = [bits(point["loss"], point["unit"]) for point in own]
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else None
        n_params = max(point["n_params"] for point in own)
        trivial = {name: bits(loss, own[0]["unit"]) for name, loss in own[0]["baselines"].items()}
        table = {"size": size, "cells": cells, "n_params": n_params, "bits": mean, "sd": spread, "baselines": trivial}
        found.append(table)
    return found


def laws_of(points: Sequence[Mapping[str, Any]]) -> dict[str, dict[Any, Law | None]]:
    """``"params"``: for each number of cells, over parameters; ``"cells"``: for each size, over cells."""
    found: dict[str, dict[Any, Law | None]] = {"params": {}, "cells": {}}
    for cells in sorted({point["cells"] for point in points}):
        own = [p for p in points if p["cells"] == cells]
        found["params"][cells] = fit_law([p["n_params"] for p in own], [p["bits"] for p in own])
    for size in dict.fromkeys(point["size"] for point in points):
        own = [p for p in points if p["size"] == size]
        found["cells"][size] = fit_law([p["cells"] for p in own], [p["bits"] for p in own])
    return found


def what_binds(points: Sequence[Mapping[str, Any]]) -> str:
    """Whether the largest model on all cells would gain more from parameters or from cells, by its last steps in each."""
    most = max(point["cells"] for point in points)
    at_most = sorted((p for p in points if p["cells"] == most), key=lambda p: p["n_params"])
    best = min(at_most, key=lambda p: p["bits"])
    of_best = sorted((p for p in points if p["size"] == best["size"]), key=lambda p: p["cells"])

    def gain(own: list[Mapping[str, Any]], x: str) -> float:
        """Bits gained by the last doubling."""
        if len(own) < 2:
            return 0.0
        return (own[-2]["bits"] - own[-1]["bits"]) / math.log2(own[-1][x] / own[-2][x])

    by_params, by_cells = gain(at_most, "n_params"), gain(of_best, "cells")
    told = (
        f"On all {most:,} cells the last doubling of parameters gained {by_params:+.4f} bits; for {best['size']}, the best "
        f"there, the last doubling of cells gained {by_cells:+.4f}."
    )
    noise = max((point["sd"] or 0.0) for point in points)
    if max(by_params, by_cells) <= noise:
        return f"{told} Neither is above the spread over seeds ({noise:.4f}): steps or the objective bind."
    return f"{told} {'Cells' if by_cells > by_params else 'Parameters'} bind."


def table_of(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Bits of each run, and of what needs no model on the same cells."""
    lines = [f"  {'size':<10}{'parameters':>12}{'cells':>10}{'bits':>10}   best without a model"]
    for p in sorted(points, key=lambda p: (p["cells"], p["n_params"])):
        name, value = min(p["baselines"].items(), key=lambda item: item[1])
        told = f"{value:.4f} ({name.replace('_', ' ')}), " + ("beaten" if p["bits"] < value else "not beaten")
        lines.append(f"  {p['size']:<10}{p['n_params']:>12,}{p['cells']:>10,}{p['bits']:>10.4f}   {told}")
    return lines


def what_the_paper_takes(seconds: float) -> str:
    """Time of an epoch of the paper's largest run, by 6 · parameters · tokens operations."""
    operations = 6 * PAPER["params"] * PAPER["cells"] * PAPER["genes"]
    return (
        f"These runs trained for {duration(seconds)}. An epoch of the paper's largest model ({PAPER['params']:,} parameters, "
        f"{PAPER['cells']:,} cells of {PAPER['genes']} genes) is {operations:.1e} operations, 6 · parameters · tokens: "
        f"{duration(operations / 4e14)} of a GPU that does 4·10¹⁴ a second, {operations / 5e10 / 86400:.0f} days of a CPU core "
        "that does 5·10¹⁰. Its cells come from `scdata build census:stable/homo_sapiens --limit 200000`."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--set", required=True, help="folder of a set of counts with the splits train and val, fitted by scdata fit"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for runs, points.json and scaling.png")
    parser.add_argument("--config", type=Path, default=HERE / "config.toml", help="default: %(default)s")
    parser.add_argument("--preset", help="tokens to learn from; default: the config's")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on one thread; default: 2")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object on the last line")
    args = parser.parse_args()
    try:
        config = load_config(Config, args.config, preset=args.preset)
        args.out.mkdir(parents=True, exist_ok=True)
        n_cells = scdata.ShardDataset(args.set).n_cells
        settings = args.out / "training.toml"
        write_config(config, settings)
        jobs = [
            (size, max(1, round(share * n_cells)), seed)
            for share in config.fractions
            for size in config.sizes
            for seed in config.seeds
        ]
        begin, points = time.monotonic(), []

        def work(job: tuple[str, int, int]) -> dict[str, Any]:
            return one_run(args.set, settings, args.out / "runs" / "-".join(map(str, job)), *job)

        # the longest first, so that none is left alone at the end
        with ThreadPoolExecutor(args.jobs) as pool:
            for point in pool.map(work, reversed(jobs)):
                points.append(point)
                left = (time.monotonic() - begin) / len(points) * (len(jobs) - len(points))
                print(
                    f"  {len(points)} of {len(jobs)}: {point['size']} on {point['cells']:,} cells, {point['loss']:.4f} "
                    f"{point['unit']}, about {duration(left)} to go",
                    file=sys.stderr,
                    flush=True,
                )
    except (scdata.ScdataError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    unit, means = points[0]["unit"], over_seeds(points)
    laws, verdict = laws_of(means), what_binds(means)
    result = {"unit": scale_of(unit), "points": means, "binds": verdict}
    result["laws"] = {x: {str(k): law and law._asdict() for k, law in own.items()} for x, own in laws.items()}
    (args.out / "points.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(f"{scale_of(unit)}, the best evaluation of each run, tokens by {points[0]['preset']}:")
    print("\n".join(table_of(means)))
    for x, what in (("params", "cells, over parameters"), ("cells", "over cells")):
        for name, law in laws[x].items():
            fitted = (
                "no falling law" if law is None else f"{law.a:.3g} · x^−{law.alpha:.3f} + {law.c:.3f}   R² {law.r2:.3f}"
            )
            print(f"  {name} {what}: {fitted}")
    print(verdict)
    print(what_the_paper_takes(sum(point["seconds"] for point in points)))
    try:
        draw(means, laws, unit, args.out / "scaling.png")
        print(f"The plot: {args.out / 'scaling.png'}")
    except ImportError:
        print("note: no plot without matplotlib: pip install 'scdata-engine[plot]'", file=sys.stderr)
    if args.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
