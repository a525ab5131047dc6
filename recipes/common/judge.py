"""One ruler for the model and for predictors without parameters: the same cells, hidden in the same way."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch

from . import parallel
from .recipe import Batch, Model, Predictor


class Judged(NamedTuple):
    """Mean loss of the judged term: the model's, and by name the baselines'; ``terms`` are the model's other terms,
    ``watched`` what the model says of itself, ``others`` by term the baselines of those terms that have some."""

    model: float
    baselines: dict[str, float]
    terms: dict[str, float]
    watched: dict[str, float]
    others: dict[str, dict[str, float]]


@torch.no_grad()
def judge(
    batches: Iterable[Batch],
    model: Model,
    baselines: Mapping[str, Predictor],
    counts: Callable[[Batch], dict[str, torch.Tensor]],
    device: torch.device,
    others: Mapping[str, Mapping[str, Predictor]] | None = None,
) -> Judged:
    """Judge over all batches of all processes.

    Parameters
    ----------
    batches
        Those of this process, on the device of the model.
    model
        The model itself, no wrapper around it.
    baselines
        At least one: no figure stands alone.
    counts
        `Recipe.n_scored`.
    device
        Where sums are kept.
    others
        Baselines of other terms, by term.

    Raises
    ------
    ValueError
        If there are no baselines, or nothing was scored.
    """
    if not baselines:
        raise ValueError("a loss without a baseline says nothing: give at least one")
    was_training = model.training
    model.eval()
    sums: dict[str, torch.Tensor] = {}
    watched: dict[str, float] = {}

    def add(name: str, part: torch.Tensor) -> None:
        sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64, device=device)) + part.double()

    judged = ""
    for number, batch in enumerate(batches):
        n = counts(batch)
        judged = next(iter(n))
        for name, part in n.items():
            add(f"n {name}", part)
        for name, part in model(batch).items():
            add(f"model {name}", part)
        for name, predict in baselines.items():
            add(f"baseline {name}", predict(batch))
        for term, predictors in (others or {}).items():
            for name, predict in predictors.items():
                add(f"other {term} {name}", predict(batch))
        if number == 0:
            watched = model.watch(batch)
    model.train(was_training)
    if parallel.anywhere(not sums, device):
        raise ValueError("the val split is smaller than the number of processes: use fewer, or a larger set")
    found = {name: float(part) for name, part in parallel.totals(sums).items()}
    n_judged = found[f"n {judged}"]
    if not n_judged:
        raise ValueError("nothing was hidden in the val split, so there is nothing to judge: use a larger set")
    terms = {
        name.removeprefix("model "): total / max(1.0, found[f"n {name.removeprefix('model ')}"])
        for name, total in found.items()
        if name.startswith("model ")
    }
    trivial = {
        name.removeprefix("baseline "): total / n_judged
        for name, total in found.items()
        if name.startswith("baseline ")
    }
    beside = {
        term: {name: found[f"other {term} {name}"] / max(1.0, found[f"n {term}"]) for name in predictors}
        for term, predictors in (others or {}).items()
    }
    return Judged(terms.pop(judged), trivial, terms, watched, beside)
