"""What stands twice in a set, or on two sides of a split, in a few lines."""

from collections.abc import Iterator, Mapping
from typing import Any


def leak_lines(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Lines about exact copies, and about groups that splits share; none of what an older manifest does not tell."""
    if (found := manifest.get("duplicates")) is not None and found["copies"]:
        yield from _copies(found)
    if (groups := manifest.get("groups")) is not None:
        for own in groups["checked"]:
            yield _groups(own)
        if groups["unchecked"]:
            names = ", ".join(groups["unchecked"])
            yield f"  not checked for leaks, because they are not stored as strings (see --obs): {names}"


def _copies(found: Mapping[str, Any]) -> Iterator[str]:
    where = f", {found['across_datasets']:,} of them across datasets" if found["across_datasets"] else ""
    leaked = f"; {found['leaked']:,} of them stand in another split than the first" if found["leaked"] else ""
    yield f"  {found['copies']:,} cells are copies of others ({found['groups']:,} groups{where}){leaked}"
    for pair in found["between_splits"]:
        (a, b), (n_a, n_b) = pair["splits"], pair["n_cells"]
        yield (
            f"  leak: {n_a:,} cells of {a} equal {n_b:,} of {b}: --drop-duplicates keeps the first of each, or split by a "
            "column that keeps them together (--split NAME=FRACTION:COL)"
        )


def _groups(own: Mapping[str, Any]) -> str:
    if not own["shared"]:
        return f"  no leak: each of the {own['groups']:,} values of {own['column']} stands in one split"
    return (
        f"  leak: {own['shared']:,} of {own['groups']:,} values of {own['column']} stand in several splits, with "
        f"{own['n_cells']:,} cells: --split NAME=FRACTION:{own['column']} keeps them whole"
    )
