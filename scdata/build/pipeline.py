"""`build_shards`: from sources to a finished set, in order."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from scdata._backend import device_count
from scdata._errors import BuildError, PlanChangedError
from scdata._store_files import is_file, reaching
from scdata.build.config import BuildConfig
from scdata.build.configured import make_tokenizer
from scdata.build.drafting import draft_plan, open_sources
from scdata.build.lock import build_lock
from scdata.build.manifest import write_manifest
from scdata.build.output import (
    check_output,
    clear_output,
    finish_build,
    is_being_replaced,
    is_ours,
    remove_temporaries,
    resume_plan,
    withdraw_build,
)
from scdata.build.phases import run_phases
from scdata.build.plan import Plan
from scdata.build.progress import Progress
from scdata.build.scatter import NO_DEVICE
from scdata.shard.manifest import MANIFEST, read_manifest
from scdata.source import CountSource
from scdata.tokens.published.assets import said_of_assets
from scdata.tokens.tokenizer import Tokenizer


def build_shards(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    endpoint: str | None = None,
    region: str | None = None,
    anonymous: bool = False,
    tokenizer: str = "counts",
    assets: str | None = None,
    genes: str | None = None,
    batch_key: str | None = None,
    store: str | None = None,
    layer: str | None = None,
    measurement: str | None = None,
    dataset_column: str | None = None,
    organism: str | None = None,
    feature_id: str | None = None,
    min_mapped: float = 0.5,
    orthologs: str | os.PathLike[str] | None = None,
    orthologs_to: str | None = None,
    many_to_one: bool = False,
    obs_filter: str | None = None,
    limit: int | None = None,
    min_counts: int | None = None,
    max_counts: int | None = None,
    min_genes: int | None = None,
    max_genes: int | None = None,
    drop_duplicates: bool = False,
    obs: Sequence[str] | None = None,
    perturbation: str | None = None,
    control: str | None = None,
    control_match: Sequence[str] | None = None,
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
        An h5ad file, an AnnData zarr store, a 10x ``.h5`` file, a SOMA experiment, Parquet files with lists of genes and
        expressions, a finished set of counts, ``census:RELEASE/ORGANISM``, a ``synthetic:`` address; a folder of h5ad files,
        a pattern or a list (``.txt``) of sources; or several, in the order in which their cells count. Here, or at ``s3://``,
        ``hf://`` and ``https://``.
    out
        Folder of the set, or ``s3://BUCKET/…``; new, empty, or with an unfinished build of the same command.
    endpoint, region, anonymous
        How to reach ``s3://`` (`Storage`); credentials come from the environment.
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
        obs column that says which dataset a cell is of. None: the one that an export of a set names, else ``dataset_id``
        if there is one, else one dataset a source.
    organism
        Species of all cells (``"human"``, ``"Mus musculus"``, an NCBITaxon id). None: for each dataset, what a Census or a set
        says; else obs columns ``organism`` or ``organism_ontology_term_id``; else the species of its Ensembl ids.
    feature_id
        var column with gene ids. None: the one that maps most counts, or the best of the source's own.
    min_mapped
        Least fraction of counts that must belong to the vocabulary.
    orthologs
        Table of orthologs (`read_orthologs`): sources of another species than the genes of the set are read as their orthologs,
        and genes without one are dropped, and are not measured in them. Sources of that species stay as they are.
    orthologs_to
        Whose genes the set has: a species (``"human"``) or a column of the table. None: that of the published vocabulary.
    many_to_one
        Also keep genes whose one ortholog is that of other genes too, and sum their counts. Those with several orthologs are
        dropped in any case.
    obs_filter
        Cells to keep, such as ``"tissue == 'blood' and n_genes > 200"``.
    limit
        Keep an exact uniform sample of so many of the cells that pass `obs_filter`; a smaller limit keeps a part of what a
        larger one keeps, in the same splits. Cells without counts among them are dropped all the same.
    min_counts, max_counts, min_genes, max_genes
        Cells to keep: their counts, and their expressed genes, of all genes of the source. None: no bound.
    drop_duplicates
        Of cells of at least 50 genes of the set that have the same counts of the same genes, in whatever source, keep the one
        with the smallest cell_id. They are looked for before anything is fitted, among the cells that all else keeps.
    obs
        obs columns to store. None: all but strings of very many values, and those that an export of a set added.
    perturbation, control
        obs column, of strings, that names what was done to a cell, and its value of controls. The manifest says so, which
        `ShardDataset` (`pair_controls`) and the task ``perturbation`` read. None: as the source says, if it is a
        set, or an export of one (``scdata.json``, ``uns["scdata"]``); what does not fit its cells is left out, with a note.
    control_match
        obs columns, of strings or whole numbers, in which a cell and its control are alike, beside the dataset. None:
        `batch_key` of variable genes, else ``donor_id`` if there is one; ``()``: the dataset alone.
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
        Folder for intermediate files, or ``s3://BUCKET/…``; None: in the output.
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
        endpoint=endpoint,
        region=region,
        anonymous=anonymous,
        tokenizer=tokenizer,
        assets=assets,
        genes=genes,
        batch_key=batch_key,
        store=store,
        layer=layer,
        measurement=measurement,
        dataset_column=dataset_column,
        organism=organism,
        feature_id=feature_id,
        min_mapped=min_mapped,
        orthologs=os.fspath(orthologs) if orthologs is not None else None,
        orthologs_to=orthologs_to,
        many_to_one=many_to_one,
        obs_filter=obs_filter,
        limit=limit,
        min_counts=min_counts,
        max_counts=max_counts,
        min_genes=min_genes,
        max_genes=max_genes,
        drop_duplicates=drop_duplicates,
        obs=tuple(obs) if obs is not None else None,
        perturbation=perturbation,
        control=control,
        control_match=tuple(control_match) if control_match is not None else None,
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
        if text := said_of_assets(config.tokenizer, tokenizer.preset, config.assets):
            progress.note(text)
        draft = draft_plan(config, sources, tokenizer, progress)
        if config.overwrite:
            clear_output(config)
        plan = draft.write(config.build_path)
    for line in _said_of_sources(plan.table["sources"]):
        progress.note(line)
    return sources, plan


def _said_of_sources(tables: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What was found in the sources; those of which the same is to be said share a line."""
    said: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for table in tables:
        lines = [
            *(note.removeprefix(f"{table['name']}: ") for note in table["notes"]),
            f"genes by {table['feature_id']!r}, {table['n_genes_mapped']:,} of {table['n_genes']:,} columns map to the "
            "vocabulary",
        ]
        if summed := table["n_genes_mapped"] - table["n_genes_distinct"]:
            lines.append(f"{summed:,} columns are the same gene as another one and are summed with it")
        said.setdefault(tuple(lines), []).append(table)
    for texts, own in said.items():
        name = own[0]["name"] + (f" and {len(own) - 1:,} like it" if len(own) > 1 else "")
        yield f"{name}: {sum(table['n_obs'] for table in own):,} cells"
        yield from (f"{name}: {text}" for text in texts)


def _unfinished(config: BuildConfig, sources: list[CountSource], tokenizer: Tokenizer) -> Plan | None:
    """The plan to go on with; with `overwrite`, what cannot be gone on with is replaced."""
    if config.overwrite and is_file(config.out_path / MANIFEST):
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
    with reaching(config.out, config.scratch or ""):
        return _run_build(config, progress)


def _run_build(config: BuildConfig, progress: Progress) -> dict[str, Any]:
    _refuse_foreign(config)
    with build_lock(config.build_path, progress.note) as check:
        try:
            sources, plan = plan_build(config, progress)
        except BaseException:
            withdraw_build(config)
            raise
        path = config.out_path / MANIFEST
        if is_file(path):  # the build was killed after its last step
            manifest = read_manifest(path.read_bytes(), str(path))
        else:
            run_phases(config, sources, plan, progress, check)
            check()
            manifest = write_manifest(plan, config.scratch_path, config.out_path)
        finish_build(config)
    return manifest


def _refuse_foreign(config: BuildConfig) -> None:
    # before the lock makes a folder in an output that is not ours
    if not is_ours(config):
        check_output(config)
