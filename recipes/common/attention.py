"""How much genes attend to regulators, as the mean over cells: streamed, so that no matrix of genes by genes outlives its cell.

Shapes: B cells, L tokens of the longest, H heads, T regulators, G genes.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .blocks import Block
from .data import gene_rows, open_split, to_device
from .recipe import Batch, Model
from .trained import Trained

BATCH_SIZE = 16


class AttentionMeans:
    """Attention from each of G genes to each of T regulators: a mean over heads of the last layer, then over cells.

    As in scGPT's search for regulation (Cui et al., Nature Methods 2024, code bowang-lab/scGPT, tutorial "Attention-based GRN
    inference"): the last layer, and of its map the column of the regulator, so the query is the target and the key is the
    regulator. Ours: the weights are those of the forward pass, each query's sum to one over all tokens, and are not replaced by
    ranks; the mean is over the cells in which both genes are among the model's tokens and the query may see the key.

    Memory: 12 bytes for each of T × G pairs, and the weights of one cell, 4 · H · L² bytes a few times over.

    Parameters
    ----------
    regulators
        T feature ids, each once.
    genes
        G feature ids that may be targets.

    Attributes
    ----------
    total
        float64 (T, G): sum of the weights over cells.
    n_cells
        int32 (T, G): cells that the sum is over.
    """

    def __init__(self, regulators: Sequence[str], genes: Sequence[str]) -> None:
        self.regulators, self.genes = list(regulators), list(genes)
        self.total = np.zeros((len(self.regulators), len(self.genes)))
        self.n_cells = np.zeros(self.total.shape, np.int32)

    def mean(self) -> np.ndarray:
        """float64 (T, G); 0 of a pair that no cell has."""
        return self.total / np.maximum(self.n_cells, 1)

    def add_split(self, path: str, trained: Trained, split: str, subset: int | None = None) -> Iterator[int]:
        """Add the cells of a split, or a fair sample of `subset` of them; yields how many, batch by batch."""
        device = next(trained.model.parameters()).device
        options = {"objective": None, "shuffle": False, "batch_size": BATCH_SIZE, **trained.recipe.embed_options()}
        data = open_split(path, split, trained.recipe, trained.tokenizer, subset=subset, **options)
        rows = gene_rows(data, trained.recipe)
        to_regulator, to_gene = (_places(names, rows) for names in (self.regulators, self.genes))
        for batch in data:
            batch = to_device(batch, device)
            tokens = trained.model.attended(batch).long().cpu().clamp(max=len(to_gene) - 1)
            for ids, (weights, seen) in zip(tokens, last_attention(trained.model, batch), strict=True):
                self._add(to_regulator[ids], to_gene[ids], weights, seen)
            yield len(tokens)

    def _add(self, regulators: Tensor, genes: Tensor, weights: Tensor, seen: Tensor) -> None:
        """Add a cell: places (L,) of its tokens, −1 where they are none; weights and bool (L, L): queries, keys."""
        keys, queries = (places.ge(0).nonzero().squeeze(1) for places in (regulators, genes))
        to = np.ix_(regulators[keys].numpy(), genes[queries].numpy())
        self.total[to] += weights[queries][:, keys].T.double().cpu().numpy()
        self.n_cells[to] += seen[queries][:, keys].T.cpu().numpy()


def _places(names: list[str], rows: dict[str, int]) -> Tensor:
    """int64: of each row of a model's table of genes, which of `names` it is, −1 if none; one row more, for what is no gene."""
    places = torch.full((max(rows.values()) + 2,), -1)
    for place, name in enumerate(names):
        if name in rows:
            places[rows[name]] = place
    return places


@torch.no_grad()
def last_attention(model: Model, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Attention in the last block that `Model.embed` runs, cell by cell.

    Yields
    ------
    tuple
        Weights (L, L), mean over heads, a row for each query, which sums to 1; and bool (L, L): may the query see the key?
    """
    last: deque[tuple[Block, Tensor, Tensor]] = deque(maxlen=1)
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    hooks = [block.register_forward_pre_hook(lambda block, given: last.append((block, *given))) for block in blocks]
    try:
        model.embed(batch)
    finally:
        for hook in hooks:
            hook.remove()
    block, x, attend = last[0]
    n, length = x.shape[:2]
    seen = (attend if attend.dtype == torch.bool else attend > -torch.inf).expand(n, 1, length, length)
    for row in range(n):
        own = slice(row, row + 1)
        yield block.attention(x[own], attend[own])[0].mean(0), seen[row, 0]
