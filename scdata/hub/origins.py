"""Where the cells of a set come from: sources, datasets, titles, DOIs, licences."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scdata.hub.card_text import in_line, prose, table, thousands

# a dated release; a store of one's own that has its shape is named as well, but says nothing of licences
_CENSUS = re.compile(r"census:\d{4}-\d{2}-\d{2}/\w+")
_MOST_DATASETS = 300  # lines of the card; the manifest has all
_DOI = re.compile(r"(?:https://doi[.]org/)?(10[.][0-9]{4,9}/[^\s|<>()\[\]`]+)")


def license_of(sources: Sequence[Mapping[str, Any]]) -> str:
    """What the Hub calls the licence of all sources: that of CELLxGENE where all come from its Census, else unknown."""
    return "cc-by-4.0" if all(_CENSUS.fullmatch(source["name"]) for source in sources) else "unknown"


def origins(sources: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The section about sources."""
    yield "## Where it comes from"
    yield ""
    rows = [
        (
            f"`{in_line(source['name'])}`",
            prose(", ".join(source.get("organisms", []))),
            thousands(source["n_obs"]),
            f"{thousands(source['n_genes_mapped'])} of {thousands(source['n_genes'])}",
        )
        for source in sources[:_MOST_DATASETS]
    ]
    yield from table(("source", "species", "cells read", "genes mapped"), rows)
    yield from _left_out(len(sources), "sources")
    if any(_CENSUS.fullmatch(source["name"]) for source in sources):
        yield (
            "Sources `census:RELEASE/ORGANISM` are releases of the [CELLxGENE Census](https://chanzuckerberg.github.io/"
            "cellxgene-census/), whose datasets are shared under CC BY 4.0: name the datasets below and CELLxGENE Discover "
            "(doi:10.1093/nar/gkae1142) where you use them."
        )
        yield ""
    if license_of(sources) == "unknown":
        yield (
            "The licences of these files are not known to scdata: whoever publishes the set states them here, and above under "
            "`license:`."
        )
        yield ""
    datasets = [dataset for source in sources for dataset in source.get("datasets", [])]
    if datasets:
        told = [(prose(own.get("title", own["id"])), prose(own.get("collection", "")), _cited(own))
                for own in datasets[:_MOST_DATASETS]]  # fmt: skip
        yield from table(("dataset", "collection", "to cite"), told)
        yield from _left_out(len(datasets), "datasets")


def _cited(dataset: Mapping[str, str]) -> str:
    """The DOI as a link where it is one, else what the source wants cited."""
    if (found := _DOI.fullmatch(dataset.get("doi", ""))) is not None:
        return f"[{prose(found.group(1))}](https://doi.org/{found.group(1)})"
    return prose(dataset.get("citation", dataset.get("doi", "")))


def _left_out(n: int, what: str) -> Iterator[str]:
    if n > _MOST_DATASETS:
        yield f"The first {_MOST_DATASETS} of {thousands(n)} {what}; `manifest.json` names all."
        yield ""
