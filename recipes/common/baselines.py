"""What the train split says without a model: means of genes, and how often tokens stand where.

Shapes: B cells, L tokens, T tokens of a packed batch, V token ids, P buckets of positions.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


def gene_means(packed: Iterable[Mapping[str, Any]], is_gene: Tensor) -> dict[str, Tensor]:
    """One pass over packed batches: the mean value of each gene where it is expressed.

    Returns
    -------
    dict
        ``mean`` float32 (V,), the global mean for genes never seen; ``everywhere`` and ``spread`` float32 (): mean over all
        values, and their standard deviation around the means of their genes.
    """
    n = len(is_gene)
    count, total, square = (torch.zeros(n, dtype=torch.float64) for _ in range(3))
    for batch in packed:
        token_ids, values = batch["token_ids"].long(), batch["values"].double()
        count += torch.bincount(token_ids, minlength=n)
        total += torch.bincount(token_ids, values, minlength=n)
        square += torch.bincount(token_ids, values**2, minlength=n)
    count, total, square = (torch.where(is_gene, part, 0.0) for part in (count, total, square))
    everywhere = total.sum() / count.sum()
    mean = torch.where(count > 0, total / count.clamp(min=1), everywhere)
    inside = (square - count * mean**2).sum() / count.sum()
    spread = inside.clamp(min=1e-12).sqrt()
    return {"mean": mean.float(), "everywhere": everywhere.float(), "spread": spread.float()}


def position_bucket(position: Tensor) -> Tensor:
    """Buckets of positions that widen as positions grow, four to a doubling: 0, 1, 2, …; int64, in the shape given."""
    return (4 * torch.log2(1 + position.double() / 4)).long()


def token_frequencies(packed: Iterable[Mapping[str, Any]], n_tokens: int, context_length: int) -> dict[str, Tensor]:
    """One pass over packed batches: how often each token stands in each bucket of positions, cut to the context.

    Returns
    -------
    dict
        ``log_unigram`` float32 (V,) and ``log_by_position`` float32 (P, V): log of the share of tokens; a bucket falls back
        to the unigram, and that to uniform, each time with the weight of as many tokens as there are different ones (Witten and
        Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 1991, method C).
    """
    n_buckets = int(position_bucket(torch.tensor(context_length - 1))) + 1
    count = torch.zeros(n_buckets * n_tokens, dtype=torch.float64)
    for batch in packed:
        token_ids, ends = batch["token_ids"].long(), batch["cu_seqlens"].long()
        position = torch.arange(len(token_ids)) - torch.repeat_interleave(ends[:-1], ends.diff())
        kept = position < context_length
        where = position_bucket(position[kept]) * n_tokens + token_ids[kept]
        count += torch.bincount(where, minlength=len(count))
    table = count.view(n_buckets, n_tokens)
    total, n_seen = table.sum(0), (table > 0).sum(1, keepdim=True)
    unigram = (total + (total > 0).sum() / n_tokens) / (total.sum() + (total > 0).sum()).clamp(min=1)
    by_position = (table + n_seen * unigram) / (table.sum(1, keepdim=True) + n_seen)
    by_position = torch.where(n_seen > 0, by_position, unigram)
    return {"log_unigram": unigram.log().float(), "log_by_position": by_position.log().float()}
