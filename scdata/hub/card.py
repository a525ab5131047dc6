"""The dataset card of a set: what its manifest says, for people and for the Hub."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scdata.hub.card_text import in_line, prose, table, thousands
from scdata.hub.loading_text import loading
from scdata.hub.origins import license_of, origins
from scdata.hub.preview import N_CELLS, PREVIEW
from scdata.shard.block import COUNTS
from scdata.shard.roles import roles_of
from scdata.shard.shard_set import ShardSet

CARD = "README.md"
_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
_SIZE_NAMES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "n>1B")


def tag_of(shards: ShardSet) -> str:
    """The tag under which a set stays on the Hub: it follows from the manifest, so the card can name it."""
    return f"set-{shards.manifest_hash[:12]}"


def dataset_card(shards: ShardSet, repo_id: str = "USER/NAME") -> str:
    """The card of a set, made of its manifest alone.

    Parameters
    ----------
    repo_id
        Where the set will be, for the lines that load it.

    Returns
    -------
    str
        Markdown with the YAML front matter that the Hub reads. The same set gives the same card.
    """
    manifest = shards.manifest
    return "\n".join(
        [
            *_front_matter(manifest, repo_id),
            f"# {in_line(repo_id.rpartition('/')[2])}",
            "",
            *_summary(manifest),
            *_contents(shards),
            *origins(manifest["sources"]),
            *_making(manifest),
            *loading(shards, repo_id, tag_of(shards)),
            *_checks(shards),
            *_limits(shards),
        ]
    )


def _front_matter(manifest: Mapping[str, Any], repo_id: str) -> Iterator[str]:
    """The Hub's keys; every value is one of ours, or quoted as JSON is, which YAML reads."""
    n = manifest["n_cells"]
    yield "---"
    yield f"license: {license_of(manifest['sources'])}"
    yield f"pretty_name: {json.dumps(repo_id.rpartition('/')[2])}"
    yield f"size_categories: [{json.dumps(_SIZE_NAMES[sum(n >= limit for limit in _SIZES)])}]"
    yield "tags: [biology, single-cell, scRNA-seq, transcriptomics, webdataset, scdata]"
    # the viewer shows this; shards, which it cannot read, are no config, so that it does not try
    yield "configs:"
    yield "- config_name: preview"
    yield "  default: true"
    yield "  data_files:"
    yield "  - split: preview"
    yield f"    path: {PREVIEW}"
    yield "---"
    yield ""


def _summary(manifest: Mapping[str, Any]) -> Iterator[str]:
    n_shards, n_bytes = len(manifest["shards"]), sum(shard["bytes"] for shard in manifest["shards"])
    what = (
        "raw counts" if manifest["encoding"] == COUNTS else f"tokens of the preset `{in_line(manifest['tokenizer'])}`"
    )
    yield (
        f"{thousands(manifest['n_cells'])} single cells as {what} over {thousands(manifest['n_genes'])} genes, in "
        f"{thousands(n_shards)} WebDataset shard(s) of {n_bytes / 1e6:,.1f} MB together, for training: cells are in uniformly "
        "random order, verified by hashes, and stream into PyTorch with "
        f"[scdata](https://github.com/scdata-engine/scdata) {in_line(manifest['libraries']['scdata-engine'])}."
    )
    yield ""
    yield f"The viewer shows `{PREVIEW}`: up to {N_CELLS:,} cells with gene symbols, as they stand in the shards."
    yield ""


def _contents(shards: ShardSet) -> Iterator[str]:
    manifest = shards.manifest
    yield "## What it holds"
    yield ""
    rows = [
        (name, *(thousands(split[key]) for key in ("n_cells", "n_tokens", "n_shards")), f"{split['bytes'] / 1e6:,.1f}")
        for name, split in manifest["splits"].items()
    ]
    yield from table(("split", "cells", "tokens", "shards", "MB"), rows)
    if manifest["encoding"] == COUNTS:
        yield "A token is a gene that a cell expresses, with its count; other presets are made of it while it streams."
    else:
        yield f"Token ids are those of `vocab.json`, preset `{in_line(manifest['tokenizer'])}`."
    if manifest["tokenizer"].endswith("+fit"):
        yield "The vocabulary is that of the source's own genes (`+fit`), not the published one of the model."
    yield ""
    obs = [f"`{in_line(name)}` ({kind})" for name, kind in _obs(shards)]
    yield f"Of every cell, `obs/` and the shards tell: {', '.join(obs) or 'nothing more than its id and totals'}."
    yield ""


