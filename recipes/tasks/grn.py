"""Gene regulation: are known targets of a transcription factor the genes that go with it, in cells or in a model?"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from .cells import Cells, read_cells
from .checkpoint_genes import genes_and_attention
from .genes import components, read_embedding, read_weights, symbols
from .outcome import Outcome
from .progress import PROGRESS
from .trees import MOST_CELLS, N_TREES, importances

READERS = {".parquet": pd.read_parquet, ".csv": pd.read_csv, ".tsv": lambda path: pd.read_csv(path, sep="\t")}
METRICS = ("auprc_ratio", "early_precision_ratio")
HOW = "parts of the transcription factors"
LEAST_TARGETS = 10
LEAST_SHARE = 0.05
Row = tuple[str, str]  # representation and probe


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
    parser.add_argument(
        "--attention",
        nargs="+",
        default=[],
        metavar="FILE",
        help="Parquet of a model's weights of edges: columns source, target, attention; attention.py writes it",
    )
    parser.add_argument(
        "--representation",
        nargs="+",
        default=[],
        metavar="checkpoint:PATH",
        help="a recipe's checkpoint: its embeddings of genes, and its attention, both read here on the CPU",
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
    found = weights_of_models(args, cells, factors, names, notes) | weights_without(
        cells.log_normalized, factors, args.seed
    )
    notes.append(f"trees: {N_TREES} a gene, on {min(MOST_CELLS, len(cells)):,} cells")
    by_factor = score_factors(found, factors, known)
    scores = over_parts(by_factor, args.splits, args.seed)
    by_factor["factor"] = [names[i] for i in by_factor["factor"]]
    facts = {"n_factors": len(factors), "n_edges": int(known.sum()), "n_genes": len(names), "n_cells": len(cells)}
    title = f"Targets of {len(factors)} factors, {facts['n_edges']:,} edges, among {len(names):,} genes of {len(cells):,} cells"
    return Outcome(title, scores, METRICS, cells.notes + notes, facts, {"by_factor.csv": by_factor})


def weights_without(values: sparse.csr_matrix, factors: np.ndarray, seed: int) -> dict[Row, np.ndarray]:
    """Weights of edges (T, G) that need no model, from log-normalized cells (N, G)."""
    n_genes = values.shape[1]
    PROGRESS.starts(f"co-expression and trees of {n_genes:,} genes")
    return {
        ("co-expression", ""): np.abs(spearman(values, factors)),
        ("trees", ""): importances(values, factors, seed),
        ("pca of genes", ""): cosine(components(values, seed), factors),
        ("expression", ""): np.tile(np.asarray(values.mean(0)).ravel(), (len(factors), 1)),
        ("random", ""): np.random.default_rng(seed).random((len(factors), n_genes)),
    }


def weights_of_models(
    args: argparse.Namespace, cells: Cells, factors: np.ndarray, names: list[str], notes: list[str]
) -> dict[Row, np.ndarray]:
    """Weights of edges (T, G) of what `args` name; what was left out is said in `notes`."""
    found: dict[Row, np.ndarray] = {}
    for path in args.genes:
        found[f"file:{path}", "genes"] = cosine(read_embedding(path, cells.feature_ids, names), factors)
    for path in args.attention:
        found[f"file:{path}", "attention"] = read_weights(path, factors, cells.feature_ids, names)
    for name in args.representation:
        kind, _, path = name.partition(":")
        if kind != "checkpoint" or not path:
            raise ValueError(f"--representation {name}: expected checkpoint:PATH; files go to --genes and --attention")
        PROGRESS.starts(f"genes and attention of {name}, on the CPU")
        genes, attention, n = genes_and_attention(path, cells, factors)
        found[name, "genes"] = cosine(genes, factors)
        if attention is None:
            notes.append(f"{name} has no attention between genes")
            continue
        found[name, "attention"] = attention
        missing = 1 - (attention > 0).mean()
        notes.append(
            f"{name}: attention over {n:,} cells, in which {missing:.0%} of the pairs never meet: those come last"
        )
    return found


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


def score_factors(found: dict[Row, np.ndarray], factors: np.ndarray, known: sparse.csr_matrix) -> pd.DataFrame:
    """Scores of every row for every factor: ``representation``, ``probe``, ``factor`` (its place), ``n_targets`` and metrics.

    `found` are weights of edges (T, G) by row, `known` the bool CSR of true ones. AUPRC, and precision among as many genes as a
    factor has targets, are set against the share of targets, which chance would reach.
    """
    rows = []
    for (name, probe), weights in found.items():
        PROGRESS.starts(f"scoring {name}")
        for factor, own, targets in zip(factors, weights, known, strict=True):
            scores = _of_factor(own, targets.toarray().ravel(), factor)
            row = {"representation": name, "probe": probe, "factor": factor, "n_targets": targets.nnz}
            rows.append(row | dict(zip(METRICS, scores, strict=True)))
    return pd.DataFrame(rows)


def over_parts(by_factor: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Means over each of `n` parts of the factors: the frame of `tasks.table`."""
    factors = by_factor["factor"].unique()
    order = np.random.default_rng([seed, 1]).permutation(len(factors))
    part = {factor: str(place % n) for place, factor in enumerate(factors[order])}
    split = by_factor["factor"].map(part).rename("split")
    keys = [by_factor["representation"], by_factor["probe"], split]
    means = by_factor.groupby(keys, sort=False)[list(METRICS)].mean().reset_index()
    free = ~means["representation"].str.startswith(("file:", "checkpoint:"))
    return means.assign(parameter_free=free, how=HOW).sort_values("split", kind="stable", ignore_index=True)


def _of_factor(weights: np.ndarray, known: np.ndarray, own: int) -> tuple[float, float]:
    others = np.arange(len(weights)) != own
    weights, known = weights[others], known[others]
    share = known.mean()
    first = np.argsort(-weights, kind="stable")[: known.sum()]
    return float(average_precision_score(known, weights) / share), float(known[first].mean() / share)
