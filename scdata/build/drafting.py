"""Deciding a build: what is in the sources, and how the work is cut."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._blocks import I32, I64, Array
from scdata._errors import BuildError
from scdata._obs_filter import ObsFilter
from scdata._storage import public_uri
from scdata.build.config import BuildConfig
from scdata.build.configured import check_choice, check_columns, columns_of
from scdata.build.cutting import SHARE_ROWS, cut_tasks, share_kept
from scdata.build.filters import ObsFilters, filters_of
from scdata.build.genes import GeneGroups, SourceGenes, check_mapped, set_genes
from scdata.build.limit import SmallestKeys, limit_keys
from scdata.build.obs_columns import ObsScan, read_obs
from scdata.build.organisms import Organisms
from scdata.build.plan import FORMAT, FORMAT_VERSION, Draft, Task, distinct_lists, libraries
from scdata.build.progress import Progress
from scdata.build.sampling import sample, slices_of
from scdata.build.screen import Screen
from scdata.build.splits import SplitRules, Splitter, as_text
from scdata.build.translating import Target, choose_genes
from scdata.counts.genes import looks_like
from scdata.shard.block import COUNTS, TOKENS
from scdata.source import CountSource, SourceOptions, added_obs, dataset_facts, version_of
from scdata.source import open_sources as open_uri
from scdata.tokens.tokenizer import Tokenizer

_OBS_ROWS = 64 * SHARE_ROWS  # rows of obs held at once
TASK_NNZ = 32_000_000  # non-zeros of a scatter task
# non-zeros of a shard: a gather task holds them at 10 bytes each with its copies, which is about 1 GB
_DECODED_NNZ = 100_000_000
# Encoded bytes of a non-zero, rounded up from real sets; decides only how many shards there are
BYTES_A_NONZERO = {(COUNTS, "zstd"): 0.8, (COUNTS, "none"): 1.25, (TOKENS, "zstd"): 2.0, (TOKENS, "none"): 2.0}
_FEWEST_CELLS = 64  # cells of a shard on average, so that none is empty


def open_sources(config: BuildConfig) -> list[CountSource]:
    """The sources of a build, in the order given."""
    options = SourceOptions(
        layer=config.layer,
        measurement=config.measurement,
        dataset_column=config.dataset_column,
        storage=config.storage,
    )
    return [source for uri in config.sources for source in open_uri(uri, options)]


def draft_plan(config: BuildConfig, sources: Sequence[CountSource], tokenizer: Tokenizer, progress: Progress) -> Draft:
    """Decide a build.

    Raises
    ------
    ScdataError, ValueError
        For everything about the input that can be known before work begins.
    """
    n_obs = [source.n_obs for source in sources]
    if sum(n_obs) == 0:
        raise BuildError(f"no cells in {', '.join(map(public_uri, config.sources))}")
    species = Organisms(sources, config.organism)
    screen = Screen.of(config, sources, tokenizer, progress)
    scan, filters, splitter, split_cells, limit_key, shares = _scan_obs(
        config, sources, tokenizer, screen, species, progress
    )
    organisms = species.found()
    groups = GeneGroups.of(sources)
    target = Target.of(config, tokenizer)
    detected, counts, nnz = sample(sources, groups, progress)
    genes = [
        choose_genes(source, tokenizer, config.feature_id, own, target)
        for source, own in zip(groups.first, counts, strict=True)
    ]
    if tokenizer.vocab is None:
        tokenizer = tokenizer.with_genes([i for g in genes for i in g.ids if i], _symbols(genes))
    chosen, mapped = set_genes(tokenizer, groups.first, genes, detected, counts)
    for group, (own, places, per_gene) in enumerate(zip(genes, mapped, counts, strict=True)):
        n_mapped = int(per_gene[places >= 0].sum())
        check_mapped(groups.first[group].uri, tokenizer, own, n_mapped, int(per_gene.sum()), config.min_mapped)
        for line in _said_of_genes(own, places):
            progress.note(f"{groups.name(group)}: {line}")
    targets = [mapped[group] for group in groups.of_source]
    n_mapped_of = [int((places >= 0).sum()) for places in mapped]
    n_distinct_of = [len(np.unique(places[places >= 0])) for places in mapped]
    check_choice(tokenizer, len(chosen.var))
    encoding = COUNTS if tokenizer.preset.stores == "counts" else TOKENS
    per_cell = sum(nnz) / sum(n_obs)
    splits = []
    for name, n_cells in zip(splitter.rules.names, split_cells, strict=True):
        size = n_cells * per_cell * BYTES_A_NONZERO[encoding, config.codec]
        n_shards = max(-(-size // config.shard_size), -(-n_cells * per_cell // _DECODED_NNZ))
        n_shards = int(max(1, min(n_shards, n_cells // _FEWEST_CELLS)))
        splits.append({"name": name, "n_cells": n_cells, "n_shards": n_shards})
        progress.note(f"split {name}: {n_cells:,} cells, {n_cells / sum(split_cells):.1%}")
    columns = scan.columns()
    check_columns(tokenizer, columns, len(chosen.var))
    roles = screen.found(columns, progress)
    read = {*scan.names, *splitter.rules.columns}.union(*(own.columns for own in filters))
    tasks: list[Task] = []
    fingerprints = []
    for i, source in enumerate(sources):  # both while its files are open
        tasks += cut_tasks(i, source, nnz[i], shares[i], TASK_NNZ)
        fingerprints.append(source.fingerprint(sorted(read & set(source.obs_schema.names))))
    offsets = np.concatenate(([0], np.cumsum(n_obs))).tolist()
    dataset_offsets = np.concatenate(([0], np.cumsum([len(s.genes.datasets) for s in sources]))).tolist()
    _, gene_lists = distinct_lists(targets)
    table = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": config.content(),
        "libraries": libraries(),
        "assets": {**tokenizer.assets, **config.files_read()},
        "encoding": encoding,
        "sources": [
            {
                "name": source.name,
                "n_obs": source.n_obs,
                "nnz": round(nnz[i]),
                "cell_id_offset": offsets[i],
                "dataset_offset": dataset_offsets[i],
                "feature_id": genes[groups.of_source[i]].column,
                "n_genes": len(targets[i]),
                "n_genes_mapped": n_mapped_of[groups.of_source[i]],
                "n_genes_distinct": n_distinct_of[groups.of_source[i]],
                "gene_list": gene_lists[i],
                "notes": list(source.notes),
                "fingerprint": fingerprints[i],
                "stat": dict(source.stat()),
                **({"organisms": known} if (known := sorted(set(filter(None, organisms[i])))) else {}),
                **_as_translated(genes[groups.of_source[i]]),
                **({"datasets": facts} if (facts := _facts(source)) else {}),
                **({"version": version} if (version := version_of(source)) is not None else {}),
                **({"default_filter": dataclasses.asdict(default)} if (default := filters[i].default) else {}),
            }
            for i, source in enumerate(sources)
        ],
        "obs": [{"name": column.name, "dtype": column.dtype} for column in columns],
        "obs_fields": {name: str(scan.fields[name]) for name in sorted(read)},
        "obs_left_out": sorted(scan.left_out),
        "groups": {c: [[value, split] for value, split in groups.items()] for c, groups in splitter.groups.items()},
        "splits": splits,
        "limit_key": None if limit_key is None else f"{limit_key:016x}",
        "tasks": [[task.source, task.start, task.stop] for task in tasks],
        **({"perturbation": roles.as_json()} if roles is not None else {}),
    }
    return Draft(table, tokenizer, columns, chosen, targets, sources, organisms)


def _as_translated(genes: SourceGenes) -> dict[str, Any]:
    return {} if genes.translation is None else {"orthologs": dataclasses.asdict(genes.translation)}


def _said_of_genes(genes: SourceGenes, places: I32) -> Iterator[str]:
    """What is left out of the columns of a source, by their place among the genes of the set."""
    lost = [own for own, place in zip(genes.ids, places.tolist(), strict=True) if place < 0]
    named = sorted(filter(None, lost))
    what, n = "columns are", len(lost)
    if (found := genes.translation) is not None:
        yield (
            f"{found.n_kept:,} of {len(genes.ids):,} genes become orthologs ({found.column} to {found.to}); "
            f"{found.n_without:,} without one and {found.n_ambiguous:,} with several, or one that is shared, are lost, and "
            f"with them {found.share_lost:.1%} of the counts of a sample of cells"
        )
        what, n = "orthologs are", len(named)
    if n:
        yield (
            f"{n:,} {what} not in the vocabulary"
            + (f", such as {', '.join(map(repr, named[:3]))}: they look like {looks_like(named)}" if named else "")
            + (f"; {n - len(named):,} of them have no id" if len(named) < n else "")
        )


def _facts(source: CountSource) -> list[dict[str, str]]:
    """What a source knows about its datasets, in their order."""
    facts = dataset_facts(source)
    return [{"id": name, **facts[name]} for name in source.genes.datasets if name in facts]


def _symbols(genes: Sequence[SourceGenes]) -> dict[str, str]:
    symbols: dict[str, str] = {}
    for own in genes:
        for feature_id, name in zip(own.ids, own.names, strict=True):
            if name:
                symbols.setdefault(feature_id, name)
    return symbols


def _scan_obs(
    config: BuildConfig,
    sources: Sequence[CountSource],
    tokenizer: Tokenizer,
    screen: Screen,
    species: Organisms,
    progress: Progress,
) -> tuple[ObsScan, list[ObsFilters], Splitter, list[int], int | None, list[Array]]:
    """Read obs for categories, the filter and the sizes of groups; then, for the few columns that are needed, for the limit
    and for the sizes of splits. The last that is returned: for each source, the share of its cells that are kept, in parts of
    `SHARE_ROWS` rows.

    Groups are cut before the limit, so that the splits of smaller sets are parts of those of larger ones.
    """
    schemas = [source.obs_schema for source in sources]
    total = sum(source.n_obs for source in sources)
    wanted, used = config.obs, (*columns_of(tokenizer), *screen.columns)
    if wanted is not None:  # the loader uses them too
        wanted = (*wanted, *(name for name in used if name not in wanted))
    unasked = _added(sources) - set(used)
    scan = ObsScan(wanted, schemas, total, screen.columns, unasked)
    if wanted is None and unasked:
        progress.note(
            f"obs columns that the export added are not stored, unless --obs names them: {', '.join(sorted(unasked))}"
        )
    rules, given = SplitRules.parse(config.splits), ObsFilter(config.obs_filter) if config.obs_filter else None
    filters = [filters_of(source, given) for source in sources]
    needed = {*rules.columns, *used}.union(*(own.columns for own in filters))
    for name in sorted(needed - set(scan.fields)):
        ObsScan([name], schemas, total)  # raises, naming the columns there are
    sizes: dict[str, dict[str | None, int]] = {column: {} for column in rules.group_columns}
    kept: list[list[Array]] = [[] for _ in sources]
    passed, base = 0, np.concatenate(([0], np.cumsum([source.n_obs for source in sources])))
    smallest = SmallestKeys(config.limit) if config.limit is not None else None
    with progress.phase("obs", total) as advance:
        for i, rows in slices_of(sources, _OBS_ROWS):
            obs = read_obs(sources[i].obs, schemas[i], rows, scan.fields, sorted({*scan.names, *needed}))
            scan.add(obs)
            cell_id = base[i] + np.arange(rows.start, rows.stop)
            mask = filters[i].mask(obs)
            if not mask.all():
                obs, cell_id = obs.filter(pa.array(mask)), cell_id[mask]
            screen.add(obs)
            kept[i].append(share_kept(mask))
            species.add(i, rows, mask)
            if smallest is not None:
                smallest.count(limit_keys(cell_id, config.seed))
            passed += len(obs)
            for column, groups in sizes.items():
                for pair in as_text(obs[column]).value_counts().to_pylist():
                    groups[pair["values"]] = groups.get(pair["values"], 0) + pair["counts"]
            advance(rows.stop - rows.start)
    if passed == 0:
        asked = {f"--obs-filter {config.obs_filter!r}": None} if given is not None else {}
        own_ones = {f"the source's own filter {own.default.text!r}": None for own in filters if own.default is not None}
        where = ", ".join(map(public_uri, config.sources))
        raise BuildError(f"no cells: {' with '.join({**asked, **own_ones})} keeps none of the {total} cells of {where}")
    splitter = rules.resolve(config.seed, sizes)

    def passing() -> Iterator[tuple[I64, pa.Table]]:
        for i, rows in slices_of(sources, _OBS_ROWS):
            obs = read_obs(sources[i].obs, schemas[i], rows, scan.fields, sorted(needed))
            cell_id = base[i] + np.arange(rows.start, rows.stop)
            mask = filters[i].mask(obs)
            if not mask.all():
                obs, cell_id = obs.filter(pa.array(mask)), cell_id[mask]
            yield cell_id, obs

    limit_key = None
    if smallest is not None and smallest.enough:
        for cell_id, _ in passing():
            smallest.collect(limit_keys(cell_id, config.seed))
        limit_key = smallest.nth()
        progress.note(f"limit: {config.limit:,} of {passed:,} cells")
    cells = np.zeros(len(rules.names), np.int64)
    if not rules.rules and limit_key is None:
        cells[:] = passed
    for cell_id, obs in passing() if rules.rules or limit_key is not None else ():
        if limit_key is not None:
            mask = limit_keys(cell_id, config.seed) <= np.uint64(limit_key)
            obs, cell_id = obs.filter(pa.array(mask)), cell_id[mask]
        cells += np.bincount(splitter.assign(cell_id, obs), minlength=len(cells))
    for name, n in zip(rules.names, cells, strict=True):
        if n == 0:
            raise BuildError(f"split {name!r} would be empty: {_why_empty(rules, name, sizes, passed)}")
    scale = 1.0 if limit_key is None or config.limit is None else config.limit / passed
    shares = [np.concatenate(own) * scale if own else np.ones(0) for own in kept]
    return scan, filters, splitter, cells.tolist(), limit_key, shares


def _added(sources: Sequence[CountSource]) -> set[str]:
    """obs columns that an export added in whatever source has them."""
    own = {name for source in sources for name in set(source.obs_schema.names) - added_obs(source)}
    return {name for source in sources for name in added_obs(source)} - own


def _why_empty(rules: SplitRules, name: str, sizes: dict[str, dict[str | None, int]], n_cells: int) -> str:
    rule = next((rule for rule in rules.rules if rule.name == name), None)
    if rule is None:
        return f"the other splits take all {n_cells} cells"
    if rule.column is None:
        return f"{rule.fraction:g} of {n_cells} cells is none with this seed; raise the fraction"
    if rule.fraction is not None:
        return f"{rule.column!r} has {len(sizes[rule.column])} group(s)"
    return f"no cell (left) has {' or '.join(map(repr, rule.values))} in {rule.column!r}"
