"""Which genes were measured, and in how many cells they were detected."""

from typing import Any

import numpy as np

from scdata._blocks import I64
from scdata.report.tally import Tally
from scdata.shard.shard_set import ShardSet

N_GENES = 20  # of a list
_STEPS = 20  # of the histogram of shares


def genes_of(shards: ShardSet, found: Tally) -> dict[str, Any]:
    """The most and least detected and the least measured genes, and how many lie between.

    A gene is measured in all cells of the datasets that measured it, and detected where its count is above 0 (in a set of
    tokens: where it is a token, so what a preset left out or cut off counts as not detected).

    Returns
    -------
    dict
        ``n``; ``measured_everywhere``, ``measured_nowhere``, ``never_detected`` (among those that were measured);
        ``most_detected``, ``least_detected`` (by share of the cells that were measured), ``least_measured``: lists of
        ``gene``, ``id``, ``measured`` and ``detected`` (cells), ``counts`` (sum; None for tokens);
        ``histogram``: genes by share of detecting cells, 20 steps from 0 to 1, measured genes that are never detected left out.
    """
    cells = found.cells.sum(axis=0)
    measured = cells @ shards.measured.astype(np.int64)
    detected, n = found.detected, found.n_cells
    there = np.flatnonzero(measured > 0)
    share = detected[there] / measured[there]
    # equal shares: the gene that more cells measured says more; then the order of the set
    falling = there[np.lexsort((there, -measured[there], -share))]
    rising = there[np.lexsort((there, -measured[there], share))]
    rare = np.lexsort((np.arange(len(measured)), measured))
    partly = rare[measured[rare] < n]
    shown = share[detected[there] > 0]
    return {
        "n": len(measured),
        "measured_everywhere": int((measured == n).sum()) if n else 0,
        "measured_nowhere": len(measured) - len(there),
        "never_detected": int((detected[there] == 0).sum()),
        "most_detected": _rows(shards, found, measured, falling[:N_GENES]),
        "least_detected": _rows(shards, found, measured, rising[:N_GENES]),
        "least_measured": _rows(shards, found, measured, partly[:N_GENES]),
        "histogram": np.histogram(np.minimum(shown, 1.0), _STEPS, (0, 1))[0].tolist(),
    }


def _rows(shards: ShardSet, found: Tally, measured: I64, genes: I64) -> list[dict[str, Any]]:
    ids, names = (shards.var[name] for name in ("feature_id", "feature_name"))
    return [
        {
            "gene": names[i].as_py() or ids[i].as_py(),
            "id": ids[i].as_py(),
            "measured": int(measured[i]),
            "detected": int(found.detected[i]),
            "counts": None if found.counts is None else int(found.counts[i]),
        }
        for i in genes.tolist()
    ]
