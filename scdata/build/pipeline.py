"""`build_shards`: from sources to a finished set, in order."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from scdata._backend import device_count
from scdata._errors import BuildError, MappingError, PlanChangedError
from scdata.build.config import BuildConfig
from scdata.build.configured import make_tokenizer
from scdata.build.corpus_statistics import (
    FITTED,
    TREND,
    clipped_path,
    clipped_task,
    fit,
    fit_trend,
    statistics_path,
    statistics_task,
)
from scdata.build.drafting import draft_plan, open_sources
from scdata.build.driver import cluster, run_tasks, running_cluster
from scdata.build.gather import gather_mark, gather_task
from scdata.build.lock import build_lock
from scdata.build.manifest import write_manifest
from scdata.build.output import (
    LOCK,
    check_output,
    claim_scratch,
    clear_output,
    finish_build,
    is_being_replaced,
    is_ours,
    remove_temporaries,
    resume_plan,
    withdraw_build,
)
from scdata.build.plan import PLAN, Plan, libraries
from scdata.build.progress import Progress
from scdata.build.scatter import NO_DEVICE, read_mark, scatter_mark, scatter_task
from scdata.shard.shard_set import MANIFEST, read_manifest
from scdata.source import CountSource
from scdata.tokens.corpus import Wanted
from scdata.tokens.tokenizer import Tokenizer


def build_shards(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    tokenizer: str = "counts",
    assets: str | None = None,
    genes: str | None = None,
    batch_key: str | None = None,
    store: str | None = None,
    layer: str | None = None,
    measurement: str | None = None,
    dataset_column: str | None = None,
    feature_id: str | None = None,
    min_mapped: float = 0.5,
    obs_filter: str | None = None,
    limit: int | None = None,
    min_counts: int | None = None,
    max_counts: int | None = None,
    min_genes: int | None = None,
    max_genes: int | None = None,
    obs: Sequence[str] | None = None,
    splits: Sequence[str] = (),
    seed: int = 0,
    workers: int = 1,
    scheduler: str = "local",
    shard_size: int = 256 << 20,
    block_size: int = 1024,
    codec: str = "zstd",
    device: str = "auto",
    scratch: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Build a set of shards; the same command goes on where a killed one stopped.

    Parameters
    ----------
    source
        An h5ad file, a SOMA experiment, a ``synthetic:`` address; a folder of h5ad files, a pattern or a list (``.txt``) of
        sources; or several, in the order in which their cells count.
    out
        Folder of the set; new, empty, or with an unfinished build of the same command.
    tokenizer
        Name of a preset, or the path of one (``.toml``).
    assets
        Folder with the published vocabulary, or ``"fit"`` for the sources' own genes (`load_tokenizer`).
    genes
        Which genes may be tokens, in place of what the preset says: ``full``, ``expressed``, ``hvg:N`` (the N most variable
        of the corpus, by flavor ``seurat_v3``), or ``hvg:N:seurat``. A set of counts keeps all genes all the same.
    batch_key
        hvg: obs column of batches.
    store
        ``counts`` or ``tokens``, in place of what the preset says.
    layer
        Where counts are: ``X``, ``raw.X``, or a layer. None: X, or raw.X where X is not counts.
    measurement
        Measurement of a SOMA experiment; None: ``RNA``.
    dataset_column
        obs column that says which dataset a cell is of. None: ``dataset_id`` if there is one, else one dataset a source.
    feature_id
        var column with gene ids. None: the one that maps most counts, or the best of the source's own.
    min_mapped
        Least fraction of counts that must belong to the vocabulary.
    obs_filter
        Cells to keep, such as ``"tissue == 'blood' and n_genes > 200"``.
    limit
        Keep an exact uniform sample of so many of the cells that pass `obs_filter`; a smaller limit keeps a part of what a
        larger one keeps, in the same splits. Cells without counts among them are dropped all the same.
    min_counts, max_counts, min_genes, max_genes
        Cells to keep: their counts, and their expressed genes, of all genes of the source. None: no bound.
    obs
        obs columns to store. None: all but strings of very many values.
    splits
        Rules such as ``"val=0.1"``, ``"val=0.1:donor_id"``, ``"test=condition:'stim'"``; the rest is ``train``.
    seed
        Decides the order of the cells and the splits.
    workers
        Processes. More than one are spawned, so a script that asks for them needs ``if __name__ == "__main__":``.
    scheduler
        ``"local"``, or ``tcp://HOST:PORT`` of a running Dask cluster, whose workers do the work (`workers` then means nothing);
        they must see the sources, `out` and `scratch` under the same paths, with the same versions of libraries.
    shard_size
        Bytes of a shard, about.
    block_size
        Cells of a block, at most.
    codec
        ``zstd`` or ``none``.
    device
        Where tokens of ``store="tokens"`` are made: ``cpu``, ``cuda`` (needs the extra cuda12 or cuda13), or ``auto``: a device
        if there is one. The bytes are the same.
    scratch
        Folder for intermediate files; None: in the output.
    overwrite
        Replace a set, or an unfinished build, that stands at `out`, once the new input was found good. An unfinished
        build of the same command is gone on with.
    progress
        Where to say what is happening; None: nowhere.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    ScdataError
        See `scdata._errors`; nothing that looks whole is left behind.
    ValueError
        For arguments out of range.

    Examples
    --------
    >>> import scdata, tempfile
    >>> out = tempfile.mkdtemp() + "/set"
    >>> scdata.build_shards("synthetic:cells=300,genes=50", out, splits=["val=0.2"])["n_cells"]
    300
    """
    uris = [source] if isinstance(source, str | os.PathLike) else list(source)
    config = BuildConfig(
        sources=tuple(os.fspath(uri) for uri in uris),
        out=os.fspath(out),
        tokenizer=tokenizer,
        assets=assets,
        genes=genes,
        batch_key=batch_key,
        store=store,
        layer=layer,
        measurement=measurement,
        dataset_column=dataset_column,
        feature_id=feature_id,
        min_mapped=min_mapped,
        obs_filter=obs_filter,
        limit=limit,
        min_counts=min_counts,
        max_counts=max_counts,
        min_genes=min_genes,
        max_genes=max_genes,
        obs=tuple(obs) if obs is not None else None,
        splits=tuple(splits),
        seed=seed,
        workers=workers,
        scheduler=scheduler,
        shard_size=shard_size,
        block_size=block_size,
        codec=codec,
        device=device,
        scratch=scratch,
        overwrite=overwrite,
    )
    return run_build(config, progress or Progress())


