"""The command line of all recipes, and the way of a run from its start to its result."""

import argparse
import dataclasses
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA is deterministic only with it

from scdata import ScdataError

from . import parallel
from .config import TrainingConfig, load_config
from .data import own_preset
from .plot import plot_curve
from .recipe import Recipe
from .report import Report, comparison, duration, figure
from .run import Run


def parse(doc: str, folder: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=doc.split("\n", 1)[0])
    parser.add_argument("--set", required=True, help="folder or address of a set with the splits train and val")
    parser.add_argument("--out", required=True, help="folder for checkpoints, log.jsonl and curve.png")
    parser.add_argument("--config", type=Path, default=folder / "config.toml", help="default: %(default)s")
    parser.add_argument("--preset", help="tokens to learn from; default: the set's own, or the config's")
    parser.add_argument(
        "--cells", type=int, help="train on so many cells, a fair sample, part of every larger one; default: all"
    )
    parser.add_argument("--size", help="a table of sizes in the config; default: the config's choice")
    parser.add_argument(
        "--max-steps", type=int, help="steps, over which the learning rate falls; default: the config's"
    )
    parser.add_argument(
        "--max-minutes", type=float, default=math.inf, help="stop this sitting's training after so long"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="order of cells, hidden genes and first weights; default: 0"
    )
    parser.add_argument("--overfit", action="store_true", help="learn one batch by heart: a check of model and loss")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out")
    parser.add_argument("--json", action="store_true", help="JSON lines only; the last one is the result")
    return parser.parse_args()


def main(doc: str, folder: Path, config: type[TrainingConfig], styles: list[type[Recipe]]) -> None:
    """Train as the command line says; what `train.py` ends with."""
    args = parse(doc, folder)
    report = Report(args.json)
    try:
        overrides = {"size": args.size, "steps": args.max_steps, "preset": args.preset}
        chosen = load_config(config, args.config, **overrides)
        chosen = dataclasses.replace(chosen, preset=own_preset(chosen.preset, folder))
        run = Run(args, chosen, styles, folder.name)
        report.silent = parallel.rank() > 0
        _introduce(run, report, args.set)
        _train(run, report, args.max_minutes)
        _conclude(run, report)
    except (ScdataError, ValueError, OSError) as error:
        sys.exit(f"error: {error}" if parallel.rank() == 0 else 1)
    except KeyboardInterrupt:
        sys.exit("stopped; add --resume to go on from the newest checkpoint")
    finally:
        parallel.stop()


def _introduce(run: Run, report: Report, path: str) -> None:
    config, processes = run.config, f", in {run.n_ranks} processes" if run.n_ranks > 1 else ""
    report.say(
        f"Data: {path}, {run.data.n_cells:,} cells to train on, {run.val.n_cells:,} to judge by; tokens by {run.preset}.\n"
        f"Task: {run.recipe.introduce(run.data)}\n"
        f"Model: {config.size}, {run.n_params:,} parameters, on {run.device.type} with {config.threads} thread(s){processes}."
    )
    trivial = ", ".join(f"{name.replace('_', ' ')} {figure(loss)}" for name, loss in run.judged.baselines.items())
    report.say(f"Without a model, loss in {run.recipe.unit}: {trivial}.")
    report.say(f"Going on after step {run.step:,}." if run.step else f"Training for {config.steps:,} steps.")
    report.event({"step": run.step, "n_params": run.n_params, "baselines": run.judged.baselines})


def _train(run: Run, report: Report, max_minutes: float) -> None:
    """Train to the last step of the config, or until the time is over."""
    config, first, begin, before = run.config, run.step, time.monotonic(), run.seconds
    recent: list[float] = []
    while run.step < config.steps and not parallel.anywhere(time.monotonic() - begin >= 60 * max_minutes, run.device):
        line = run.train_step()
        report.event(line)
        recent.append(line["loss"])
        spent = time.monotonic() - begin
        run.seconds = before + spent
        if run.step % config.eval_every == 0 or run.step == config.steps:
            run.evaluate()
            report.event({"step": run.step, "val_loss": run.judged.model, "baselines": run.judged.baselines})
            left = min(spent / (run.step - first) * (config.steps - run.step), 60 * max_minutes - spent)
            report.say(
                f"  step {run.step:>6,} of {config.steps:,}   training {figure(sum(recent) / len(recent)):>9}   validation "
                f"{figure(run.judged.model):>9}   {duration(spent)}, about {duration(max(0.0, left))} to go"
            )
            recent.clear()
        if run.step % config.checkpoint_every == 0:
            run.save()
    if recent:
        run.evaluate()
    if run.step > first:
        run.save()


def _conclude(run: Run, report: Report) -> None:
    share = run.waited / max(run.trained, 1e-9)
    of = "of the batch that was learned by heart" if run.overfits else "on the val split"
    report.say(f"\nAfter {run.step:,} steps, loss {of}, in {run.recipe.unit}:")
    report.say("\n".join(comparison(run.judged.model, run.judged.baselines)))
    for term, baselines in run.judged.others.items():
        report.say(f"\nAnd the loss of {term}:\n" + "\n".join(comparison(run.judged.terms[term], baselines)))
    if run.log is not None:
        try:
            plot_curve(run.log.read(), run.recipe.unit, f"{run.recipe.title}, {run.config.size}", run.out / "curve.png")
            report.say(
                f"The curve: {run.out / 'curve.png'}. Waiting for the loader took {share:.1%} of the training time."
            )
        except ImportError:
            report.warn("no curve without matplotlib: pip install 'scdata-engine[plot]'")
    table: dict[str, Any] = {"recipe": run.name, "preset": run.preset, "n_params": run.n_params, "steps": run.step}
    table |= {"val_loss": run.judged.model, "baselines": run.judged.baselines, "unit": run.recipe.unit}
    report.event({**table, "seconds": round(run.seconds, 3), "loader_share": round(share, 4)})
