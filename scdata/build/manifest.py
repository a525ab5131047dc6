"""The manifest: what a set is, written when everything else is there."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._store_files import read_files
from scdata.build.comparing import found_duplicates
from scdata.build.corpus_statistics import fitted_tokenizer
from scdata.build.gather import gather_mark
from scdata.build.hashed_cells import MIN_GENES
from scdata.build.plan import Plan
from scdata.build.scatter import SCATTER
from scdata.build.scattered import merge_marks
from scdata.build.sides import named_pairs, unchecked_columns
from scdata.shard.files import sha256_of, write_arrow, write_bytes, write_json, write_parquet
from scdata.shard.manifest import FORMAT, FORMAT_VERSION, MANIFEST
from scdata.shard.set_files import CATEGORIES, INDEX, INDEX_SCHEMA, MEASURED, VAR, VOCAB
from scdata.tokens.stored import tokenizer_to_json

_COPIED = (VAR, CATEGORIES, MEASURED)
_OF_THE_PLAN = ("stat", "gene_list", "nnz")  # of a source: where it was, how the plan is stored, an estimate


def write_manifest(plan: Plan, scratch: Path, out: Path) -> dict[str, Any]:
    """Write the small files of the set, then its manifest, which makes it complete.

    Returns
    -------
    dict
        The manifest.
    """
    tokenizer = fitted_tokenizer(plan)
    for name in _COPIED:
        write_bytes(out / name, (plan.path / name).read_bytes())
    if tokenizer.fitted.selected is not None:
        chosen = np.isin(plan.genes.vocab_index, tokenizer.fitted.selected)
        write_parquet(out / VAR, plan.genes.var.append_column("chosen", pa.array(chosen)))
    write_json(out / VOCAB, tokenizer_to_json(tokenizer))
    marks = [json.loads(data) for data in read_files([gather_mark(plan.path, i) for i in range(sum(plan.n_shards))])]
    # the order in which readers go through a set: splits by name, as JSON with sorted keys gives them
    marks.sort(key=lambda mark: (mark["shard"]["split"], mark["shard"]["shard"]))
    rows = [row for mark in marks for row in mark["index"]]
    index = {name: [row[i] for row in rows] for i, name in enumerate(INDEX_SCHEMA.names)}
    write_arrow(out / INDEX, pa.table(index, schema=INDEX_SCHEMA))
    content = hashlib.sha256()
    for mark in marks:
        for block in mark["content"]:
            content.update(bytes.fromhex(block))
    table = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "tokenizer": tokenizer.name,
        "encoding": plan.table["encoding"],
        "config": plan.table["config"],
        "config_sha256": _hash(plan.table["config"]),
        "seed": plan.table["config"]["seed"],
        "n_genes": len(plan.genes.var),
        "genes_sha256": _hash([plan.genes.var["feature_id"].to_pylist(), plan.genes.var["token_id"].to_pylist()]),
        "vocab_sha256": tokenizer.genes().hash(),
        "assets": plan.table["assets"],
        "sources": _sources(plan, scratch),
        "obs": plan.table["obs"],
        "obs_left_out": plan.table["obs_left_out"],
        "splits": _splits(plan, marks),
        "shards": [mark["shard"] for mark in marks],
        "files": {name: sha256_of(out / name) for name in sorted((*_COPIED, VOCAB, INDEX))},
        "content_hash": content.hexdigest(),
        "libraries": plan.table["libraries"],
        **_sums(plan, scratch),
        "duplicates": _duplicates(plan, scratch),
        **{name: plan.table[name] for name in ("perturbation",) if name in plan.table},
    }
    write_json(out / MANIFEST, table)
    return table


def _sources(plan: Plan, scratch: Path) -> list[dict[str, Any]]:
    """What the plan says of the sources; of those read as orthologs also which counts of each dataset were lost."""
    tables = [{k: v for k, v in source.items() if k not in _OF_THE_PLAN} for source in plan.table["sources"]]
    counts, names = merge_marks(plan, scratch).counts, plan.datasets
    for table, first, end in zip(tables, plan.dataset_offsets, [*plan.dataset_offsets[1:], len(names)], strict=True):
        if "orthologs" in table:
            lost = [
                {"dataset": names[i], "total_counts": counts[i][0], "lost_counts": counts[i][0] - counts[i][1]}
                for i in range(first, end)
            ]
            table["orthologs"] = {**table["orthologs"], "lost": lost}
    return tables


def _splits(plan: Plan, marks: list[Any]) -> dict[str, Any]:
    shards = [mark["shard"] for mark in marks]
    return {
        split: {
            "n_shards": sum(shard["split"] == split for shard in shards),
            **{
                what: sum(shard[what] for shard in shards if shard["split"] == split)
                for what in ("n_cells", "n_tokens", "bytes")
            },
        }
        for split in plan.splits
    }


def _sums(plan: Plan, scratch: Path) -> dict[str, Any]:
    found, names = merge_marks(plan, scratch), plan.datasets
    return {
        "n_cells": found.kept,
        "n_cells_read": found.cells,
        "total_counts": sum(total for total, _ in found.counts),
        "vocab_counts": sum(of_the_set for _, of_the_set in found.counts),
        "drops": [{"dataset": names[dataset], "reason": reason, "n_cells": n} for dataset, reason, n in found.drops],
        "groups": {"checked": found.sides, "unchecked": unchecked_columns(plan)},
    }


def _duplicates(plan: Plan, scratch: Path) -> dict[str, Any]:
    found = found_duplicates(plan, scratch, SCATTER)
    return {
        "min_genes": MIN_GENES,
        "copies": found.copies,
        "groups": found.groups,
        "across_datasets": found.across_datasets,
        "leaked": found.leaked,
        "between_splits": named_pairs(found.pairs, plan.splits),
    }


def _hash(table: Any) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
