"""``stats.arrow`` beside a manifest: what ``scdata fit`` found in a set of counts."""

from pathlib import Path

from scdata._config import from_table, to_table
from scdata._errors import CorruptShardError, TokenizerError
from scdata.shard.arrays import read_arrays, write_arrays
from scdata.shard.shard_set import ShardSet
from scdata.tokens.corpus import CorpusStatistics, FirstPass, Wanted

STATISTICS = "stats.arrow"
_VERSION = 1


def statistics_file(path: str | Path) -> Path:
    """Where the statistics of a set stand."""
    return Path(path) / STATISTICS


def write_statistics(shards: ShardSet, found: CorpusStatistics) -> None:
    """Write the statistics of a set, bound to the hash of its manifest."""
    arrays = found.first.arrays()
    if found.variance is not None:
        arrays["variance"] = found.variance
    facts = {
        "version": _VERSION,
        "manifest": shards.manifest_hash,
        "n_genes": found.n_genes,
        "wanted": to_table(found.wanted),
        "batch_names": None if found.batch_names is None else list(found.batch_names),
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
        stale = facts.get("manifest") != shards.manifest_hash or facts.get("version") != _VERSION
        if not stale:
            wanted = from_table(Wanted, facts["wanted"], str(path))
            names = facts["batch_names"]
            variance = arrays.pop("variance", None)
            first = FirstPass.from_arrays(arrays, wanted.target_sum)
            return CorpusStatistics(
                int(facts["n_genes"]), wanted, first, variance, None if names is None else tuple(names)
            )
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptShardError(f"{path}: {error}: delete it and run `scdata fit {shards.path}` again") from error
    raise TokenizerError(f"{path} is of another set or version: run `scdata fit {shards.path}` again")
