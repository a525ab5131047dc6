"""Genes as rows: their names, and embeddings of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.decomposition import PCA

from .cells import Cells

N_COMPONENTS = 50


def symbols(cells: Cells) -> list[str]:
    """A name for each gene of the cells: its symbol, where the set has one, else its feature id."""
    table = pd.read_parquet(Path(cells.sources[0][0]) / "var.parquet").set_index("feature_id")
    names = next((table[name] for name in ("gene_symbol", "feature_name") if name in table), pd.Series(dtype=object))
    names = names.reindex(cells.feature_ids)
    return [str(name) if isinstance(name, str) and name else gene for gene, name in names.items()]


def components(values: sparse.csr_matrix, seed: int) -> np.ndarray:
    """The genes (G) of log-normalized cells (N, G) as float64 (G, k), k = 50 or what there is: covariances with the first
    principal components of the cells, in units of their standard deviations."""
    n = min(N_COMPONENTS, min(values.shape) - 1)
    fitted = PCA(n, svd_solver="arpack", random_state=seed).fit(values)
    return fitted.components_.T * np.sqrt(fitted.explained_variance_)


def read_embedding(path: str, ids: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Embeddings of genes from a Parquet file.

    Parameters
    ----------
    path
        Columns ``gene`` (feature ids or symbols) and ``embedding`` (a list of floats), each gene once.
    ids, names
        Feature id and name of each of G genes.

    Returns
    -------
    ndarray
        float64 (G, d), NaN for genes that the file does not have.

    Raises
    ------
    ValueError
        If there is no such file or column, no gene of these, one twice, or a value that is not finite.
    """
    if not Path(path).is_file():
        raise ValueError(f"--genes {path}: there is no such file")
    table = pd.read_parquet(path)
    if not {"gene", "embedding"} <= set(table):
        raise ValueError(f"{path} needs columns 'gene' and 'embedding': it has {', '.join(map(repr, table.columns))}")
    index = pd.Index(table["gene"].astype(str))
    if not index.is_unique:
        raise ValueError(f"{path} has gene {index[index.duplicated()][0]!r} more than once")
    place = np.maximum(index.get_indexer(list(ids)), index.get_indexer(list(names)))
    if (place < 0).all():
        raise ValueError(f"{path} has none of the {len(ids):,} genes of the set, such as {ids[0]!r} or {names[0]!r}")
    array = np.stack([np.asarray(row, np.float64) for row in table["embedding"]])
    if not np.isfinite(array).all():
        raise ValueError(f"{path} has values that are not finite")
    return np.where((place >= 0)[:, None], array[place], np.nan)


def read_weights(path: str, factors: np.ndarray, ids: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Weights of edges from a Parquet file, such as a model's attention.

    Parameters
    ----------
    path
        Columns ``source``, ``target`` (feature ids or symbols) and ``attention`` (a number, more for what is more likely an
        edge), each pair once.
    factors
        Places (T,) of the regulators among G genes.
    ids, names
        Feature id and name of each gene.

    Returns
    -------
    ndarray
        float64 (T, G); of a pair that the file does not have less than of all that it has.

    Raises
    ------
    ValueError
        If there is no such file or column, no pair of these genes, one twice, or a value that is not finite.
    """
    if not Path(path).is_file():
        raise ValueError(f"--attention {path}: there is no such file")
    table = pd.read_parquet(path)
    if not {"source", "target", "attention"} <= set(table):
        raise ValueError(
            f"{path} needs columns 'source', 'target' and 'attention': it has {', '.join(map(repr, table.columns))}"
        )
    place = {gene: i for i, gene in reversed(list(enumerate(names)))} | {gene: i for i, gene in enumerate(ids)}
    row = table["source"].map(place).map({gene: i for i, gene in enumerate(factors)})
    column = table["target"].map(place)
    there = (row.notna() & column.notna()).to_numpy()
    if not there.any():
        raise ValueError(f"{path} has no pair of the {len(factors):,} factors and {len(ids):,} genes of the set")
    at = (row[there].astype(int).to_numpy(), column[there].astype(int).to_numpy())
    weights = table["attention"].to_numpy(np.float64)[there]
    if not np.isfinite(weights).all():
        raise ValueError(f"{path} has values that are not finite")
    found = np.full((len(factors), len(ids)), np.nan)
    found[at] = weights
    if len(weights) > (n := int(np.isfinite(found).sum())):
        raise ValueError(f"{path} has {len(weights) - n:,} pairs more than once")
    return np.nan_to_num(found, nan=weights.min() - 1)
