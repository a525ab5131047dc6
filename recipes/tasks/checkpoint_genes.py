"""What the model of a recipe's checkpoint makes of genes: its embeddings of them, and its attention between them."""

from pathlib import Path

import numpy as np

from .cells import Cells

MOST_CELLS = 2000


def genes_and_attention(path: str, cells: Cells, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Read both off a checkpoint, on the CPU.

    Parameters
    ----------
    path
        ``checkpoint-*.pt`` that learned from the genes of every set of `cells`.
    cells
        Of G genes; attention is a mean over all cells of their sets and splits, or a fair sample of about 2,000.
    factors
        Places (T,) of the regulators among the genes.

    Returns
    -------
    tuple
        float64 (G, D): embeddings, NaN of a gene that the model does not have; float64 (T, G): attention, as
        `common.attention.AttentionMeans` has it, None where the model has none between genes; int: cells of the mean.
    """
    # brings torch and the recipe, which others do not need
    from common.attention import AttentionMeans
    from common.data import open_split
    from common.recipe import Model
    from common.trained import load_trained
    from embed import embed_genes

    means, n_read = AttentionMeans([cells.feature_ids[i] for i in factors], cells.feature_ids), 0
    for place, (source, splits) in enumerate(cells.sources):
        trained = load_trained(source, Path(path))
        if place == 0:
            names, rows = embed_genes(source, trained)
        if type(trained.model).attended is Model.attended:
            continue
        n = {split: open_split(source, split, trained.recipe, trained.tokenizer).n_cells for split in splits}
        share = min(1.0, MOST_CELLS / len(cells.sources) / sum(n.values()))
        for split in splits:
            n_read += sum(means.add_split(source, trained, split, max(1, int(share * n[split]))))
    where = {gene: row for row, gene in enumerate(names)}
    order = np.array([where.get(gene, -1) for gene in cells.feature_ids])
    of_genes = np.where((order >= 0)[:, None], rows[order].astype(np.float64), np.nan)
    return of_genes, means.mean() if n_read else None, n_read
