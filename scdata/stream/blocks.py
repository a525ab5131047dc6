"""Blocks of a split, read by offset, checked, kept while they are used."""

import os
import stat
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
import xxhash

from scdata._blocks import I64, Array
from scdata._errors import CorruptShardError
from scdata._storage import is_local
from scdata.shard.block import StoredBlock, parse_block
from scdata.shard.kept import kept_cells
from scdata.shard.shard_set import ShardSet
from scdata.shard.tar import member_name, read_exactly, shard_name
from scdata.stream.buffers import BufferPool
from scdata.stream.selection import Selection

_OPEN_FILES = 64
_FETCHES = 16  # blocks of a store that are on their way at once


class BlockReader:
    """Reads blocks of one split; threads may share it, and must be done when it is closed.

    Parameters
    ----------
    shards
        The set.
    split
        Which split.
    capacity
        Blocks to keep; the one used longest ago goes first.
    selection
        Which cells of the blocks there are; None: all.
    pool
        Where memory for blocks comes from; None: a pool of its own.
    """

    def __init__(
        self,
        shards: ShardSet,
        split: str,
        capacity: int,
        selection: Selection | None = None,
        pool: BufferPool | None = None,
    ) -> None:
        self._set, self._split, self._selection = shards, split, selection
        self._index = shards.blocks(split)
        self._bytes = {int(s["shard"]): int(s["bytes"]) for s in shards.shards(split)}
        self._capacity = capacity
        self._lock = threading.Lock()
        # a block, or, while one thread reads it, what the others wait for
        self._blocks: OrderedDict[int, StoredBlock | Future[StoredBlock]] = OrderedDict()
        self._pool = pool or BufferPool()
        self._files: OrderedDict[int, _File] = OrderedDict()
        # blocks that were asked for early, and that nobody has got yet
        self._early: set[int] = set()
        self._fetchers: ThreadPoolExecutor | None = None

    def __enter__(self) -> "BlockReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fetchers is not None:
            self._fetchers.shutdown(wait=True, cancel_futures=True)
        # at once: an error's traceback may keep this object for long
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._blocks.clear()

    def get(self, number: int) -> StoredBlock:
        """Block `number` of the split, in stored order.

        Raises
        ------
        CorruptShardError
            If the shard is not what the manifest says, or the block's bytes differ; names both.
        """
        with self._lock:
            self._early.discard(number)
            found = self._blocks.get(number)
            mine = found is None
            if found is None:
                found = self._add(number)
            self._blocks.move_to_end(number)
        if isinstance(found, StoredBlock):
            return found
        if mine:
            self._read_for_all(number, found)
        try:
            return found.result()
        except BaseException:
            with self._lock:  # the next one who asks tries again
                if self._blocks.get(number) is found:
                    del self._blocks[number]
            raise

    def expect(self, numbers: I64) -> None:
        """Say which blocks are needed soon, in order: those in a store are fetched, many at a time.

        Parameters
        ----------
        numbers
            int64, repeats allowed.
        """
        if is_local(self._set.path):
            return
        distinct, first = np.unique(numbers, return_index=True)
        for number in distinct[np.argsort(first)].tolist():
            with self._lock:
                if number in self._blocks:
                    continue
                self._early.add(number)
                future = self._add(number)
                if self._fetchers is None:
                    self._fetchers = ThreadPoolExecutor(_FETCHES, thread_name_prefix="scdata-fetch")
            self._fetchers.submit(self._read_for_all, number, future)

    def _add(self, number: int) -> "Future[StoredBlock]":
        """A place for a block that is not there yet; those used longest ago go."""
        future = self._blocks[number] = Future[StoredBlock]()
        while len(self._blocks) > self._capacity + len(self._early):
            self._blocks.popitem(last=False)
        return future

    def _read_for_all(self, number: int, future: "Future[StoredBlock]") -> None:
        try:
            stored = self._read(number)
        except BaseException as error:
            future.set_exception(error)
            return
        future.set_result(stored)
        with self._lock:
            if self._blocks.get(number) is future:
                self._blocks[number] = stored

    def _read(self, number: int) -> StoredBlock:
        shard, block = int(self._index.shard[number]), int(self._index.block[number])
        path = self._set.shard_path(self._split, shard)
        uri, name = str(path), member_name(self._split, shard, block)
        offset, length = int(self._index.offset[number]), int(self._index.length[number])
        data: Any
        if is_local(path):
            data = read_exactly(self._file(shard).descriptor, offset, length, uri, self._bytes_to_fill)
        else:
            data = self._fetched(f"shards/{shard_name(self._split, shard)}.tar", offset, length, number)
        if xxhash.xxh3_64_intdigest(data) != int(self._index.xxh3[number]):
            raise CorruptShardError(f"{uri}: block {name} differs from what was written (xxh3): restore the shard")
        try:
            stored = parse_block(data)
            self._set.check_block(stored)
            found = stored.n_cells, int(stored.lengths.sum())
            says = int(self._index.n_cells[number]), int(self._index.nnz[number])
            if found != says:
                raise CorruptShardError(
                    f"holds {found[0]} cells of {found[1]} tokens, the index says {says[0]} of {says[1]}"
                )
        except CorruptShardError as error:
            raise CorruptShardError(f"{uri}: block {name}: {error}") from error
        keep = None if self._selection is None else self._selection.kept(number)
        return stored if keep is None else kept_cells(stored, keep)

    def _fetched(self, name: str, offset: int, length: int, number: int) -> bytes:
        expected = int(self._index.xxh3[number])
        try:
            return self._set.folder.read_range(
                name, offset, length, lambda data: xxhash.xxh3_64_intdigest(data) == expected
            )
        except FileNotFoundError:
            path = self._set.path / name
            raise CorruptShardError(f"{path}: the shard is missing: restore it, or build the set again") from None

    def _bytes_to_fill(self, length: int) -> Array:
        # the memory of a block that nobody uses any more: fresh pages cost more than reading
        return self._pool.take(length, np.uint8)

    def _file(self, shard: int) -> "_File":
        with self._lock:
            file = self._files.get(shard)
            if file is None:
                path = self._set.shard_path(self._split, shard)
                file = self._files[shard] = _File(str(path), self._bytes[shard])
                while len(self._files) > _OPEN_FILES:
                    self._files.popitem(last=False)
            self._files.move_to_end(shard)
            return file


class _File:
    """An open shard of the size that the manifest says; closed when nobody uses it."""

    def __init__(self, path: str, size: int) -> None:
        self.path = path
        try:
            # a pipe in place of a shard would block for ever, and to open a device may do something
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise CorruptShardError(f"{path}: the shard is no plain file: restore it")
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise CorruptShardError(f"{path}: the shard is missing: restore it, or build the set again") from None
        except OSError as error:
            raise CorruptShardError(f"{path}: the shard cannot be opened: {error.strerror}") from error
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            os.close(descriptor)
            raise CorruptShardError(
                f"{path}: the shard has {found.st_size} bytes, the manifest says {size}: restore it"
            )
        self.descriptor = descriptor

    def close(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)
            del self.descriptor

    # a file that made room for another is closed when no thread reads it any more
    __del__ = close
