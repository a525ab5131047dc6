"""What was left out of a set, in a few lines; the manifest has every dataset."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from scdata.shard.shard_set import ShardSet


def drop_lines(drops: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line a reason, such as ``dropped 172 cells: no counts (4 datasets)``.

    Parameters
    ----------
    drops
        From the manifest: ``dataset``, ``reason``, ``n_cells``.
    """
    for reason in dict.fromkeys(drop["reason"] for drop in drops):
        own = [drop for drop in drops if drop["reason"] == reason]
        where = own[0]["dataset"] if len(own) == 1 else f"{len(own)} datasets"
        yield f"  dropped {sum(drop['n_cells'] for drop in own):,} cells: {reason} ({where})"


def drop_table(shards: ShardSet) -> list[dict[str, Any]]:
    """What became of every cell that was read, one entry a dataset name: ``read``, ``kept``, and ``dropped`` by reason."""
    kept: Counter[str] = Counter()
    for split in shards.splits:
        for shard in shards.shards(split):
            column = shards.read_obs_of(split, int(shard["shard"]), ["dataset"])["dataset"].combine_chunks()
            kept.update(column.cast(pa.string()).to_pylist())
    return drop_accounts(shards.manifest["drops"], kept)


def drop_accounts(drops: Sequence[Mapping[str, Any]], kept: Mapping[str, int]) -> list[dict[str, Any]]:
    """What `drop_table` gives.

    Parameters
    ----------
    drops
        From the manifest: ``dataset``, ``reason``, ``n_cells``.
    kept
        Cells of the set by the name of their dataset.
    """
    dropped: dict[str, dict[str, int]] = {}
    for drop in drops:
        own = dropped.setdefault(drop["dataset"], {})
        own[drop["reason"]] = own.get(drop["reason"], 0) + drop["n_cells"]
    return [
        {
            "dataset": name,
            "read": kept.get(name, 0) + sum(dropped.get(name, {}).values()),
            "kept": kept.get(name, 0),
            "dropped": dropped.get(name, {}),
        }
        for name in sorted({*kept, *dropped})
    ]
