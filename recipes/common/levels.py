"""How often genes stand at which count level, over all cells and by groups of cells: predictors without a model.

Where little was seen, shares fall back: a group's to the gene's, a gene's to those of all genes, these to uniform, each time
with the weight of as many cells as there are different levels (Witten and Bell, "The zero-frequency problem", IEEE Transactions
on Information Theory 1991, method C).

Shapes: B cells, G genes, K levels, S groups, M places asked for. A level of −1: not measured, and not counted.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

import scdata

_PRIOR_COUNTS = 10.0  # as if so many counts of a cell of ordinary depth had been seen
N_DEPTHS = 9
_WAITING = 1 << 23  # keys held before they are merged


def counts_of(starts: tuple[int, ...], steps: tuple[int, ...]) -> Tensor:
    """float32 (K,): the lowest count of each level; `starts` and `steps` as in a preset's ``[value]``."""
    n = sum((starts[i + 1] - starts[i]) // step for i, step in enumerate(steps)) + 1
    return torch.from_numpy(scdata.decode_levels(torch.arange(n).numpy(), starts, steps)).float()


def level_frequencies(cells: Iterable[Tensor], counts: Tensor) -> dict[str, Tensor]:
    """Shares of levels over all cells.

    Parameters
    ----------
    cells
        Levels, int (B, G), batch by batch.
    counts
        float32 (K,): `counts_of`.

    Returns
    -------
    dict
        ``log_gene`` float32 (G, K) and ``log_global`` (K,): log shares; ``mean_count`` (G,); ``mean_log`` and ``std_log`` (G,)
        of ln(1 + count); ``counts`` as given.
    """
    n, table = len(counts), None
    for levels in cells:
        if table is None:
            table = torch.zeros(levels.shape[1] * n, dtype=torch.int64)
        gene = torch.arange(levels.shape[1]).expand_as(levels)
        there = levels >= 0
        table += torch.bincount(gene[there] * n + levels[there].long(), minlength=len(table))
    assert table is not None  # a split has cells
    seen = table.view(-1, n).double()
    everywhere = seen.sum(0)
    kinds = (everywhere > 0).sum()
    shares = (everywhere + kinds / n) / (everywhere.sum() + kinds)
    kinds_of_gene = (seen > 0).sum(1, keepdim=True)
    n_of_gene = seen.sum(1, keepdim=True)
    of_gene = (seen + kinds_of_gene * shares) / (n_of_gene + kinds_of_gene).clamp(min=1)
    of_gene = torch.where(n_of_gene > 0, of_gene, shares)
    logs = counts.double().log1p()
    mean_log = of_gene @ logs
    std_log = (of_gene @ logs**2 - mean_log**2).clamp(min=1e-4).sqrt()
    found = {"log_gene": of_gene.log(), "log_global": shares.log(), "mean_count": of_gene @ counts.double()}
    return {
        key: part.float()
        for key, part in (found | {"mean_log": mean_log, "std_log": std_log, "counts": counts}).items()
    }


def depth_group(levels: Tensor, visible: Tensor, marginals: dict[str, Tensor]) -> Tensor:
    """int64 (B,): how deep a cell is, in half octaves around an ordinary one, from what is visible of it, bool (B, G)."""
    counts = torch.where(visible, marginals["counts"][levels.clamp(0, len(marginals["counts"]) - 1)], 0.0).sum(1)
    expected = torch.where(visible, marginals["mean_count"], 0.0).sum(1)
    ratio = (counts + _PRIOR_COUNTS) / (expected + _PRIOR_COUNTS)
    return (2 * ratio.log2()).round().long().clamp(-(N_DEPTHS // 2), N_DEPTHS // 2) + N_DEPTHS // 2


def group_frequencies(cells: Iterable[tuple[Tensor, Tensor]], n_groups: int, n_levels: int) -> dict[str, Tensor]:
    """Counts of levels by group: what `log_share` looks up. What is never seen, which is most, takes no room.

    Parameters
    ----------
    cells
        Levels (B, G) and groups (B,), from 0 to `n_groups` − 1, batch by batch.

    Returns
    -------
    dict
        ``keys`` int64, sorted, one for each group, gene and level above 0 that was seen, and ``n`` int64, how often; ``total``,
        ``zeros`` and ``kinds`` int64 (S · G,): cells of a group and gene, those at level 0, and different levels.
    """
    waiting: list[tuple[Tensor, Tensor]] = []
    total = zeros = torch.zeros(0, dtype=torch.int64)
    for levels, group in cells:
        if not len(total):
            total, zeros = (torch.zeros(n_groups * levels.shape[1], dtype=torch.int64) for _ in range(2))
        place = group[:, None] * levels.shape[1] + torch.arange(levels.shape[1])
        total += torch.bincount(place[levels >= 0], minlength=len(total))
        zeros += torch.bincount(place[levels == 0], minlength=len(total))
        above = levels > 0
        waiting.append(torch.unique(place[above] * n_levels + levels[above].long(), return_counts=True))
        if sum(len(keys) for keys, _ in waiting) > _WAITING:
            waiting = [_merged(waiting)]
    keys, n = _merged(waiting)
    kinds = torch.bincount(keys // n_levels, minlength=len(total)) + (zeros > 0)
    return {"keys": keys, "n": n, "total": total, "zeros": zeros, "kinds": kinds}


def _merged(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    keys, inverse = torch.unique(torch.cat([keys for keys, _ in parts]), return_inverse=True)
    return keys, torch.zeros_like(keys).index_add_(0, inverse, torch.cat([n for _, n in parts]))


def log_share(
    marginals: dict[str, Tensor], table: dict[str, Tensor], group: Tensor, gene: Tensor, level: Tensor
) -> Tensor:
    """float64 (M,): log share of levels among the cells of their groups, falling back to the gene's; all (M,)."""
    log_gene = marginals["log_gene"]
    place = group * len(log_gene) + gene
    key = place * log_gene.shape[1] + level
    at = torch.searchsorted(table["keys"], key).clamp(max=len(table["keys"]) - 1)
    above = torch.where(table["keys"][at] == key, table["n"][at], 0)
    n = torch.where(level > 0, above, table["zeros"][place])
    total, kinds, base = table["total"][place], table["kinds"][place], log_gene[gene, level].double().exp()
    return torch.where(total > 0, (n + kinds * base) / (total + kinds).clamp(min=1), base).log()
