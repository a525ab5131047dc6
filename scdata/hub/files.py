"""The files of a published set: where they stand, and how to know one that the Hub has already."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scdata._errors import CorruptShardError
from scdata.hub.card import CARD, dataset_card
from scdata.hub.preview import PREVIEW, preview_bytes
from scdata.shard.files import sha256_of
from scdata.shard.manifest import MANIFEST
from scdata.shard.set_statistics import STATISTICS
from scdata.shard.shard_set import ShardSet
from scdata.shard.tar import shard_name

_OURS = re.compile(r"shards/\d{3,}/[\w-]+-\d{6,}[.]tar|obs/\d{3,}/[\w-]+-\d{6,}[.]parquet")


@dataclass(frozen=True)
class PublishedFile:
    """A file of a set as it will be on the Hub.

    Parameters
    ----------
    path
        In the repository.
    source
        The file, or its content.
    size
        Bytes.
    sha256
        Of its content, as the manifest says.
    """

    path: str
    source: Path | bytes
    size: int
    sha256: str

    def is_there(self, found: Any) -> bool:
        """True if this is what the Hub lists at the path: a ``RepoFile``, or None for nothing."""
        if found is None or found.size != self.size:
            return False
        if found.lfs is not None:
            return bool(found.lfs.sha256 == self.sha256)
        # small files stand in git, which names content by a sha1 of its own
        data = self.source if isinstance(self.source, bytes) else self.source.read_bytes()
        return bool(found.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())


def published_files(shards: ShardSet, repo_id: str, card: str | None = None) -> list[PublishedFile]:
    """Everything that is published of a set, the manifest last: where it stands, the set is complete.

    Parameters
    ----------
    card
        A card of one's own; None: `dataset_card`.

    Raises
    ------
    CorruptShardError
        If a file that the manifest names is missing, or has another size.
    """
    text = dataset_card(shards, repo_id) if card is None else card
    files = [*_shards(shards), *(_on_disk(shards, name, sha256) for name, sha256 in shards.manifest["files"].items())]
    statistics = shards.path / STATISTICS
    if statistics.is_file():
        files.append(_on_disk(shards, STATISTICS, sha256_of(statistics)))
    return [
        *files,
        _of_bytes(PREVIEW, preview_bytes(shards)),
        _of_bytes(CARD, text.encode()),
        _on_disk(shards, MANIFEST, shards.manifest_hash),
    ]


def is_ours(path: str, shards: ShardSet) -> bool:
    """True for a path that a set of ours, but not this one, may have left in a repository."""
    return _OURS.fullmatch(path) is not None or path in (PREVIEW, STATISTICS, *shards.manifest["files"])


def _shards(shards: ShardSet) -> Iterator[PublishedFile]:
    for entry in shards.manifest["shards"]:
        name = shard_name(entry["split"], entry["shard"])
        file = _on_disk(shards, f"shards/{name}.tar", entry["sha256"])
        if file.size != entry["bytes"]:
            raise CorruptShardError(
                f"{shards.path / file.path}: has {file.size:,} bytes, the manifest says {entry['bytes']:,}: restore it, or "
                "build again"
            )
        yield file
        yield _on_disk(shards, f"obs/{name}.parquet", entry["obs_sha256"])


def _on_disk(shards: ShardSet, name: str, sha256: str) -> PublishedFile:
    path = shards.path / name
    if not path.is_file():
        raise CorruptShardError(f"{path}: missing, but named in the manifest: restore it, or build again")
    return PublishedFile(name, path, path.stat().st_size, sha256)


def _of_bytes(name: str, data: bytes) -> PublishedFile:
    return PublishedFile(name, data, len(data), hashlib.sha256(data).hexdigest())
