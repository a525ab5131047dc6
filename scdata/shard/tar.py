"""Shards as plain WebDataset tars, read by offsets.

Members are ``{split}-{shard:06d}-{block:06d}.arrow``, in order, with mtime 0 and no owner, so that equal blocks give equal
bytes: those of ``webdataset.TarWriter``, whose import would cost each process the seconds that torch takes. webdataset's own
reader takes a tar that ends at a member boundary for a whole one; `walk` does not.
"""

import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO, RawIOBase
from typing import BinaryIO

import numpy as np

from scdata._blocks import Array
from scdata._errors import CorruptShardError

SHARDS_A_FOLDER = 1000
_RECORD = 512


def shard_name(split: str, shard: int) -> str:
    """Path of a shard below ``shards/`` without its suffix: ``000/train-000000``."""
    return f"{shard // SHARDS_A_FOLDER:03d}/{split}-{shard:06d}"


def member_name(split: str, shard: int, block: int) -> str:
    """Name of a block's member in its shard."""
    return f"{split}-{shard:06d}-{block:06d}.arrow"


def write_tar(file: RawIOBase | BinaryIO, split: str, shard: int, blocks: Iterable[bytes]) -> list[tuple[int, int]]:
    """Write a shard.

    Parameters
    ----------
    file
        Open for writing, at its start.
    split, shard
        What the shard is called.
    blocks
        Bytes of its blocks.

    Returns
    -------
    Offset and length of each block's data in the file.
    """
    places, end = [], 0
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for number, block in enumerate(blocks):
            member = tarfile.TarInfo(member_name(split, shard, number))
            member.size = len(block)
            tar.addfile(member, BytesIO(block))
            offset = end + _RECORD  # after the member's header
            places.append((offset, len(block)))
            end = offset + -(-len(block) // _RECORD) * _RECORD
    return places


def walk(data: bytes, uri: str) -> Iterator[tuple[str, int, int]]:
    """Name, data offset and length of every member of a tar, checking that it ends as a tar must.

    Raises
    ------
    CorruptShardError
        If a header is damaged, a member is not a regular file, or the end is missing; names `uri` and the offset.
    """
    offset = 0
    while True:
        header = data[offset : offset + _RECORD]
        if len(header) < _RECORD:
            raise CorruptShardError(f"{uri}: cut off at byte {len(data)}: the tar has no end marker")
        if header == bytes(_RECORD):
            rest = data[offset + _RECORD :]
            if len(rest) < _RECORD or rest.strip(b"\0"):
                raise CorruptShardError(f"{uri}: the end marker at byte {offset} is damaged or followed by data")
            return
        try:
            member = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeError) as error:
            raise CorruptShardError(f"{uri}: no tar header at byte {offset}: {error}") from error
        if not member.isreg():
            raise CorruptShardError(f"{uri}: member {member.name!r} at byte {offset} is not a plain file")
        if member.size < 0:
            raise CorruptShardError(f"{uri}: member {member.name!r} at byte {offset} says it has {member.size} bytes")
        yield member.name, offset + _RECORD, member.size
        offset += _RECORD + -(-member.size // _RECORD) * _RECORD


def read_exactly(
    file: int, offset: int, length: int, uri: str, allocate: Callable[[int], Array] | None = None
) -> Array:
    """uint8 (length,): what stands at `offset` of an open file descriptor.

    Parameters
    ----------
    allocate
        Gives memory for so many bytes, once it is known that they are there; None: new memory.

    Raises
    ------
    CorruptShardError
        If the file ends before.
    """
    size, end = os.fstat(file).st_size, offset + length
    if end > size:
        raise CorruptShardError(f"{uri}: ends at byte {size}, a block needs {end}")
    out = np.empty(length, np.uint8) if allocate is None else allocate(length)
    view, done = out.data, 0
    while done < length:
        n = os.preadv(file, [view[done:]], offset + done)
        if not n:  # it shrank meanwhile
            raise CorruptShardError(f"{uri}: ends at byte {os.fstat(file).st_size}, a block needs {end}")
        done += n
    return out
