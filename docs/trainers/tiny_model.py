"""A model that is just large enough to learn: what a cell's other genes say about a masked value."""

import torch
from torch import nn


class TinyModel(nn.Module):
    """Embeds genes and their values, averages a cell, and guesses every value.

    Takes padded batches with the keys of `scdata.objectives.MaskedValues`.
    """

    def __init__(self, n_tokens: int, width: int = 32) -> None:
        super().__init__()
        self.genes = nn.Embedding(n_tokens, width)
        self.value = nn.Linear(1, width)
        self.guess = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Mean squared error of the masked values, in bins²."""
        there = batch["attention_mask"].unsqueeze(-1)
        genes = self.genes(batch["token_ids"])
        seen = (genes + self.value(batch["masked_values"].unsqueeze(-1).float())) * there
        cell = seen.sum(1) / there.sum(1).clamp(min=1)
        guess = self.guess(torch.cat([genes, cell.unsqueeze(1).expand_as(genes)], -1)).squeeze(-1)
        masked = batch["masked"]
        return ((guess - batch["values"].float())[masked] ** 2).mean()
