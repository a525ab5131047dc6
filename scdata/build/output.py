"""Whose folder an output is, and what may be deleted there."""

import json
import re
from pathlib import Path
from typing import Any

from scdata._config import to_table
from scdata._errors import CorruptShardError, OutputExistsError, PlanChangedError
from scdata._storage import is_local
from scdata._store_files import is_file, remove_tree
from scdata.build.config import BuildConfig
from scdata.build.gather import gather_mark
from scdata.build.lease import LEASE
from scdata.build.lock import LOCK
from scdata.build.plan import FORMAT, PLAN, Plan, libraries, load_plan
from scdata.shard.files import names_in, sha256_of, write_bytes, write_json
from scdata.shard.manifest import MANIFEST, read_manifest
from scdata.shard.tar import shard_name
from scdata.source import CountSource, pin
from scdata.tokens.tokenizer import Tokenizer

_REPLACED = "replaced.json"  # the manifest of a set that is being deleted
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{32}\.tmp")


def is_ours(config: BuildConfig) -> bool:
    """True if a build of ours stands in the output, finished or not."""
    return any(name in (LOCK, PLAN) or name.startswith(LEASE) for name in names_in(config.build_path))


def check_output(config: BuildConfig) -> None:
    """Refuse an output that holds what is not ours, or is complete and not to be replaced. Deletes nothing of a set.

    Raises
    ------
    OutputExistsError
        With what stands there and what to do.
    """
    out = config.out_path
    if out.exists() and not out.is_dir():
        raise OutputExistsError(f"{out} is a file: name a folder with -o")
    if not out.exists() or not any(out.iterdir()):
        return
    manifest = out / MANIFEST
    if is_file(manifest):
        try:
            table = read_manifest(manifest.read_bytes(), str(manifest))
        except CorruptShardError as error:
            raise OutputExistsError(f"{out} holds a {MANIFEST} that is none of ours: choose another output") from error
        # where a plan is left, its build was killed after the manifest: the same command clears up
        if not config.overwrite and not is_file(config.build_path / PLAN):
            if is_ours(config):
                finish_build(config)
            raise OutputExistsError(
                f"{out} holds a complete set of {table['n_cells']:,} cells: --overwrite (overwrite=True) replaces it, or "
                "choose another output"
            )
    elif not is_ours(config):
        names = ", ".join(sorted(p.name for p in out.iterdir())[:5])
        raise OutputExistsError(f"{out} is not empty and holds no set of ours (it has {names}): choose another output")


def clear_output(config: BuildConfig) -> None:
    """Delete the set or the unfinished build in an output: what a manifest or plan of ours names, and nothing else.

    Killed at any moment, it leaves no set that looks whole, and the next call goes on.
    """
    out, build = config.out_path, config.build_path
    if is_file(out / MANIFEST):
        # first: without its manifest, the rest is no set
        write_bytes(build / _REPLACED, (out / MANIFEST).read_bytes())
        (out / MANIFEST).unlink()
    remove_tree(gather_mark(build, 0).parent)  # before the shards that they stand for
    shards: list[Any] = []
    if is_file(build / _REPLACED):
        table = read_manifest((build / _REPLACED).read_bytes(), str(build / _REPLACED))
        shards += table["shards"]
        for file in table["files"]:
            if "/" not in file:
                (out / file).unlink(missing_ok=True)
    if is_file(build / PLAN):
        plan = json.loads((build / PLAN).read_text())
        shards += [{"split": s["name"], "shard": i} for s in plan["splits"] for i in range(s["n_shards"])]
    for shard in shards:
        name = shard_name(str(shard["split"]), int(shard["shard"]))
        (out / "shards" / f"{name}.tar").unlink(missing_ok=True)
        (out / "obs" / f"{name}.parquet").unlink(missing_ok=True)
    remove_temporaries(config)
    _delete_empty_folders(out)
    _clear_build(config)


def is_being_replaced(config: BuildConfig) -> bool:
    """True if `clear_output` was killed."""
    return is_file(config.build_path / _REPLACED)


