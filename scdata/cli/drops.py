"""What was left out of a set, in a few lines; the manifest has every dataset."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


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
