"""What was lost where the genes of a source were read as orthologs, in a few lines."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def ortholog_lines(sources: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each source that was read as orthologs.

    Parameters
    ----------
    sources
        From the manifest.
    """
    for source in sources:
        if "orthologs" not in source:
            continue
        own = source["orthologs"]
        lost = sorted(each["lost_counts"] / max(1, each["total_counts"]) for each in own["lost"])
        share = f"{lost[0]:.1%}" if len(lost) == 1 else f"{lost[0]:.1%} to {lost[-1]:.1%}, by dataset,"
        yield (
            f"  {source['name']}: {own['n_kept']:,} of {source['n_genes']:,} genes stand for orthologs ({own['column']} to "
            f"{own['to']}); {own['n_without']:,} without one and {own['n_ambiguous']:,} with an ambiguous one are not there, "
            f"and with all that the set lacks {share} of the counts"
        )