def plan_build(config: BuildConfig, progress: Progress) -> tuple[list[CountSource], Plan]:
    """The sources and the plan of a build: the one that stands in the output, or a new one. The caller holds the lock.

    With `overwrite`, what stands in the output is deleted once the new plan is decided, so that bad input costs no set.
    """
    check_output(config)
    remove_temporaries(config)
    if is_being_replaced(config):
        clear_output(config)
    tokenizer = make_tokenizer(config)
    sources = open_sources(config)
    plan = _unfinished(config, sources, tokenizer)
    if plan is not None:
        progress.note(f"going on with the unfinished build in {config.out}")
    else:
        draft = draft_plan(config, sources, tokenizer, progress)
        if config.overwrite:
            clear_output(config)
        plan = draft.write(config.build_path)
    for source, table in zip(sources, plan.table["sources"], strict=True):
        for note in source.notes:
            progress.note(f"{source.name}: {note}")
        progress.note(
            f"{source.name}: {table['n_obs']:,} cells; genes by {table['feature_id']!r}, "
            f"{table['n_genes_mapped']:,} of {table['n_genes']:,} columns map to the vocabulary"
        )
        if summed := table["n_genes_mapped"] - table["n_genes_distinct"]:
            progress.note(f"{source.name}: {summed:,} columns are the same gene as another one and are summed with it")
    return sources, plan


def _unfinished(config: BuildConfig, sources: list[CountSource], tokenizer: Tokenizer) -> Plan | None:
    """The plan to go on with; with `overwrite`, what cannot be gone on with is replaced."""
    if config.overwrite and (config.out_path / MANIFEST).is_file():
        return None
    try:
        return resume_plan(config, sources, tokenizer)
    except PlanChangedError:
        if config.overwrite:
            return None
        raise


def run_build(config: BuildConfig, progress: Progress) -> dict[str, Any]:
    """`build_shards` from a config."""
    if config.device == "cuda" and not device_count():
        raise BuildError(NO_DEVICE)
    _refuse_foreign(config)
    with build_lock(config.build_path / LOCK):
        try:
            sources, plan = plan_build(config, progress)
        except BaseException:
            withdraw_build(config)
            raise
        path = config.out_path / MANIFEST
        if path.is_file():  # the build was killed after its last step
            manifest = read_manifest(path.read_bytes(), str(path))
        else:
            _run_phases(config, sources, plan, progress)
            manifest = write_manifest(plan, config.scratch_path, config.out_path)
        finish_build(config)
    return manifest


