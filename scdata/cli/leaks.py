"""What stands twice in a set, or on two sides of a split, in a few lines."""

from collections.abc import Iterator, Mapping
from typing import Any


def leak_lines(manifest: Mapping[str, Any]) -> Iterator[str]:
    """A line about exact copies, and one for each pair of splits that share cells; none if a manifest tells nothing."""
    found = manifest.get("duplicates")
    if found is None or not found["copies"]:
        return
    where = f", {found['across_datasets']:,} of them across datasets" if found["across_datasets"] else ""
    leaked = f"; {found['leaked']:,} of them stand in another split than the first" if found["leaked"] else ""
    yield f"  {found['copies']:,} cells are copies of others ({found['groups']:,} groups{where}){leaked}"
    for pair in found["between_splits"]:
        (a, b), (n_a, n_b) = pair["splits"], pair["n_cells"]
        yield (
            f"  leak: {n_a:,} cells of {a} equal {n_b:,} of {b}: --drop-duplicates keeps the first of each, or split by a "
            "column that keeps them together (--split NAME=FRACTION:COL)"
        )
