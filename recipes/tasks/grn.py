"""Gene regulation: are known targets of a transcription factor the genes that go with it, in cells or in an embedding?"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from .cells import Cells, read_cells
from .genes import components, read_embedding, symbols
from .orthologs import READERS
from .outcome import Outcome

METRICS = ("auprc_ratio", "early_precision_ratio")
HOW = "parts of the transcription factors"
LEAST_TARGETS = 10
LEAST_SHARE = 0.05


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--edges", type=Path, required=True, metavar="FILE", help="table of known edges, a row each")
    parser.add_argument("--source", metavar="COL", default="source", help="column of the factors; default: source")
    parser.add_argument("--target", metavar="COL", default="target", help="column of their targets; default: target")
    parser.add_argument(
        "--genes",
        nargs="+",
        default=[],
        metavar="FILE",
        help="Parquet of a model's genes: columns gene, embedding (lists)",
    )


def run(args: argparse.Namespace) -> Outcome:
    """Judge what tells targets in the sets of `args`."""
    cells = read_cells(args.set, args.split, args.max_cells)
    share = np.diff(cells.counts.tocsc().indptr) / len(cells)
    seen = np.flatnonzero(share >= LEAST_SHARE)
    cells = Cells(
        cells.counts[:, seen],
        cells.obs,
        [cells.feature_ids[i] for i in seen],
        cells.sources,
        cells.ids,
        cells.whole,
        cells.notes,
    )
    names = symbols(cells)
    factors, known, notes = read_edges(args, cells.feature_ids, names)
    if len(factors) < args.splits:
        raise ValueError(
            f"{len(factors)} factors of {args.edges} have {LEAST_TARGETS} targets or more among the {len(names):,} genes: "
            f"{args.splits} --splits need as many"
        )
    notes.insert(
        0,
        f"{len(share) - len(seen):,} of {len(share):,} genes are in less than {LEAST_SHARE:.0%} of the cells: left out",
    )
    values = cells.log_normalized
    found = {
        "co-expression": np.abs(spearman(values, factors)),
        "pca of genes": cosine(components(values, args.seed), factors),
        "expression": np.tile(np.asarray(values.mean(0)).ravel(), (len(factors), 1)),
        "random": np.random.default_rng(args.seed).random((len(factors), len(names))),
    }
    found |= {f"file:{path}": cosine(read_embedding(path, cells.feature_ids, names), factors) for path in args.genes}
    scores = judge(found, factors, known, args.splits, args.seed)
    facts = {"n_factors": len(factors), "n_edges": int(known.sum()), "n_genes": len(names), "n_cells": len(cells)}
    title = f"Targets of {len(factors)} factors, {facts['n_edges']:,} edges, among {len(names):,} genes of {len(cells):,} cells"
    return Outcome(title, scores, METRICS, cells.notes + notes, facts)


def read_edges(
    args: argparse.Namespace, ids: list[str], names: list[str]
) -> tuple[np.ndarray, sparse.csr_matrix, list[str]]:
    """Places (T,) of the factors with ten targets or more among G genes, bool CSR (T, G) of their targets, and notes.

    Genes may be feature ids or symbols. A factor is not its own target.
    """
    if args.edges.suffix not in READERS or not args.edges.is_file():
        raise ValueError(f"--edges {args.edges}: no such file, or none of {', '.join(READERS)}")
    table = READERS[args.edges.suffix](args.edges)
    if missing := [name for name in (args.source, args.target) if name not in table]:
        raise ValueError(
            f"{args.edges} has no column {missing[0]!r}: --source and --target are two of {', '.join(map(repr, table.columns))}"
        )
    place = {gene: i for i, gene in reversed(list(enumerate(names)))} | {gene: i for i, gene in enumerate(ids)}
    edges = pd.DataFrame({"source": table[args.source].map(place), "target": table[args.target].map(place)})
    there = edges.dropna().astype(int).drop_duplicates()
    there = there[there["source"] != there["target"]]
    size = there["source"].value_counts().sort_index()
    factors = size.index[size >= LEAST_TARGETS].to_numpy()
    notes = [f"{len(there):,} of {len(edges):,} edges are between two of the genes"]
    if len(few := size[size < LEAST_TARGETS]):
        notes.append(f"{len(few):,} factors with fewer than {LEAST_TARGETS} targets are not scored")
    own = there[there["source"].isin(factors)]
    rows = np.searchsorted(factors, own["source"])
    known = sparse.csr_matrix((np.ones(len(own), bool), (rows, own["target"])), (len(factors), len(ids)))
    return factors, known, notes


def spearman(values: sparse.csr_matrix, factors: np.ndarray) -> np.ndarray:
    """Spearman correlation over cells of the `factors` (T,) with all genes: float64 (T, G), 0 of a gene that never varies.

    `values` (N, G) are ranked; ranks of zeros, which are equal, are not stored.
    """
    above = values.tocsc().astype(np.float64)
    n = above.shape[0]
    for start, stop in zip(above.indptr, above.indptr[1:], strict=False):
        zeros = n - (stop - start)
        above.data[start:stop] = zeros + rankdata(above.data[start:stop]) - (zeros + 1) / 2
    mean = np.asarray(above.mean(0)).ravel()
    spread = np.sqrt(np.maximum(np.asarray(above.multiply(above).mean(0)).ravel() - mean**2, 0))
    products = (above[:, factors].T @ above).toarray() / n - np.outer(mean[factors], mean)
    scale = np.outer(spread[factors], spread)
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)


def cosine(genes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Size of the cosine of the `factors` (T,) with all genes (G, d): (T, G); NaN, of genes without an embedding, becomes 0."""
    unit = np.nan_to_num(genes / np.maximum(np.linalg.norm(genes, axis=1, keepdims=True), 1e-12))
    return np.abs(unit[factors] @ unit.T)


def judge(
    found: dict[str, np.ndarray], factors: np.ndarray, known: sparse.csr_matrix, n: int, seed: int
) -> pd.DataFrame:
    """Scores of every row, means over each of `n` parts of the factors: the frame of `tasks.table`.

    `found` are weights of edges (T, G) by row, `known` the bool CSR of true ones. AUPRC, and precision among as many genes as a
    factor has targets, are set against the share of targets, which chance would reach.
    """
    order = np.random.default_rng([seed, 1]).permutation(len(factors))
    rows = []
    for name, weights in found.items():
        scores = np.array([_of_factor(weights[i], known[i].toarray().ravel(), factors[i]) for i in range(len(factors))])
        for number in range(n):
            mean = scores[order[number::n]].mean(0)
            row = {"representation": name, "probe": "", "parameter_free": not name.startswith("file:"), "how": HOW}
            rows.append(row | {"split": str(number)} | dict(zip(METRICS, mean.tolist(), strict=True)))
    return pd.DataFrame(rows)


def _of_factor(weights: np.ndarray, known: np.ndarray, own: int) -> tuple[float, float]:
    others = np.arange(len(weights)) != own
    weights, known = weights[others], known[others]
    share = known.mean()
    first = np.argsort(-weights, kind="stable")[: known.sum()]
    return float(average_precision_score(known, weights) / share), float(known[first].mean() / share)
