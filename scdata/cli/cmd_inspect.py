"""``scdata inspect``."""

from typing import Any

import click

from scdata._store_files import read_ranges
from scdata.cli.main import print_json
from scdata.report.drops import drop_lines, drop_table
from scdata.report.leaks import leak_lines
from scdata.report.orthologs import ortholog_lines
from scdata.shard.block import parse_block
from scdata.shard.roles import roles_of
from scdata.shard.set_statistics import statistics_file
from scdata.shard.shard_set import ShardSet

_TOP = 6  # genes shown of a cell
_TITLES = 3  # datasets shown of a source


@click.command(name="inspect", short_help="Show what a set holds.")
@click.argument("path", metavar="SET")
@click.option("--cells", default=3, show_default=True, help="How many cells to decode and show.")
@click.option("--drops", is_flag=True, help="Instead: what became of every cell that was read, by dataset and reason.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(path: str, cells: int, drops: bool, as_json: bool) -> int:
    """Show a set at a glance: cells, genes, splits, bytes, drops, obs columns, and a few decoded cells with gene names.

    \b
    Example:
      scdata build synthetic:cells=2000 -o /tmp/try.set
      scdata inspect /tmp/try.set
    """
    shards = ShardSet(path)
    if drops:
        return _drops(shards, as_json)
    manifest, selected = shards.manifest, shards.tokenizer.fitted.selected
    table: dict[str, Any] = {
        "path": path,
        **{
            key: manifest[key]
            for key in (
                "tokenizer",
                "encoding",
                "n_cells",
                "n_genes",
                "splits",
                "drops",
                "total_counts",
                "vocab_counts",
            )
        },
        "sources": [
            {
                **{key: source[key] for key in ("name", "n_obs", "n_genes", "n_genes_mapped")},
                "organisms": source.get("organisms", []),
                "datasets": source.get("datasets", []),
                **({"orthologs": source["orthologs"]} if "orthologs" in source else {}),
            }
            for source in manifest["sources"]
        ],
        "duplicates": manifest.get("duplicates"),
        "groups": manifest.get("groups"),
        "perturbation": manifest.get("perturbation"),
        "obs": _obs(shards),
        "n_genes_chosen": None if selected is None else len(selected),
        "statistics": statistics_file(shards.path).is_file(),
        "cells": sample_cells(shards, cells),
    }
    if as_json:
        print_json(table)
    else:
        _print(table)
    return 0


def _said_of(dataset: dict[str, str]) -> str:
    """Title and DOI of a dataset."""
    return dataset.get("title", dataset["id"]) + (f" ({dataset['doi']})" if "doi" in dataset else "")


def _drops(shards: ShardSet, as_json: bool) -> int:
    """Print the accounts; status 1 if they do not add up."""
    table, read = drop_table(shards), int(shards.manifest["n_cells_read"])
    accounted = sum(entry["read"] for entry in table)
    if as_json:
        print_json({"datasets": table, "n_cells_read": read, "ok": accounted == read})
    else:
        width = max(len(entry["dataset"]) for entry in table)
        click.echo(f"{'dataset':<{width}} {'read':>14} {'kept':>14} {'dropped':>14}")
        for entry in table:
            n = entry["read"] - entry["kept"]
            why = ", ".join(f"{reason} {n:,}" for reason, n in sorted(entry["dropped"].items()))
            click.echo(
                f"{entry['dataset']:<{width}} {entry['read']:>14,} {entry['kept']:>14,} {n:>14,}  {why}".rstrip()
            )
        verdict = "every one is accounted for" if accounted == read else f"only {accounted:,} are accounted for"
        click.echo(f"{read:,} cells were read: {verdict}")
    return 0 if accounted == read else 1


def _obs(shards: ShardSet) -> dict[str, str]:
    categories = shards.categories
    return {
        column["name"]: f"{len(categories[column['name']])} categories"
        if column["name"] in categories
        else column["dtype"]
        for column in shards.manifest["obs"]
    }


def sample_cells(shards: ShardSet, n: int) -> list[dict[str, Any]]:
    """The first cells of the first split that has any."""
    split = next((split for split in shards.splits if shards.manifest["splits"][split]["n_cells"]), None)
    if split is None or n < 1:
        return []
    blocks = shards.blocks(split)
    path = shards.shard_path(split, int(blocks.shard[0]))
    [data] = read_ranges([(path, int(blocks.offset[0]), int(blocks.length[0]))])
    stored = parse_block(data)
    decoded = stored.decode(shards.token_of_code if stored.coded is not None else None)
    vocab = shards.tokenizer.genes()
    names = dict(zip(shards.var["token_id"].to_pylist(), shards.var["feature_name"].to_pylist(), strict=True))
    names.update({token: text for text, token in vocab.specials.items()})
    out = []
    for i in range(min(n, decoded.n_cells)):
        part = slice(decoded.indptr[i], decoded.indptr[i + 1])
        genes, values = [names[int(t)] for t in decoded.ids[part]], None
        if decoded.values is not None:
            values = decoded.values[part].tolist()
            top = sorted(range(len(genes)), key=lambda j: -values[j])[:_TOP]
            shown = [f"{genes[j]} {values[j]}" for j in top]
        else:
            shown = genes[:_TOP]
        out.append({"cell_id": int(decoded.cell_id[i]), "split": split, "n_tokens": len(genes),
                    "total_counts": int(decoded.total_counts[i]), "top": shown})  # fmt: skip
    return out


def _print(table: dict[str, Any]) -> None:
    n_bytes = sum(split["bytes"] for split in table["splits"].values())
    click.echo(
        f"{table['path']}: {table['n_cells']:,} cells, {table['n_genes']:,} genes, tokenizer {table['tokenizer']}"
    )
    if table["tokenizer"].endswith("+fit"):
        click.echo("  token ids are those of the source's own genes, not the published ones")
    if table["n_genes_chosen"] is not None:
        click.echo(f"  {table['n_genes_chosen']:,} chosen genes become tokens")
    if table["statistics"]:
        click.echo("  scdata fit was here: NAME+fit tokenizers work on the fly")
    for source in table["sources"]:
        click.echo(
            f"  from {source['name']}: {source['n_obs']:,} cells, {source['n_genes_mapped']:,} of {source['n_genes']:,} genes"
            + "".join(f", {name}" for name in source["organisms"])
        )
        if known := source["datasets"]:
            more = f", … ({len(known):,} datasets)" if len(known) > _TITLES else ""
            click.echo(f"    {', '.join(map(_said_of, known[:_TITLES]))}{more}")
    for name, split in table["splits"].items():
        click.echo(
            f"  {name:<8} {split['n_cells']:>12,} cells {split['n_tokens']:>16,} tokens {split['n_shards']:>6,} shard(s) "
            f"{split['bytes'] / 1e6:>10,.1f} MB"
        )
    mapped = table["vocab_counts"] / max(1, table["total_counts"])
    click.echo(
        f"  {n_bytes / max(1, table['n_cells']):,.0f} bytes a cell; {mapped:.1%} of the counts are in the vocabulary"
    )
    for line in (*ortholog_lines(table["sources"]), *drop_lines(table["drops"]), *leak_lines(table)):
        click.echo(line)
    click.echo(f"  obs: {', '.join(f'{name} ({kind})' for name, kind in table['obs'].items()) or 'none'}")
    if (roles := roles_of(table)) is not None:
        click.echo(f"  {roles.line()}")
    for cell in table["cells"]:
        click.echo(
            f"  cell {cell['cell_id']} ({cell['split']}): {cell['n_tokens']:,} tokens, {cell['total_counts']:,} counts: "
            + ", ".join(cell["top"])
            + " …"
        )
