"""Predictors without a model, and the one ruler for them and for the model.

Shapes: B cells, L tokens of the longest, V token ids.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .masking import Hidden

Predictor = Callable[[Hidden], Tensor]


class Means(NamedTuple):
    """``of_token`` float32 (V,): mean value of each gene, the global mean for genes never seen; ``everywhere`` and
    ``spread`` float: mean over all values, and their standard deviation around the means of their genes."""

    of_token: Tensor
    everywhere: float
    spread: float


def gene_means(packed: Iterable[Mapping[str, Any]], is_gene: Tensor) -> Means:
    """One pass over packed batches of a split: the mean value of each gene where it is expressed."""
    n = len(is_gene)
    count, total, square = (torch.zeros(n, dtype=torch.float64) for _ in range(3))
    for batch in packed:
        token_ids, values = batch["token_ids"].long(), batch["values"].double()
        count += torch.bincount(token_ids, minlength=n)
        total += torch.bincount(token_ids, values, minlength=n)
        square += torch.bincount(token_ids, values**2, minlength=n)
    count, total, square = (torch.where(is_gene, part, 0.0) for part in (count, total, square))
    everywhere = float(total.sum() / count.sum())
    mean = torch.where(count > 0, total / count.clamp(min=1), everywhere)
    inside = float((square - count * mean**2).sum() / count.sum())
    return Means(mean.float(), everywhere, max(inside, 1e-12) ** 0.5)


def trivial_predictors(means: Means) -> dict[str, Predictor]:
    """By name: the global mean; the gene's mean; the gene's mean shifted by how far the visible tokens of the cell are,
    on average, above the means of their genes. Each gives (B, L)."""

    def global_mean(task: Hidden) -> Tensor:
        return torch.full_like(task.truth, means.everywhere)

    def gene_mean(task: Hidden) -> Tensor:
        return means.of_token[task.token_ids]

    def shifted_gene_mean(task: Hidden) -> Tensor:
        mean = means.of_token[task.token_ids]
        residual = torch.where(task.visible, task.values - mean, 0.0)
        shift = residual.sum(1) / task.visible.sum(1).clamp(min=1)
        return mean + shift[:, None]

    return {f.__name__: f for f in (global_mean, gene_mean, shifted_gene_mean)}


@torch.no_grad()
def evaluate(tasks: Iterable[Hidden], predictors: Mapping[str, Predictor]) -> dict[str, float]:
    """Mean squared error of each predictor over all hidden values."""
    total, n_hidden = dict.fromkeys(predictors, 0.0), 0
    for task in tasks:
        n_hidden += int(task.hidden.sum())
        for name, predict in predictors.items():
            error = (predict(task) - task.truth)[task.hidden]
            total[name] += float((error.double() ** 2).sum())
    if n_hidden == 0:
        raise ValueError("no value was hidden, so there is nothing to judge: raise mask_fraction, or use a larger set")
    return {name: error / n_hidden for name, error in total.items()}
