"""``stats.arrow`` beside a manifest: what ``scdata fit`` found in a set of counts."""

from pathlib import Path
from typing import Any

import numpy as np

from scdata._blocks import Array
from scdata._errors import CorruptShardError, TokenizerError
from scdata.normalize.depth_table import DEPTH_STEPS, VALUE_STEPS
from scdata.shard.arrays import read_arrays, write_arrays
from scdata.shard.shard_set import ShardSet
from scdata.tokens.corpus import CorpusStatistics, FirstPass, Variability, moments_from_arrays, moments_to_arrays

STATISTICS = "stats.arrow"
_VERSION = 1


def statistics_file(path: Path) -> Path:
    """Where the statistics of a set stand."""
    return path / STATISTICS


def write_statistics(shards: ShardSet, found: CorpusStatistics) -> None:
    """Write the statistics of a set, bound to the hash of its manifest."""
    arrays = FirstPass(found.histogram, found.depth).arrays()
    batches: list[dict[str, Any]] = []
    for i, (key, own) in enumerate(found.variability.items()):
        batches.append({"key": key, "names": None if own.batch_names is None else list(own.batch_names)})
        if own.variance is not None:
            arrays[f"{i}.variance"] = own.variance
        if own.normalized is not None:
            arrays |= moments_to_arrays(f"{i}.normalized", own.normalized)
    facts = {
        "version": _VERSION,
        "manifest": shards.manifest_hash,
        "n_genes": found.n_genes,
        "total": found.total,
        "target_sum": None if found.depth is None else found.depth.target_sum,
        "batches": batches,
    }
    write_arrays(statistics_file(shards.path), arrays, facts)


def read_statistics(shards: ShardSet) -> CorpusStatistics | None:
    """The statistics of a set; None if nobody collected them.

    Raises
    ------
    TokenizerError
        If they are of another set that stood here, or of another version.
    CorruptShardError
        If the file is damaged.
    """
    path = statistics_file(shards.path)
    if not path.is_file():
        return None
    try:
        arrays, facts = read_arrays(path)
        if facts.get("manifest") == shards.manifest_hash and facts.get("version") == _VERSION:
            if facts["n_genes"] != len(shards.var):
                raise ValueError(f"it is of {facts['n_genes']} genes, the set has {len(shards.var)}")
            return _statistics(arrays, facts)
    except (ValueError, KeyError, TypeError, IndexError, MemoryError) as error:
        raise CorruptShardError(f"{path}: {error}: delete it and run `scdata fit {shards.path}` again") from error
    raise TokenizerError(f"{path} is of another set or version: run `scdata fit {shards.path}` again")


def _statistics(arrays: dict[str, Array], facts: dict[str, Any]) -> CorpusStatistics:
    target_sum = facts["target_sum"]
    first = FirstPass.from_arrays(arrays, None if target_sum is None else float(target_sum))
    variability = {}
    for i, batch in enumerate(facts["batches"]):
        names = None if batch["names"] is None else tuple(map(str, batch["names"]))
        moments = moments_from_arrays(f"{i}.normalized", arrays)
        variability[batch["key"]] = Variability(arrays.get(f"{i}.variance"), moments, names)
    _check(first, variability, facts["n_genes"])
    return CorpusStatistics(int(facts["n_genes"]), str(facts["total"]), first.histogram, first.depth, variability)


def _check(first: FirstPass, variability: dict[str | None, Variability], n_genes: int) -> None:
    """Refuse numbers that no corpus gives; a file may have been made to harm."""
    histogram, depth = first.histogram, first.depth
    if histogram is not None:
        key, count = histogram.key, histogram.count
        one = key.ndim == count.ndim == 1 and len(key) == len(count)
        if not one or (np.diff(key) <= 0).any() or (count <= 0).any() or not histogram.fits(n_genes):
            raise ValueError("its histogram is not one of these genes")
    if depth is not None:
        shapes = depth.values.shape == (DEPTH_STEPS, VALUE_STEPS) and depth.cells.shape == (DEPTH_STEPS,)
        if not shapes or depth.values.min() < 0 or depth.cells.min() < 0:
            raise ValueError("its table of depths has another shape, or counts below 0")
    for own in variability.values():
        if own.variance is not None and (
            own.variance.ndim != 2 or own.variance.shape[1] != n_genes or not np.isfinite(own.variance).all()
        ):
            raise ValueError("its variances are not finite numbers of these genes")
        if own.normalized is not None:
            m = own.normalized
            shape = (len(m.batches), n_genes)
            parts = (m.expressing, m.total, m.squares.high, m.squares.low)
            if m.n_cells.shape != shape[:1] or any(part.shape != shape or part.min(initial=0) < 0 for part in parts):
                raise ValueError("its moments are not those of these genes")
