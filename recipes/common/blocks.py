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
        q, k, v = self.projected(x)
        rate = self.rate if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attend, dropout_p=rate)  # (B, H, L, D/H)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(B, L, D)))
        return x + self.dropout(self.forward_(self.norm_forward(x)))

    def projected(self, x: Tensor) -> Tensor:
        """Queries, keys and values (3, B, H, L, D/H)."""
        B, L, D = x.shape
        return self.qkv(self.norm_attention(x)).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)

    def attention(self, x: Tensor, attend: Tensor) -> Tensor:
        """Weights (B, H, L, L) by which `forward` mixes values: rows of queries, which sum to 1, over keys."""
        q, k, _ = self.projected(x)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(~attend, -torch.inf) if attend.dtype == torch.bool else scores + attend
        return scores.softmax(-1)


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


class SwiGLU(nn.Module):
    """Feed-forward layer with a gate (Shazeer, "GLU variants improve Transformer", arXiv 2002.05202): (…, D) → (…, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = -(-8 * width // 24) * 8  # as many weights as a plain layer of 4 · width has
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return out


def rotated(x: Tensor) -> Tensor:
    """Queries or keys (B, H, L, E) turned by their position (RoPE; Su et al., "RoFormer", arXiv 2104.09864); E is even."""
    L, half = x.shape[2], x.shape[3] // 2
    rate = 10_000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = torch.arange(L, device=x.device, dtype=torch.float32)[:, None] * rate  # (L, E/2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class RotaryBlock(nn.Module):
    """Attention with RoPE and a SwiGLU layer, each behind an RMSNorm, every token seeing all: (B, L, D) → (B, L, D)."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.norm_attention, self.norm_forward = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.forward_, self.dropout = SwiGLU(width), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        B, L, D = x.shape
        q, k, v = self.qkv(self.norm_attention(x)).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        mixed = F.scaled_dot_product_attention(rotated(q), rotated(k), v, dropout_p=rate)  # (B, H, L, D/H)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(B, L, D)))
        return x + self.dropout(self.forward_(self.norm_forward(x)))
