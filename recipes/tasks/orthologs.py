"""Genes of two species brought to one axis, by a table of orthologs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scdata import read_orthologs


@dataclass(frozen=True)
class Orthologs:
    """K genes of both species: `names`, those of the first (of a family of genes ``"first+2"``: two more are in it), and
    for each species a CSR of ones (G, K), by which counts (N, G) are multiplied."""

    names: list[str]
    maps: tuple[sparse.csr_matrix, sparse.csr_matrix]


def read_pairs(path: Path, one: list[str], other: list[str], families: bool = False) -> pd.DataFrame:
    """Pairs of genes from a table.

    Parameters
    ----------
    path
        ``.parquet``, ``.csv`` or ``.tsv`` with a column of gene ids for each species, such as an export of Ensembl BioMart.
    one, other
        Feature ids of two sets. The column that has most of the ids of a set is taken for it.
    families
        True: also pairs of genes that stand in several.

    Returns
    -------
    DataFrame
        Columns ``one`` and ``other``, each pair once, in the order of the table.

    Raises
    ------
    ScdataError, ValueError
        If there is no such table, or no column with ids of a set.
    """
    table = read_orthologs(path)
    columns = []
    for of, ids in (("first", one), ("second", other)):
        there = set(ids)
        found = {name: sum(gene in there for gene in genes) for name, genes in table.columns.items()}
        best = max(found, key=lambda name: found[name])
        if not found[best]:
            raise ValueError(
                f"{path} has no gene of the {of} set, such as {ids[0]!r}, in any of its columns "
                f"{', '.join(map(repr, table.columns))}: ids of the same kind are needed, such as Ensembl's"
            )
        columns.append(best)
    if columns[0] == columns[1]:
        raise ValueError(
            f"{path}: both sets have their genes in column {columns[0]!r}: leave out --orthologs if one of them was built so, "
            "else one species is not two"
        )
    return pd.DataFrame(table.pairs(*columns, one_to_one=not families), columns=["one", "other"])


def match(pairs: pd.DataFrame, one: list[str], other: list[str]) -> Orthologs:
    """The genes that two sets can be compared on: of genes that are linked by pairs, directly or through others, counts are
    summed in each species.

    Parameters
    ----------
    pairs
        As `read_pairs` gives them.
    one, other
        Feature ids of the sets.

    Raises
    ------
    ValueError
        If no gene is left.
    """
    left, right = pd.Index(one), pd.Index(other)
    # family of each gene of the table
    genes = [pd.Index(pairs[name].unique()) for name in ("one", "other")]
    codes = [genes[0].get_indexer(pairs["one"]), genes[1].get_indexer(pairs["other"]) + len(genes[0])]
    n = len(genes[0]) + len(genes[1])
    links = sparse.coo_matrix((np.ones(len(pairs)), codes), (n, n))
    _, family = connected_components(links, directed=False)
    members = [left.get_indexer(genes[0]), right.get_indexer(genes[1])]
    families_of = [family[: len(genes[0])], family[len(genes[0]) :]]
    there = [own[place >= 0] for own, place in zip(families_of, members, strict=True)]
    both = np.intersect1d(*there)
    if not len(both):
        raise ValueError("no gene of the first set has an ortholog in the second: are the ids those of the table?")
    maps = []
    for place, own, ids in zip(members, families_of, (left, right), strict=True):
        known = (place >= 0) & np.isin(own, both)
        rows, columns = place[known], np.searchsorted(both, own[known])
        maps.append(sparse.csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), (len(ids), len(both))))
    size = np.asarray(maps[0].sum(0)).ravel()
    first = np.asarray(maps[0].argmax(0)).ravel()
    names = [one[gene] + (f"+{n - 1}" if n > 1 else "") for gene, n in zip(first, size, strict=True)]
    return Orthologs(names, (maps[0], maps[1]))


def same_ids(one: list[str], other: list[str]) -> pd.DataFrame:
    """Pairs of the genes that two sets have in common, for sets of one gene space, as `read_pairs` gives them.

    Raises
    ------
    ValueError
        If there are none.
    """
    shared = sorted(set(one) & set(other))
    if not shared:
        raise ValueError(
            f"the sets have no gene in common (the first has {one[0]!r}, the second {other[0]!r}): name a table of orthologs "
            "with --orthologs, or build one of them with scdata build --orthologs FILE"
        )
    return pd.DataFrame({"one": shared, "other": shared})


def lost(name: str, counts: sparse.csr_matrix, to: sparse.csr_matrix) -> str:
    """What a set loses, in a sentence: `counts` (N, G) and its map (G, K)."""
    by_gene = np.asarray(counts.sum(0)).ravel()
    kept = np.diff(to.indptr) > 0
    return (
        f"{name}: {int((~kept).sum()):,} of {len(kept):,} genes are lost, and with them "
        f"{1 - by_gene[kept].sum() / by_gene.sum():.1%} of the counts"
    )
