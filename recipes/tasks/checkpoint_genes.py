"""What the model of a recipe's checkpoint makes of genes: its embeddings of them, and its attention between them."""

from pathlib import Path

import numpy as np

from .cells import Cells
from .genes import symbols

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

    Raises
    ------
    ValueError
        As `load_trained` does, and if the model has none of the genes.
    """
    # brings torch and the recipe, which others do not need
    from common.attention import AttentionMeans
    from common.data import open_split
    from common.recipe import Model
    from common.trained import load_trained
    from embed import embed_genes

    of_sets = [load_trained(source, Path(path)) for source, _ in cells.sources]
    names, rows = embed_genes(cells.sources[0][0], of_sets[0])
    order = rows_of({gene: row for row, gene in enumerate(names)}, cells, path)
    known, regulators = (np.unique(own[own >= 0]) for own in (order, order[factors]))
    means, n_read = AttentionMeans([names[row] for row in regulators], [names[row] for row in known]), 0
    for (source, splits), trained in zip(cells.sources, of_sets, strict=True):
        if type(trained.model).attended is Model.attended:
            continue
        n = {split: open_split(source, split, trained.recipe, trained.tokenizer).n_cells for split in splits}
        share = min(1.0, MOST_CELLS / len(cells.sources) / sum(n.values()))
        for split in splits:
            n_read += sum(means.add_split(source, trained, split, max(1, int(share * n[split]))))
    of_genes = np.where((order >= 0)[:, None], rows[order].astype(np.float64), np.nan)
    return of_genes, of_all(means.mean(), order, factors) if n_read else None, n_read


def rows_of(place: dict[str, int], cells: Cells, path: str) -> np.ndarray:
    """int64 (G,): row of each gene in a model's table, where `place` has ids or symbols, as its vocabulary does; −1 if none.

    Raises
    ------
    ValueError
        If no gene is there.
    """
    pairs = zip(cells.feature_ids, symbols(cells), strict=True)
    order = np.array([place.get(gene, place.get(name, -1)) for gene, name in pairs])
    if (order < 0).all():
        raise ValueError(
            f"checkpoint:{path} has none of the {len(order):,} genes, such as {cells.feature_ids[0]!r}: it has "
            f"{', '.join(map(repr, list(place)[:2]))}"
        )
    return order


def of_all(means: np.ndarray, order: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """float64 (T, G) of what is known of the rows in `order`: 0 where a gene has none; genes of one row have the same.

    `means` has the rows of the factors, rising, each once, and those of all genes, rising, each once.
    """
    row, column = (np.unique(own[own >= 0], return_inverse=True)[1] for own in (order[factors], order))
    found = np.zeros((len(factors), len(order)))
    found[np.ix_(order[factors] >= 0, order >= 0)] = means[np.ix_(row, column)]
    return found
