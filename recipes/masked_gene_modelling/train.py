"""Masked gene modelling: hide the values of some genes of a cell and predict them from the rest, as scGPT does.

    python recipes/masked_gene_modelling/train.py --set pbmc.set --out run --max-minutes 5

Shapes in comments: B cells, L tokens of the longest, V token ids.
"""

import argparse
import dataclasses
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA is deterministic only with it

import torch  # noqa: E402
from common.baselines import Means, evaluate, gene_means, trivial_predictors  # noqa: E402
from common.checkpoint import Log, load_checkpoint, refuse_other_run, save_checkpoint  # noqa: E402
from common.config import load_config, nearest  # noqa: E402
from common.data import endless, gene_tokens, open_bins  # noqa: E402
from common.masking import Hidden, asked, hiding  # noqa: E402
from common.model import ValueModel, check_shape  # noqa: E402
from common.plot import plot_curve  # noqa: E402
from common.report import Report, comparison, duration  # noqa: E402

from scdata import ScdataError  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The keys of config.toml, which says what they mean."""

    tokenizer: str
    context_length: int
    mask_fraction: float
    size: str
    batch_size: int
    steps: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    clip_norm: float
    eval_every: int
    eval_batches: int
    checkpoint_every: int
    device: str
    threads: int
    sizes: dict

    def __post_init__(self) -> None:
        if self.size not in self.sizes:
            raise ValueError(f"unknown size {self.size!r}: {nearest(self.size, self.sizes)}")
        check_shape(self.sizes[self.size], f"[sizes.{self.size}]")
        for name in ("batch_size", "steps", "eval_every", "eval_batches", "checkpoint_every", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: expected at least 1")
        if not 0 < self.mask_fraction < 1:
            raise ValueError(f"mask_fraction = {self.mask_fraction}: expected a number between 0 and 1")
        if self.device not in ("cpu", "cuda") or (self.device == "cuda" and not torch.cuda.is_available()):
            raise ValueError(f"device = {self.device!r}: expected 'cpu', or 'cuda' where there is one")

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0: a linear warm-up, then a cosine that is zero after the last step."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        done = max(0, step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Run:
    """A set, a model, and how far training has come; new, or from the newest checkpoint in the folder."""

    def __init__(self, args: argparse.Namespace, config: Config) -> None:
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(config.threads)
        torch.manual_seed(args.seed)
        self.config, self.out, self.device = config, Path(args.out), torch.device(config.device)
        shape = {"batch_size": config.batch_size, "context_length": config.context_length}
        shape["objective"] = hiding(config.mask_fraction)
        self.data = open_bins(args.set, "train", config.tokenizer, seed=args.seed, **shape)
        # judged alike whatever the seed
        self.val = open_bins(args.set, "val", config.tokenizer, shuffle=False, **shape)
        self.preset, self.is_gene = self.data.tokenizer.preset, gene_tokens(self.data)
        manifest = self.data.state_dict()["manifest"]
        self.what = {"set (sha256 of its manifest)": manifest, "seed": args.seed, **dataclasses.asdict(config)}
        self.out.mkdir(parents=True, exist_ok=True)
        self.step, self.loader, self.seconds, self.waited, self.trained = 0, None, 0.0, 0.0, 0.0
        saved: dict[str, Any] = {}
        if args.resume:
            saved = load_checkpoint(self.out, self.what)
            for name in ("step", "loader", "seconds", "waited", "trained", "baselines", "val_loss"):
                setattr(self, name, saved[name])
            self.means = Means(**saved["means"])
        else:
            refuse_other_run(self.out)
            options = {"output": "packed", "shuffle": False, "context_length": self.data.vocab.n_tokens}
            self.means = gene_means(open_bins(args.set, "train", config.tokenizer, **options), self.is_gene)
        self.model = ValueModel(self.means, **config.sizes[config.size]).to(self.device)
        self.n_params = sum(parameter.numel() for parameter in self.model.parameters())
        self.optimizer = torch.optim.AdamW(self.model.parameters(), betas=(0.9, 0.98), weight_decay=config.weight_decay)
        self.log = Log(self.out / "log.jsonl", saved.get("log_bytes", 0))
        if saved:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            torch.set_rng_state(saved["rng"])
        else:
            self.baselines = self.evaluate(**trivial_predictors(self.means))
            self.val_loss = self.baselines.pop("model")
            self.save()
        self.batches = endless(self.data, self.loader)

    def save(self) -> None:
        names = ("step", "loader", "seconds", "waited", "trained", "baselines", "val_loss")
        table = {name: getattr(self, name) for name in names}
        table |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        table |= {"means": self.means._asdict(), "rng": torch.get_rng_state()}
        save_checkpoint(self.out, {"run": self.what, "log_bytes": self.log.position(), **table})

    def evaluate(self, **others: Any) -> dict[str, float]:
        """Error of the model, and of `others`, on the val split, with the same values hidden every time."""

        def tasks() -> Iterator[Hidden]:
            for _, batch in zip(range(self.config.eval_batches), self.val, strict=False):
                yield asked(batch, self.is_gene)

        found = evaluate(tasks(), {"model": lambda task: self.model(task.to(self.device)).cpu(), **others})
        self.val_loss = found["model"]
        self.log.write({"step": self.step, "val_loss": self.val_loss})
        return found

    def train_step(self) -> dict[str, Any]:
        """One batch; returns its line of the log."""
        tick = time.perf_counter()
        batch = next(self.batches)
        self.waited += time.perf_counter() - tick
        task = asked(batch, self.is_gene).to(self.device)
        rate = self.config.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        error = torch.where(task.hidden, self.model(task) - task.truth, 0.0)  # (B, L)
        loss = (error**2).sum() / task.hidden.sum().clamp(min=1)
        self.optimizer.zero_grad()
        (loss / self.means.spread**2).backward()  # so that the rate suits any number of bins
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.step, self.loader = self.step + 1, batch["state"]
        line = {"step": self.step, "loss": loss.item(), "lr": rate}
        if not math.isfinite(line["loss"]):
            raise ValueError(f"the loss of step {self.step} is {line['loss']}: lower learning_rate = {rate:g}")
        self.log.write(line)
        self.trained += time.perf_counter() - tick
        return line


def train(run: Run, report: Report, max_minutes: float) -> None:
    """Train to the last step of the config, or until the time is over."""
    config, first, begin, before = run.config, run.step, time.monotonic(), run.seconds
    recent: list[float] = []
    while run.step < config.steps and (spent := time.monotonic() - begin) < 60 * max_minutes:
        line = run.train_step()
        report.event(line)
        recent.append(line["loss"])
        run.seconds = before + time.monotonic() - begin
        if run.step % config.eval_every == 0 or run.step == config.steps:
            run.evaluate()
            report.event({"step": run.step, "val_loss": run.val_loss})
            left = min(spent / (run.step - first) * (config.steps - run.step), 60 * max_minutes - spent)
            report.say(
                f"  step {run.step:>6,} of {config.steps:,}   training {sum(recent) / len(recent):7.3f}   validation "
                f"{run.val_loss:7.3f}   {duration(spent)}, about {duration(max(0.0, left))} to go"
            )
            recent.clear()
        if run.step % config.checkpoint_every == 0:
            run.save()
    if recent:
        run.evaluate()
    if run.step > first:
        run.save()


def introduce(run: Run, report: Report, path: str) -> None:
    config = run.config
    report.say(
        f"Data: {path}, {run.data.n_cells:,} cells to train on, {run.val.n_cells:,} to judge by; values by "
        f"{run.data.tokenizer.name}, at most {config.context_length} tokens a cell.\n"
        f"Task: hide {config.mask_fraction:.0%} of a cell's genes and predict their bins, 1 to {run.preset.value.n_bins - 1}.\n"
        f"Model: {config.size}, {run.n_params:,} parameters, on {run.device.type} with {config.threads} thread(s). "
        "Untrained, it is the mean of each gene."
    )
    trivial = ", ".join(f"{name.replace('_', ' ')} {loss:.3f}" for name, loss in run.baselines.items())
    report.say(f"Mean squared error of trivial predictors, in bins²: {trivial}.")
    report.say(f"Going on after step {run.step:,}." if run.step else f"Training for {config.steps:,} steps.")
    report.event({"step": run.step, "n_params": run.n_params, "baselines": run.baselines})


def conclude(run: Run, report: Report) -> None:
    share = run.waited / max(run.trained, 1e-9)
    report.say(f"\nAfter {run.step:,} steps, mean squared error on the val split in bins²:")
    report.say("\n".join(comparison(run.val_loss, run.baselines)))
    try:
        plot_curve(
            run.log.read(), run.baselines, "bins²", f"Masked gene modelling, {run.config.size}", run.out / "curve.png"
        )
        report.say(f"The curve: {run.out / 'curve.png'}. Waiting for the loader took {share:.1%} of the training time.")
    except ImportError:
        report.warn("no curve without matplotlib: pip install 'scdata-engine[plot]'")
    table = {"recipe": HERE.name, "preset": run.data.tokenizer.name, "n_params": run.n_params, "steps": run.step}
    table |= {"val_loss": run.val_loss, "baselines": run.baselines, "unit": "bins^2"}
    report.event({**table, "seconds": round(run.seconds, 3), "loader_share": round(share, 4)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--set", required=True, help="folder of a set with the splits train and val")
    parser.add_argument("--out", required=True, help="folder for checkpoints, log.jsonl and curve.png")
    parser.add_argument("--config", type=Path, default=HERE / "config.toml", help="default: %(default)s")
    parser.add_argument("--size", help="a table of sizes in the config: tiny, small or base")
    parser.add_argument(
        "--max-steps", type=int, help="steps, over which the learning rate falls; default: the config's"
    )
    parser.add_argument(
        "--max-minutes", type=float, default=math.inf, help="stop this sitting's training after so long"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="order of cells, hidden genes and first weights; default: 0"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out")
    parser.add_argument("--json", action="store_true", help="JSON lines only; the last one is the result")
    args = parser.parse_args()
    report = Report(args.json)
    try:
        run = Run(args, load_config(Config, args.config, size=args.size, steps=args.max_steps))
        introduce(run, report, args.set)
        train(run, report, args.max_minutes)
        conclude(run, report)
    except (ScdataError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; add --resume to go on from the newest checkpoint")


if __name__ == "__main__":
    main()