def _delete_empty_folders(out: Path) -> None:
    if not is_local(out):
        return  # an object store has none
    for top in ("shards", "obs"):
        for folder in sorted((out / top).rglob("*"), reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if (out / top).is_dir() and not any((out / top).iterdir()):
            (out / top).rmdir()


def _clear_build(config: BuildConfig) -> None:
    """Remove the plan and the scratch files, but not the lock, which the caller holds."""
    for folder in (gather_mark(config.build_path, 0).parent, config.scratch_path):
        remove_tree(folder)
    # the plan before what it needs, after what it stands for
    for path in sorted(config.build_path.glob("*"), key=lambda path: path.name != PLAN):
        if path.name != LOCK and not path.name.startswith(LEASE) and path.is_file():
            path.unlink()


def finish_build(config: BuildConfig) -> None:
    """Remove everything of a build beside the set."""
    remove_temporaries(config)
    _clear_build(config)
    remove_tree(config.build_path)


def withdraw_build(config: BuildConfig) -> None:
    """Remove the folder of a build that has failed before it had a plan."""
    if not is_file(config.build_path / PLAN) and not is_being_replaced(config):
        remove_tree(config.build_path)
        if is_local(config.out_path) and config.out_path.is_dir() and not any(config.out_path.iterdir()):
            config.out_path.rmdir()


def remove_temporaries(config: BuildConfig) -> None:
    """Remove what tasks that were killed had begun to write; an object store shows nothing of it."""
    if not is_local(config.out_path):
        return
    folders = [config.out_path.glob("*"), config.build_path.rglob("*")]
    folders += [(config.out_path / name).rglob("*") for name in ("shards", "obs")]
    for path in [path for folder in folders for path in folder]:
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def claim_scratch(config: BuildConfig) -> Path:
    """The scratch folder, emptied of what belongs to another plan than the one that stands."""
    plan = {"plan": sha256_of(config.build_path / PLAN)}
    mark = config.scratch_path / PLAN
    if not is_file(mark) or json.loads(mark.read_text()) != plan:
        remove_tree(config.scratch_path)
        write_json(mark, plan)
    return config.scratch_path.resolve()


def resume_plan(config: BuildConfig, sources: list[CountSource], tokenizer: Tokenizer) -> Plan | None:
    """The plan of an unfinished build, if one stands there and this command is the same.

    Raises
    ------
    PlanChangedError
        If it is not; names the first difference and what to do.
    """
    path = config.build_path / PLAN
    if not is_file(path):
        return None
    table = json.loads(path.read_text())
    if table.get("format") != FORMAT:
        raise PlanChangedError(f"{path} is no plan of ours: choose another output")
    for what, now in (
        ("config", config.content()),
        ("libraries", libraries()),
        ("assets", {**tokenizer.assets, **config.files_read()}),
    ):
        then = table[what]
        for key in sorted({*then, *now}):
            if then.get(key) != now.get(key):
                raise _changed(config, f"{what} {key} was {then.get(key)!r} and is {now.get(key)!r}")
    if len(sources) != len(table["sources"]):
        raise _changed(config, f"it had {len(table['sources'])} sources, now {len(sources)}")
    for source, then in zip(sources, table["sources"], strict=True):
        if "version" in then and source.name == then["name"]:
            pin(source, then["version"])
        if dict(source.stat()) == then["stat"] and source.name == then["name"]:
            continue
        columns = sorted(set(table["obs_fields"]) & set(source.obs_schema.names))
        if source.name != then["name"] or source.fingerprint(columns) != then["fingerprint"]:
            raise _changed(config, f"source {then['name']} is another, or has changed since (now {source.uri})")
    plan = load_plan(config.build_path)
    before, after = to_table(plan.tokenizer.preset), to_table(tokenizer.preset)
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            raise _changed(config, f"{key} of the preset was {before.get(key)!r} and is {after.get(key)!r}")
    return plan


def _changed(config: BuildConfig, difference: str) -> PlanChangedError:
    return PlanChangedError(
        f"{config.out_path} holds an unfinished build of another command: {difference}. Run the command it was begun with, "
        "or start anew with --overwrite"
    )