def _refuse_foreign(config: BuildConfig) -> None:
    # before the lock makes a folder in an output that is not ours
    if not is_ours(config):
        check_output(config)


def _run_phases(config: BuildConfig, sources: list[CountSource], plan: Plan, progress: Progress) -> None:
    folder, scratch, out = plan.path.resolve(), claim_scratch(config), config.out_path.resolve()
    tasks = plan.tasks
    all_tasks, all_shards = range(len(tasks)), range(sum(plan.n_shards))
    to_fit = bool(plan.tokenizer.unfitted) and not (folder / FITTED).is_file()
    to_scatter = [i for i in all_tasks if not scatter_mark(scratch, i).is_file()]
    to_gather = [i for i in all_shards if not gather_mark(folder, i).is_file()]
    if not to_fit and not to_scatter and not to_gather:
        return

    def rows(i: int) -> str:
        task = tasks[i]
        return f"the task of rows {task.start} to {task.stop} of {sources[task.source].uri}"

    def size(numbers: Sequence[int]) -> int:
        return sum(tasks[i].stop - tasks[i].start for i in numbers)

    with _workers(config, plan, scratch, progress) as (client, n_workers):

        def over_cells(name: str, task: Callable[..., dict[str, Any]], done: Callable[[Path, int], Path]) -> None:
            left = [i for i in all_tasks if not done(scratch, i).is_file()]
            if left:
                with progress.phase(name, size(left)) as advance:
                    run_tasks(client, task, (folder, scratch, sources), left, n_workers, advance, rows)

        if to_fit:
            over_cells("statistics", statistics_task, statistics_path)
            if Wanted.by(plan.tokenizer).second_pass:
                if not (folder / TREND).is_file():
                    fit_trend(plan, scratch)
                over_cells("clipped variance", clipped_task, clipped_path)
            fitted = fit(plan, scratch)
            if (selected := fitted.fitted.selected) is not None:
                flavor = fitted.preset.genes.flavor
                progress.note(f"{len(selected):,} of {len(plan.genes.var):,} genes chosen by flavor {flavor}")
        over_cells("scatter", partial(scatter_task, device=config.device), scatter_mark)
        cells = _check_scattered(config, sources, plan, scratch)
        if to_gather:
            with progress.phase("gather", cells * len(to_gather) // len(all_shards)) as advance:
                run_tasks(
                    client,
                    gather_task,
                    (folder, scratch, out),
                    to_gather,
                    n_workers,
                    advance,
                    lambda i: f"shard {i}",
                )


@contextmanager
def _workers(config: BuildConfig, plan: Plan, scratch: Path, progress: Progress) -> Iterator[tuple[Any, int]]:
    """A client of those that do the work, and their number."""
    if config.scheduler == "local":
        with cluster(config.workers, scratch) as client:
            yield client, config.workers
        return
    with running_cluster(config.scheduler, (plan.path / PLAN).resolve(), libraries) as (client, n_workers):
        progress.note(f"{n_workers} worker thread(s) of {config.scheduler}; dashboard: {client.dashboard_link}")
        yield client, n_workers


def _check_scattered(config: BuildConfig, sources: list[CountSource], plan: Plan, scratch: Path) -> int:
    """What only the whole corpus can tell: that cells are left, and that enough counts map. Returns the cells kept."""
    marks = [read_mark(scatter_mark(scratch, i)) for i in range(len(plan.tasks))]
    cells = sum(mark["kept"] for mark in marks)
    if cells == 0:
        drops = {reason for mark in marks for _, reason, _ in mark["drops"]}
        raise BuildError(
            f"no cells left of {', '.join(config.sources)}: every one was dropped ({', '.join(sorted(drops))})"
        )
    for number, split in enumerate(plan.splits):
        if not sum(mark["splits"][number] for mark in marks):
            raise BuildError(
                f"split {split!r} is empty: all of its cells were dropped, having no counts, or no gene of the vocabulary; "
                "give it more cells with --split, and start anew with --overwrite"
            )
    for number, source in enumerate(sources):
        own = [mark for mark, task in zip(marks, plan.tasks, strict=True) if task.source == number]
        mapped, total = (sum(mark[name] for mark in own) for name in ("vocab_counts", "total_counts"))
        if total and mapped < config.min_mapped * total:
            raise MappingError(
                f"{source.uri}: only {mapped / total:.1%} of the counts belong to genes of the vocabulary "
                f"(limit {config.min_mapped:.0%}): lower --min-mapped or use another vocabulary"
            )
    return int(cells)
