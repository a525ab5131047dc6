"""What a set says of itself where its cells stand in another tool's files."""

from collections.abc import Mapping
from typing import Any

import scdata
from scdata.shard.cells import reserved_name
from scdata.shard.roles import roles_of
from scdata.shard.shard_set import ShardSet
from scdata.source.export_facts import DATASET, FACTS, VERSION


def export_facts(shards: ShardSet) -> dict[str, Any]:
    """Strings, lists of strings, and dictionaries of these, which JSON and AnnData's files hold.

    Parameters
    ----------
    shards
        The set.

    Returns
    -------
    dict
        ``scdata_version``; ``content_hash`` and ``tokenizer`` of the set; ``dataset_column``, the obs column of datasets;
        where there is one, ``perturbation`` with ``column``, ``control`` and ``match``, obs columns by their names in exports;
        where something is known of them, ``datasets``: lists ``dataset``, ``title``, ``collection``, ``doi``, ``citation``.
    """
    manifest = shards.manifest
    table = {
        VERSION: scdata.__version__,
        "content_hash": manifest["content_hash"],
        "tokenizer": manifest["tokenizer"],
        "dataset_column": DATASET,
    }
    if (roles := roles_of(manifest)) is not None:
        match = [reserved_name(name) for name in roles.match]
        table["perturbation"] = {"column": reserved_name(roles.column), "control": roles.control, "match": match}
    if facts := facts_by_dataset(manifest):
        table["datasets"] = {
            DATASET: list(facts),
            **{name: [own.get(name, "") for own in facts.values()] for name in FACTS},
        }
    return table


def facts_by_dataset(manifest: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """``title``, ``collection``, ``doi`` and ``citation`` of datasets by name, as far as a manifest has them."""
    rows = [row for source in manifest["sources"] for row in source.get("datasets", [])]
    return {row["id"]: {name: row[name] for name in FACTS if name in row} for row in rows}


def organism_by_dataset(shards: ShardSet) -> dict[str, str]:
    """Species of datasets by name; two datasets of one name have those of both."""
    found: dict[str, set[str]] = {}
    for name, organism in zip(shards.datasets, shards.organisms, strict=True):
        found.setdefault(name, set()).add(organism)
    return {name: ", ".join(sorted(own - {""})) for name, own in found.items()}
