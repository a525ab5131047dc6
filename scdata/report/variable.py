"""Highly variable genes of a set that ``scdata fit`` went through."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from scdata._blocks import Array
from scdata._errors import ScdataError
from scdata.normalize.hvg_seurat_v3 import select_seurat_v3
from scdata.report.tally import Tally
from scdata.shard.block import COUNTS
from scdata.shard.set_statistics import read_statistics
from scdata.shard.shard_set import ShardSet

N_TOP = 2000  # scanpy's own
N_LISTED = 20


@dataclass(frozen=True)
class VariableGenes:
    """What is drawn, and what is listed.

    Parameters
    ----------
    mean, variance
        float64 (G,): mean count, and normalized variance of flavor ``seurat_v3``, mean over batches.
    chosen
        bool (G,): the most variable ones.
    listed
        The first of them: ``gene``, ``id``, ``mean``, ``variance``.
    batch_key
        obs column of batches; None: none.
    """

    mean: Array
    variance: Array
    chosen: Array
    listed: list[dict[str, Any]]
    batch_key: str | None


def variable_genes(shards: ShardSet, found: Tally) -> VariableGenes | str:
    """Variable genes of a set, or why there are none."""
    if shards.encoding != COUNTS or found.counts is None:
        return "This set holds tokens; variable genes are chosen over counts (`scdata build --genes hvg:N`, or `scdata fit`)."
    try:
        statistics = read_statistics(shards)
    except ScdataError as error:
        return f"{error}".replace(str(shards.path), shards.path.name)
    if statistics is None:
        return f"Not worked out yet: run `scdata fit {shards.path.name}`, then make this report again."
    variances = {key: own.variance for key, own in statistics.variability.items() if own.variance is not None}
    if not variances:
        return "The set is too small for a trend of variance (flavor seurat_v3)."
    # without batches where that is there, else by the first batch key that was fitted
    key = min(variances, key=lambda key: (key is not None, key or ""))
    own = variances[key]
    # statistics are over the set's genes in order of their ids
    order = np.argsort(np.array(shards.var["feature_id"].to_pylist(), object), kind="stable")
    mean, variance = found.counts[order] / max(1, found.n_cells), own.mean(axis=0)
    chosen = np.zeros(len(order), bool)
    chosen[select_seurat_v3(own, min(N_TOP, len(order)))] = True
    first = np.lexsort((np.arange(len(order)), -variance))[:N_LISTED]
    ids, names = (shards.var[name] for name in ("feature_id", "feature_name"))
    listed = [
        {
            "gene": names[i].as_py() or ids[i].as_py(),
            "id": ids[i].as_py(),
            "mean": float(mean[j]),
            "variance": float(variance[j]),
        }
        for j in first.tolist()
        for i in [int(order[j])]
    ]
    return VariableGenes(mean, variance, chosen, listed, key)
