"""A small transformer over the genes of a cell. Shapes: B cells, L tokens, D width, H heads, V token ids."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .baselines import Means
from .config import nearest
from .masking import Hidden


def check_shape(table: dict[str, int], where: str) -> None:
    """Raise ValueError unless a table of a config has what `ValueModel` takes."""
    known = ("width", "layers", "heads")
    for key in table:
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}: {nearest(key, known)}")
    for key in known:
        if type(table.get(key)) is not int or table[key] < 1:
            raise ValueError(f"{where}: {key} = {table.get(key)!r}: expected a whole number above 0")
    if table["width"] % table["heads"]:
        raise ValueError(f"{where}: width {table['width']} is no multiple of {table['heads']} heads")


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a LayerNorm: (B, L, D) → (B, L, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.forward_ = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, attend: Tensor) -> Tensor:
        B, L, D = x.shape
        q, k, v = self.qkv(self.norm_attention(x)).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attend)  # (B, H, L, D/H)
        x = x + self.out(mixed.transpose(1, 2).reshape(B, L, D))
        return x + self.forward_(self.norm_forward(x))


class ValueModel(nn.Module):
    """scGPT's input, genes by an embedding and values by an MLP, and one number a token as output, added to the gene's mean.

    A value enters as its distance from the mean of its gene (tried: raw bins learn far slower), and a flag says which are
    hidden. The last layer begins at zero, so the untrained model is the predictor "mean of the gene". A cell is a set:
    nothing depends on the order of its tokens.
    """

    def __init__(self, means: Means, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.spread = means.spread
        self.register_buffer("mean", means.of_token)  # (V,)
        self.gene = nn.Embedding(len(means.of_token), width)
        nn.init.normal_(self.gene.weight, std=0.02)
        self.norm = nn.LayerNorm(width)
        self.value = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.last_norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, task: Hidden) -> Tensor:
        """Predicted value of every token, float32 (B, L)."""
        mean = self.mean[task.token_ids]
        above = torch.where(task.visible, (task.values - mean) / self.spread, 0.0)
        values = torch.stack([above, task.hidden.float()], -1)  # (B, L, 2)
        x = self.norm(self.gene(task.token_ids)) + self.value(values)
        attend = task.attention_mask[:, None, None, :]  # padding is attended by none
        for block in self.blocks:
            x = block(x, attend)
        return mean + self.spread * self.head(self.last_norm(x)).squeeze(-1)