def _obs(shards: ShardSet) -> Iterator[tuple[str, str]]:
    for column in shards.manifest["obs"]:
        known = shards.categories.get(column["name"])
        yield column["name"], column["dtype"] if known is None else f"{thousands(len(known))} categories"


def _making(manifest: Mapping[str, Any]) -> Iterator[str]:
    config, n_read, n_cells = manifest["config"], manifest["n_cells_read"], manifest["n_cells"]
    yield "## How it was made"
    yield ""
    rows = [(f"`{key}`", f"`{in_line(json.dumps(value))}`") for key, value in sorted(config.items()) if value != []]
    yield from table(("option of `scdata build`", "value"), rows)
    yield f"{thousands(n_read)} cells were read, {thousands(n_cells)} are here."
    yield ""
    reasons = dict.fromkeys(drop["reason"] for drop in manifest["drops"])
    sums = [
        (reason, sum(drop["n_cells"] for drop in manifest["drops"] if drop["reason"] == reason)) for reason in reasons
    ]
    if sums:
        yield from table(("left out because", "cells"), [(reason, thousands(n)) for reason, n in sums])
    if (roles := roles_of(manifest)) is not None:
        yield f"Roles of obs columns: {prose(roles.line())}."
        yield ""
    yield from _twice(manifest)


def _twice(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Copies of cells, and groups on two sides of a split."""
    if (found := manifest.get("duplicates")) is not None:
        yield (
            f"{thousands(found['copies'])} cells express the same genes with the same counts as another one here (of "
            f"{found['min_genes']} genes or more); {thousands(found['leaked'])} of them stand in another split than the first."
        )
    for own in (manifest.get("groups") or {"checked": []})["checked"]:
        column = in_line(own["column"])
        if own["shared"]:
            yield (
                f"Of {thousands(own['groups'])} values of `{column}`, {thousands(own['shared'])} stand in several splits, with "
                f"{thousands(own['n_cells'])} cells."
            )
        else:
            yield f"Each of the {thousands(own['groups'])} values of `{column}` stands in one split."
    yield ""


def _checks(shards: ShardSet) -> Sequence[str]:
    manifest = shards.manifest
    return [
        "## Check it",
        "",
        "`manifest.json` has the sha256 of every shard and file, `index.arrow` a hash of every block, which readers check as "
        "it arrives. `scdata verify FOLDER` reads a downloaded copy whole; with `--against SOURCE` it proves that every cell "
        "is as in its source.",
        "",
        *table(
            ("what", "hash"),
            [
                ("sha256 of `manifest.json`", f"`{shards.manifest_hash}`"),
                ("`content_hash`: of the decoded cells", f"`{manifest['content_hash']}`"),
                ("`genes_sha256`", f"`{manifest['genes_sha256']}`"),
                ("`vocab_sha256`", f"`{manifest['vocab_sha256']}`"),
            ],
        ),
    ]


def _limits(shards: ShardSet) -> Iterator[str]:
    manifest, measured = shards.manifest, shards.measured
    share = manifest["vocab_counts"] / max(1, manifest["total_counts"])
    yield "## Limits"
    yield ""
    yield f"- {share:.1%} of the sources' counts belong to genes of the set; the others are in `total_counts` only."
    if not measured.all():
        what = "Datasets measured different genes" if (measured != measured[0]).any() else "Not all genes were measured"
        yield f"- {what}: `measured.arrow` says which. A gene that was not measured is missing, not zero."
    yield "- Labels are those of the sources, as they wrote them; nothing was corrected, integrated or batch-adjusted."
    yield "- No cell was judged beyond what is counted above: there was no search for doublets or ambient RNA."
    yield "- What the cells may be used for is decided by the licences of their sources, not by this card."
    yield ""
