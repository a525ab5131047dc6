"""Parts of transformers. Shapes: B cells, L tokens, D width, H heads, K classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a LayerNorm: (B, L, D) → (B, L, D).

    `attend` is what ``scaled_dot_product_attention`` takes: bool, broadcast to (B, H, L, L), True where a query (third axis)
    sees a key; or float, added to the scores.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, *, hidden: int | None = None) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        hidden = hidden or 2 * width
        self.forward_ = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, attend: Tensor | None) -> Tensor:
        B, L, D = x.shape
        q, k, v = self.qkv(self.norm_attention(x)).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attend, dropout_p=rate)  # (B, H, L, D/H)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(B, L, D)))
        return x + self.dropout(self.forward_(self.norm_forward(x)))


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer with weights and bias of zero: what is behind it begins as if it were not there."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def gene_embedding(n_tokens: int, width: int) -> nn.Embedding:
    """Embedding of tokens with small first weights."""
    table = nn.Embedding(n_tokens, width)
    nn.init.normal_(table.weight, std=0.02)
    return table


def mean_over(x: Tensor, which: Tensor) -> Tensor:
    """Mean of tokens (B, L, D) over those that `which`, bool (B, L), marks: (B, D); 0 where there are none."""
    weight = which.to(x.dtype)[..., None]
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def summed_error(prediction: Tensor, truth: Tensor, where: Tensor) -> Tensor:
    """Sum of squared errors (scalar) at the marked places; all of one shape."""
    return torch.where(where, prediction - truth, 0.0).square().sum()
