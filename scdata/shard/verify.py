"""Read a whole set and compare everything with what its manifest says."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from scdata._errors import CorruptShardError, ShardError, TokenizerError
from scdata.shard.block import parse_block
from scdata.shard.parquet_bounds import open_bounded_parquet, read_bounded_parquet
from scdata.shard.set_files import Blocks
from scdata.shard.set_statistics import read_statistics
from scdata.shard.shard_set import ShardSet
from scdata.shard.tar import member_name, walk


@dataclass
class VerifyReport:
    """What `verify_shards` found.

    Parameters
    ----------
    n_shards, n_blocks, n_cells, total_counts, vocab_counts
        How much was read.
    problems
        One line for each thing that differs: which shard, which block, what.
    """

    n_shards: int = 0
    n_blocks: int = 0
    n_cells: int = 0
    total_counts: int = 0
    vocab_counts: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_shards(path: str | Path, progress: Callable[[int], Any] = lambda n_bytes: None) -> VerifyReport:
    """Read every byte of a set and check it: hashes, tar members, block contents, obs rows, content hash, ``stats.arrow``.

    Parameters
    ----------
    path
        The set's folder.
    progress
        Called with the number of bytes of each shard that was read.

    Returns
    -------
    VerifyReport
        ``report.ok`` is True when nothing differs.

    Raises
    ------
    SetNotFoundError
        If there is no manifest.
    """
    report = VerifyReport()
    opened = ShardSet(path)
    content = hashlib.sha256()
    try:
        for name in opened.manifest["files"]:
            opened.read_file(name)
        opened.tokenizer, opened.measured, opened.categories, opened.token_of_code  # noqa: B018
        indexed = {split: opened.blocks(split) for split in opened.splits}
        read_statistics(opened)
    except (ShardError, TokenizerError) as error:
        report.problems.append(str(error))
        return report
    for split, blocks in indexed.items():
        shards = opened.shards(split)
        found = {
            "n_shards": len(shards),
            "n_cells": int(blocks.n_cells.sum()),
            "n_tokens": int(blocks.nnz.sum()),
            "bytes": sum(shard["bytes"] for shard in shards),
        }
        for what, number in found.items():
            _compare(report, f"split {split}", what, number, opened.manifest["splits"][split][what])
        for shard in shards:
            report.n_shards += 1
            own = np.flatnonzero(blocks.shard == shard["shard"])
            _verify_shard(report, opened, split, shard, blocks, own, content)
            progress(int(shard["bytes"]))
    n_cells = sum(int(blocks.n_cells.sum()) for blocks in indexed.values())
    _compare(report, "set", "n_cells", n_cells, opened.manifest["n_cells"])
    # sums over blocks say something only if every block could be read
    for what in ("total_counts", "vocab_counts") if report.n_cells == n_cells else ():
        _compare(report, "set", what, getattr(report, what), opened.manifest[what])
    _compare(report, "set", "n_genes", len(opened.var), opened.n_genes)
    _compare(report, "set", "vocab_sha256", opened.tokenizer.genes().hash(), opened.manifest["vocab_sha256"])
    _compare(report, "set", "content hash", content.hexdigest(), opened.manifest["content_hash"])
    _unknown_files(report, opened)
    return report


def _compare(report: VerifyReport, where: str, what: str, found: Any, expected: Any) -> None:
    if found != expected:
        report.problems.append(f"{where}: {what} is {found}, the manifest says {expected}")


def _verify_shard(
    report: VerifyReport, opened: ShardSet, split: str, shard: Any, blocks: Blocks, own: Any, content: Any
) -> None:
    number = int(shard["shard"])
    path = opened.shard_path(split, number)
    name = str(path.relative_to(opened.path))
    if not path.is_file():
        report.problems.append(f"{name}: the shard is missing")
        return
    _compare(report, name, "n_cells", int(blocks.n_cells[own].sum()), shard["n_cells"])
    _compare(report, name, "n_tokens", int(blocks.nnz[own].sum()), shard["n_tokens"])
    data = path.read_bytes()
    _compare(report, name, "size in bytes", len(data), shard["bytes"])
    _compare(report, name, "sha256", hashlib.sha256(data).hexdigest(), shard["sha256"])
    expected = [
        (member_name(split, number, int(blocks.block[i])), int(blocks.offset[i]), int(blocks.length[i])) for i in own
    ]
    try:
        members = list(walk(data, name))
    except CorruptShardError as error:
        members = None
        report.problems.append(str(error))
    if members is not None:
        _compare_members(report, name, members, expected)
    cell_ids = []
    for i, (member, offset, length) in zip(own, expected, strict=True):
        report.n_blocks += 1
        try:
            if offset + length > len(data):
                raise CorruptShardError(f"the shard ends at byte {len(data)}, the block needs {offset + length}")
            block = data[offset : offset + length]
            if xxhash.xxh3_64_intdigest(block) != int(blocks.xxh3[i]):
                raise CorruptShardError("its bytes differ from what was written (xxh3)")
            stored = parse_block(block)
            opened.check_block(stored)
            cells = stored.decode()
            found, says = (cells.n_cells, int(cells.indptr[-1])), (int(blocks.n_cells[i]), int(blocks.nnz[i]))
            if found != says:
                raise CorruptShardError(
                    f"holds {found[0]} cells of {found[1]} tokens, the index says {says[0]} of {says[1]}"
                )
        except CorruptShardError as error:
            report.problems.append(f"{name}: block {member}: {error}")
            continue
        report.n_cells += cells.n_cells
        report.total_counts += int(cells.total_counts.sum())
        report.vocab_counts += int(cells.vocab_counts.sum())
        content.update(cells.content_hash())
        cell_ids.append(cells.cell_id)
    _verify_obs(report, opened, split, shard, cell_ids if len(cell_ids) == len(own) else None)


def _compare_members(report: VerifyReport, name: str, members: list[Any], expected: list[Any]) -> None:
    known = {member[0] for member in expected}
    for member, offset, _ in members:
        if member not in known:
            report.problems.append(f"{name}: member {member!r} at byte {offset} does not belong here")
    found = [member for member in members if member[0] in known]
    for at, member in enumerate(expected):
        if at >= len(found):
            report.problems.append(f"{name}: member {member[0]} is missing")
        elif found[at] != member:
            report.problems.append(f"{name}: member {found[at]} stands where the index says {member}")
    for member, offset, _ in found[len(expected) :]:
        report.problems.append(f"{name}: member {member!r} stands again at byte {offset}")


def _verify_obs(report: VerifyReport, opened: ShardSet, split: str, shard: Any, cell_ids: list[Any] | None) -> None:
    path = opened.obs_path(split, int(shard["shard"]))
    name = str(path.relative_to(opened.path))
    if not path.is_file():
        report.problems.append(f"{name}: the obs file is missing")
        return
    data = path.read_bytes()
    _compare(report, name, "sha256", hashlib.sha256(data).hexdigest(), shard["obs_sha256"])
    try:
        file = io.BytesIO(data)
        if open_bounded_parquet(file).metadata.num_rows != shard["n_cells"]:
            report.problems.append(f"{name}: its cell_id differ from those of the blocks")
            return
        found = read_bounded_parquet(file, ["cell_id"])["cell_id"].to_numpy()
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        report.problems.append(f"{name}: not readable: {error}")
        return
    # where a block is damaged, that is said already, and its cells are not known
    if cell_ids is not None and not np.array_equal(found, np.concatenate([np.empty(0, np.int64), *cell_ids])):
        report.problems.append(f"{name}: its cell_id differ from those of the blocks")


def _unknown_files(report: VerifyReport, opened: ShardSet) -> None:
    places = [(s["split"], s["shard"]) for s in opened.manifest["shards"]]
    known = {opened.shard_path(*place) for place in places} | {opened.obs_path(*place) for place in places}
    for path in sorted([*(opened.path / "shards").rglob("*"), *(opened.path / "obs").rglob("*")]):
        if path.is_file() and path not in known:
            report.problems.append(f"{path.relative_to(opened.path)}: a file that the manifest does not name")
