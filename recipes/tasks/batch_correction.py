"""Batch correction: are cells of one label near each other, and mixed over batches? By scib-metrics, without any training."""

import argparse
import warnings
from collections.abc import Sequence
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from .annotation import labelled
from .cells import Cells, read_cells
from .outcome import Outcome
from .parameter_free import pca, principal_components
from .progress import PROGRESS
from .representations import Representation
from .splits import stratified

METRICS = ("total", "bio_conservation", "batch_correction")
HARMONY = "pca + harmony"
_MOST_NEIGHBORS = 90  # of LISI


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--labels", metavar="COL", default="cell_type", help="obs column to keep; default: cell_type")
    parser.add_argument("--batch", metavar="COL", default="batch", help="obs column to mix; default: batch")


def run(args: argparse.Namespace, representations: Sequence[Representation]) -> Outcome:
    """Judge representations on the sets of `args`."""
    benchmark = _scib()
    cells = labelled(read_cells(args.set, args.split, args.max_cells), args.labels, args.splits)
    batches = cells.column(args.batch, "--batch")
    if (n := int(batches.isna().sum())) > 0:
        cells = cells.take(batches.notna().to_numpy(), f"{n:,} cells without a {args.batch} are left out")
    labels, batches = (cells.column(name, "labels").to_numpy(str) for name in (args.labels, args.batch))
    if len(np.unique(batches)) < 2:
        raise ValueError(f"obs column {args.batch!r} has one value in these cells, {batches[0]!r}: no batches to mix")
    scores = judge(cells, labels, batches, representations, args.splits, args.seed, benchmark)
    facts = {"labels": args.labels, "batch": args.batch, "n_cells": len(cells), "n_genes": len(cells.feature_ids)}
    title = f"Batch correction over {len(np.unique(batches))} values of {args.batch}, {args.labels} kept: {len(cells):,} cells"
    return Outcome(title, scores, METRICS, cells.notes, facts)


def judge(
    cells: Cells,
    labels: np.ndarray,
    batches: np.ndarray,
    representations: Sequence[Representation],
    n_splits: int,
    seed: int,
    benchmark: Any,
) -> pd.DataFrame:
    """Scores of every representation, and of `harmony`, on `n_splits` samples, each of which leaves out another stratified
    part of the cells: the frame of `tasks.table`, with a column for each metric of scib-metrics (`benchmark` is its module)."""
    kept = [split.train for split in stratified(labels, n_splits, seed)]
    # compiled code is made anew for another number of cells
    n = min(map(len, kept))
    if n <= _MOST_NEIGHBORS:
        raise ValueError(
            f"{n} cells in a sample: scib-metrics asks for {_MOST_NEIGHBORS} neighbours, so for more cells than that"
        )
    parts = []
    for number, rows in enumerate(rows[:n] for rows in kept):
        arrays = {}
        for each in representations:
            features = each.features(cells, rows, seed)
            if sparse.issparse(features):
                features = principal_components(features, rows, seed)
            arrays[each.name] = features[rows]
            PROGRESS.done(f"sample {number}: {each.name}")
        before = pca(cells, rows, seed)[rows]
        arrays[HARMONY] = harmony(before, batches[rows], seed)
        first = ", of which the first is compiled for two minutes" if number == 0 else ""
        PROGRESS.starts(f"scib-metrics on sample {number} of {n_splits}{first}")
        scores = scib_scores(arrays, before, labels[rows], batches[rows], benchmark)
        free = [*(each.parameter_free for each in representations), True]
        parts.append(
            scores.assign(probe="", parameter_free=free, how=f"samples of {n:,} cells", split=str(number), n_cells=n)
        )
    return pd.concat(parts, ignore_index=True)


def harmony(features: np.ndarray, batches: np.ndarray, seed: int) -> np.ndarray:
    """Principal components (N, d) corrected for batches (N,) by Harmony (Korsunsky et al., Nature Methods 2019) with its own
    defaults: float32 (N, d). It sees no labels."""
    from harmonypy import run_harmony

    table = pd.DataFrame({"batch": batches})
    found = run_harmony(features.astype(np.float64), table, "batch", verbose=False, random_state=seed, ncores=1)
    return np.asarray(found.Z_corr, np.float32)


def scib_scores(
    arrays: dict[str, np.ndarray], before: np.ndarray, labels: np.ndarray, batches: np.ndarray, benchmark: Any
) -> pd.DataFrame:
    """Metrics of embeddings of N cells, by scib-metrics' own defaults and weights.

    Parameters
    ----------
    arrays
        Floats (N, d) by name.
    before
        Floats (N, d): the cells as they are when nothing was corrected, for the comparison of principal components.
    labels, batches
        Strings (N,).
    benchmark
        ``scib_metrics.benchmark``.

    Returns
    -------
    DataFrame
        A row for each of `arrays`: ``representation``, ``total`` (0.6 bio, 0.4 batch), ``bio_conservation``,
        ``batch_correction``, and their parts. Means leave out what is not defined (NaN).
    """
    names = [f"x{i}" for i in range(len(arrays))]
    obs = pd.DataFrame({"label": labels, "batch": batches}, dtype="category")
    obs.index = obs.index.astype(str)
    data = anndata.AnnData(obs=obs, obsm=dict(zip(names, arrays.values(), strict=True)) | {"before": before})
    with warnings.catch_warnings():
        # of its dependencies
        warnings.simplefilter("ignore")
        bench = benchmark.Benchmarker(
            data, "batch", "label", names, pre_integrated_embedding_obsm_key="before", progress_bar=False
        )
        bench.prepare(neighbor_computer=_neighbors)
        bench.benchmark()
        found = bench.get_results(min_max_scale=False, clean_names=False).loc[names]
    found.columns = [name.lower().replace(" ", "_") for name in found.columns]
    return found.astype(float).assign(representation=list(arrays)).reset_index(drop=True)


def _neighbors(features: np.ndarray, n: int) -> Any:
    """The n nearest cells of each, itself first: exact, where scib-metrics would approximate."""
    from scib_metrics.nearest_neighbors import NeighborsResults

    distances, indices = NearestNeighbors(n_neighbors=n).fit(features).kneighbors(features)
    return NeighborsResults(indices=indices, distances=distances)


def _scib() -> Any:
    try:
        import harmonypy  # noqa: F401
        from scib_metrics import benchmark
    except ModuleNotFoundError as error:
        raise ValueError(
            f"batch-correction needs scib-metrics and harmonypy ({error.name} is not installed): "
            "pip install 'scdata-engine[eval]'"
        ) from error
    return benchmark
