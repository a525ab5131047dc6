"""A run: what it is made of, one step of it, and where it stands.

Losses are sums over scored tokens, divided by the number of scored tokens of the whole step, so that neither the number of
processes nor that of parts of a batch changes them.
"""

import dataclasses
import itertools
import json
import math
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from . import parallel
from .checkpoint import Log, load_checkpoint, refuse_other_run, save_checkpoint
from .config import TrainingConfig
from .data import choose, endless, open_split, to_device
from .judge import Judged, judge
from .recipe import Batch, Recipe

_JUDGED_SEED = 0  # the same cells are hidden in the same way whatever the seed of a run
_NOT_DECISIVE = ("device", "threads", "sizes", "checkpoint_every")  # what does not change a loss


class Run:
    """Data, model, optimizer and log of a run, begun or resumed.

    Parameters
    ----------
    args
        The command line, as `command.parse` gives it.
    config
        The recipe's config, ``device`` and sizes checked.
    styles
        The recipe, or several of which the preset's kind of values chooses.
    name
        Name of the recipe's folder.
    """

    def __init__(self, args: Namespace, config: TrainingConfig, styles: list[type[Recipe]], name: str) -> None:
        self.config, self.name, self.out = config, name, Path(args.out)
        torch.set_num_threads(config.threads)
        torch.use_deterministic_algorithms(True)
        self.device = parallel.start(config.device)
        style, tokenizer = choose(args.set, styles, config.preset, args.preset is not None)
        self.recipe = style(config)
        self.seed, self.n_ranks = args.seed, parallel.world_size()
        n_cells = config.batch_size // config.accumulate  # of all processes together
        if n_cells % self.n_ranks:
            raise ValueError(
                f"batch_size {config.batch_size} in {config.accumulate} part(s) gives {n_cells} cells, which {self.n_ranks} "
                "processes cannot share evenly: change batch_size or accumulate in the config"
            )
        size = {"batch_size": n_cells // self.n_ranks}
        which = {"subset": args.cells, "seed": args.seed, "drop_last": True}
        self.data = open_split(args.set, "train", self.recipe, tokenizer, **which, **size)
        if self.data.n_cells < n_cells:
            raise ValueError(
                f"the train split of {args.set} has {self.data.n_cells:,} cells, less than a batch of {n_cells}: lower "
                "batch_size in the config"
            )
        judged = {"seed": _JUDGED_SEED, "shuffle": False, "drop_last": False, **size}
        self.val = open_split(args.set, "val", self.recipe, tokenizer, **judged)
        self.preset = self.data.tokenizer.name
        self.run = self._identity(args)
        self.step, self.loader, self.seconds, self.waited, self.trained = 0, None, 0.0, 0.0, 0.0
        saved = self._start(args)
        if saved:
            for key in ("step", "loader", "seconds", "waited", "trained", "marginals"):
                setattr(self, key, saved[key])
        else:
            whole = {**self.recipe.fit_options(), "objective": None, "shuffle": False}
            whole |= {"rank": 0, "world_size": 1, "context_length": self.data.vocab.n_tokens}
            whole["subset"] = min(config.marginal_cells, self.data.n_cells)
            self.marginals = self.recipe.fit(open_split(args.set, "train", self.recipe, tokenizer, **whole))
        torch.manual_seed(args.seed)
        self.model = self.recipe.build(self.data, self.marginals).to(self.device)
        self.n_params = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        self.optimizer = self._optimizer()
        if saved:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
        self.model.step = self.step
        self.wrapped = parallel.wrapped(self.model)
        on_device = {key: table.to(self.device) for key, table in self.marginals.items()}
        self.weights = self.recipe.weights(self.marginals)
        self.baselines = self.recipe.baselines(on_device, self.model)
        self.others = self.recipe.other_baselines(on_device, self.model)
        self.log = Log(self.out / "log.jsonl", saved.get("log_bytes", 0)) if parallel.rank() == 0 else None
        self.batches = self._overfitted() if args.overfit else endless(self.data, self.loader)
        if saved:
            self.judged = Judged(**saved["judged"])
        else:
            self.evaluate()
            self.save()

    def _identity(self, args: Namespace) -> dict[str, Any]:
        table = {key: value for key, value in dataclasses.asdict(self.config).items() if key not in _NOT_DECISIVE}
        manifest = self.data.state_dict()["manifest"]
        own = {
            "recipe": self.name,
            "set (sha256 of its manifest)": manifest,
            "seed": args.seed,
            "cells": args.cells,
            "overfit": args.overfit,
        }
        return {**own, **table, "preset": self.preset, "size": {self.config.size: self.config.shape}}

    def _start(self, args: Namespace) -> dict[str, Any]:
        self.out.mkdir(parents=True, exist_ok=True)
        if args.resume:
            return load_checkpoint(self.out, self.run)
        refuse_other_run(self.out)
        parallel.wait()  # all have looked before one writes
        return {}

    def _optimizer(self) -> torch.optim.Optimizer:
        """AdamW; weights of matrices decay, biases, norms and single vectors do not."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.config.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, betas=(0.9, 0.98))

    def _overfitted(self) -> Iterator[Batch]:
        first = list(itertools.islice(endless(self.data, None), self.config.accumulate))
        return itertools.cycle(first)

    # -- what it does -------------------------------------------------------

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else nullcontext()

    def evaluate(self) -> None:
        """Judge model and baselines on the val split; with ``--overfit`` on the batch that is learned by heart."""

        def batches() -> Iterator[Batch]:
            if self.overfits:
                yield from (to_device(next(self.batches), self.device) for _ in range(self.config.accumulate))
                return
            for _, batch in zip(range(self.config.eval_batches), self.val, strict=False):
                yield to_device(batch, self.device)

        with self._autocast():
            self.model.before_judging(batches())
            n_scored = self.recipe.n_scored
            self.judged = judge(batches(), self.model, self.baselines, n_scored, self.device, self.others)
        if self.log is not None:
            optional = {
                "terms": self.judged.terms,
                "term_baselines": self.judged.others,
                "watched": self.judged.watched,
            }
            extra = {key: value for key, value in optional.items() if value}
            line = {"step": self.step, "val_loss": self.judged.model, "baselines": self.judged.baselines, **extra}
            self.log.write(line)

    @property
    def overfits(self) -> bool:
        return bool(self.run["overfit"])

    def save(self) -> None:
        if self.log is None:
            return
        names = ("step", "loader", "seconds", "waited", "trained", "marginals", "run")
        table = {key: getattr(self, key) for key in names} | {"judged": self.judged._asdict()}
        table |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        table |= {"config": dataclasses.asdict(self.config), "genes": self.data.vocab.feature_ids}
        # what another set needs to give the same tokens
        table |= {"columns": self.data.dense_feature_ids, "fitted": self.data.tokenizer.fitted.to_json()}
        save_checkpoint(self.out, {"log_bytes": self.log.position(), **table})

    def train_step(self) -> dict[str, Any]:
        """One step of the optimizer, on `batch_size` cells of all processes together; returns its line of the log."""
        begin = time.perf_counter()
        parts = [next(self.batches) for _ in range(self.config.accumulate)]
        self.waited += time.perf_counter() - begin
        # what is drawn for dropout depends on seed and step alone, so resuming needs no state of a generator
        torch.manual_seed((self.seed << 40) + self.step * self.n_ranks + parallel.rank())
        batches = [to_device(batch, self.device) for batch in parts]
        counts = [self.recipe.n_scored(batch) for batch in batches]
        n = parallel.totals({term: torch.stack([count[term] for count in counts]).sum() for term in counts[0]})
        rate = self.config.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        sums = {term: torch.zeros((), device=self.device) for term in n}
        for number, batch in enumerate(batches):
            with self._communicates(number == len(batches) - 1):
                with self._autocast():
                    found = self.wrapped(batch)
                for term, part in found.items():
                    sums[term] += part.detach()
                shares = (self.weights.get(term, 1.0) * part / n[term].clamp(min=1) for term, part in found.items())
                # averaged over processes afterwards, and a sum is wanted
                (self.n_ranks * sum(shares)).float().backward()
        means = {term: float(total / n[term].clamp(min=1)) for term, total in parallel.totals(sums).items()}
        total = sum(self.weights.get(term, 1.0) * mean for term, mean in means.items())
        if not math.isfinite(total):
            raise ValueError(self._not_finite(means, rate))
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.step, self.loader = self.step + 1, parts[-1]["state"]
        self.model.step = self.step
        self.model.after_step()
        judged, *others = means
        line = {"step": self.step, "loss": means[judged], "lr": rate, **{term: means[term] for term in others}}
        if self.log is not None:
            self.log.write(line)
        self.trained += time.perf_counter() - begin
        return line

    def _communicates(self, last: bool) -> AbstractContextManager[Any]:
        no_sync: Callable[[], AbstractContextManager[Any]] = getattr(self.wrapped, "no_sync", nullcontext)
        return nullcontext() if last else no_sync()

    def _not_finite(self, means: dict[str, float], rate: float) -> str:
        """What to say of a loss that is no number; the state before its batches goes into a file."""
        path = self.out / "nonfinite.json"
        state = self.loader or self.data.state_dict() | {"position": 0}
        if self.log is not None:
            path.write_text(
                json.dumps({"step": self.step + 1, "losses": {k: str(v) for k, v in means.items()}, "state": state})
            )
        return (
            f"the loss of step {self.step + 1} is {means}: the last checkpoint in {self.out} is from before. Its batch is the "
            f"next one after load_state_dict(state), with the state in {path}. Lower learning_rate = {rate:g}, or clip_norm"
        )
