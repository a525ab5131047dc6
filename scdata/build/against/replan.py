"""The plan of a finished set, decided again from its sources."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scdata._config import from_table
from scdata._errors import BuildError
from scdata.build.config import BuildConfig
from scdata.build.drafting import draft_plan, open_sources
from scdata.build.plan import Plan
from scdata.build.progress import Progress
from scdata.shard.files import read_arrow
from scdata.shard.manifest import MANIFEST
from scdata.shard.set_files import CATEGORIES, MEASURED
from scdata.shard.shard_set import ShardSet
from scdata.source import CountSource
from scdata.tokens.published.assets import FIT
from scdata.tokens.tokenizer import Tokenizer


def replan(
    shards: ShardSet, uris: Sequence[str], workers: int, folder: Path, progress: Progress, orthologs: str | None = None
) -> tuple[list[CountSource], Plan]:
    """Open the sources and write to `folder` what a build of the set would plan now, with the set's own gene codes.

    Raises
    ------
    ScdataError
        As a build would: if a source is not there, or cannot be the one the set was built from.
    """
    table = {**shards.manifest["config"], "sources": list(uris), "out": str(folder), "workers": workers}
    if ("orthologs" in table) != (orthologs is not None):
        what = (
            f"needs the table of orthologs it was built with, {table['orthologs']}"
            if orthologs is None
            else "has no orthologs"
        )
        raise BuildError(f"{shards.path} {what}: {'name it with' if orthologs is None else 'leave out'} --orthologs")
    if orthologs is not None:
        table["orthologs"] = orthologs
    config = from_table(BuildConfig, table, str(shards.path / MANIFEST))
    sources = open_sources(config)
    draft = draft_plan(config, sources, _before_genes(shards.tokenizer, config), progress)
    own = shards.var.drop_columns([name for name in shards.var.column_names if name == "chosen"])
    if draft.genes.var["token_id"].equals(own["token_id"]):
        # codes follow a sample of the counts: where these have changed, cells are to be compared, not codes
        genes = dataclasses.replace(draft.genes, var=own, code=own["code"].to_numpy())
        draft = dataclasses.replace(draft, genes=genes)
    return sources, draft.write(folder)


def _before_genes(tokenizer: Tokenizer, config: BuildConfig) -> Tokenizer:
    """A tokenizer over its source's own genes as it was before it had seen them; others as they are."""
    fit = config.assets == FIT or config.tokenizer.endswith("+fit") or tokenizer.preset.vocab.genes is None
    return dataclasses.replace(tokenizer, vocab=None) if fit else tokenizer


def differences(shards: ShardSet, plan: Plan) -> Iterator[str]:
    """What keeps cells from being compared: a line each."""
    manifest = shards.manifest
    then, now = manifest["sources"], plan.table["sources"]
    if len(then) != len(now):
        yield f"the set was built from {len(then)} source(s), {len(now)} are given"
        return
    for before, after in zip(then, now, strict=True):
        for key in ("n_obs", "n_genes", "feature_id"):
            if before[key] != after[key]:
                yield f"source {before['name']}: {key} was {before[key]}, and is {after[key]}"
    if (before := manifest["assets"].get("orthologs")) != (after := plan.table["assets"].get("orthologs")):
        yield f"the table of orthologs is another one: its sha256 was {before}, and is {after}"
    if plan.tokenizer.genes().hash() != manifest["vocab_sha256"]:
        yield "the vocabulary is another one"
    if not plan.genes.var["token_id"].equals(shards.var["token_id"]):
        yield f"the sources have columns for {len(plan.genes.var):,} genes of the vocabulary, the set {shards.n_genes:,}"
    if plan.table["obs"] != manifest["obs"]:
        yield f"obs columns were {_named(manifest['obs'])}, and are {_named(plan.table['obs'])}"
    if plan.table.get("perturbation") != (told := manifest.get("perturbation")):
        yield f"the roles of the perturbation were {told}, and are {plan.table.get('perturbation')}"
    if set(plan.splits) != set(manifest["splits"]):
        yield f"splits were {', '.join(sorted(manifest['splits']))}, and are {', '.join(sorted(plan.splits))}"
    if hashlib.sha256((plan.path / CATEGORIES).read_bytes()).hexdigest() != manifest["files"][CATEGORIES]:
        yield f"strings of obs columns are others ({CATEGORIES})"
    datasets = shards.dataset_table  # without species, where the set was built before sets had them
    if not read_arrow(plan.path / MEASURED).select(datasets.column_names).equals(datasets):
        yield f"datasets, their species, or the genes they measured, are others ({MEASURED})"


def changed_sources(shards: ShardSet, plan: Plan) -> list[str]:
    """Names of sources that are not the files they were: other bytes, if not other cells."""
    pairs = zip(shards.manifest["sources"], plan.table["sources"], strict=True)
    return [before["name"] for before, after in pairs if before["fingerprint"] != after["fingerprint"]]


def _named(columns: Sequence[Any]) -> str:
    return ", ".join(f"{column['name']} ({column['dtype']})" for column in columns) or "none"
