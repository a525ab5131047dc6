"""A set that is altered and signed again, as somebody would who means harm."""

import dataclasses
import json

import pyarrow as pa
import xxhash

from scdata.shard import ShardSet, decode_block
from scdata.shard.files import read_arrow, sha256_of, write_arrow
from scdata.shard.set_files import INDEX_SCHEMA
from scdata.shard.tar import write_tar


class AlteredSet:
    """A copy of a set, to be altered and signed again."""

    def __init__(self, path):
        self.path = path

    def manifest(self, change):
        file = self.path / "manifest.json"
        table = json.loads(file.read_text())
        change(table)
        file.write_text(json.dumps(table))

    def sign(self, *names):
        """Let the manifest name files as they are now."""
        self.manifest(lambda table: table["files"].update({name: sha256_of(self.path / name) for name in names}))

    def write(self, name, data):
        (self.path / name).write_bytes(data)
        self.sign(name)

    def index(self, change):
        """Alter the rows of the index, a list of dicts."""
        rows = read_arrow(self.path / "index.arrow").to_pylist()
        rows = change(rows) or rows
        write_arrow(self.path / "index.arrow", pa.Table.from_pylist(rows, INDEX_SCHEMA))
        self.sign("index.arrow")

    @property
    def shard(self):
        """The first shard that a loader reads."""
        return ShardSet(self.path).shard_path("train", 0)

    @property
    def obs(self):
        return ShardSet(self.path).obs_path("train", 0)

    def cells(self, **changes):
        """The cells of the first block, altered."""
        opened = ShardSet(self.path)
        blocks = opened.blocks("train")
        start, n = int(blocks.offset[0]), int(blocks.length[0])
        return dataclasses.replace(decode_block(self.shard.read_bytes()[start : start + n]), **changes)

    def batch(self):
        """The record batch of the first block."""
        opened = ShardSet(self.path)
        blocks = opened.blocks("train")
        start, n = int(blocks.offset[0]), int(blocks.length[0])
        return pa.ipc.open_file(self.shard.read_bytes()[start : start + n]).get_batch(0)

    def block(self, data, **says):
        """Put other bytes in the place of the first block, and have index and manifest agree; `says`: of the index's row."""
        opened = ShardSet(self.path)
        blocks = opened.blocks("train")
        whole = self.shard.read_bytes()
        own = [i for i in range(len(blocks.shard)) if blocks.shard[i] == 0]
        parts = [whole[int(blocks.offset[i]) : int(blocks.offset[i] + blocks.length[i])] for i in own]
        parts[0] = data
        path = self.shard
        with path.open("wb") as file:
            places = write_tar(file, "train", 0, parts)

        def change(rows):
            mine = [row for row in rows if (row["split"], row["shard"]) == ("train", 0)]
            for row, place, part in zip(mine, places, parts, strict=True):
                row.update(offset=place[0], length=place[1], xxh3=xxhash.xxh3_64_intdigest(part))
            mine[0].update(says)

        self.index(change)
        self.sign_shard()

    def sign_shard(self):
        path, obs = self.shard, self.obs

        def change(table):
            entry = next(s for s in table["shards"] if (s["split"], s["shard"]) == ("train", 0))
            if path.is_file():
                table["splits"]["train"]["bytes"] += path.stat().st_size - entry["bytes"]
                entry.update(bytes=path.stat().st_size, sha256=sha256_of(path))
            if obs.is_file():
                entry.update(obs_sha256=sha256_of(obs))

        self.manifest(change)
