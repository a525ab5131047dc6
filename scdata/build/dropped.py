"""Which cells are copies that are not kept: a bit a cell, beside the plan."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from scdata._blocks import I64, Array
from scdata._store_files import is_file, read_ranges
from scdata.shard.files import write_bytes

DROPPED = "duplicates.bits"


def write_dropped(folder: Path, n_cells: int, parts: Iterable[I64]) -> None:
    """Write a bit for each of `n_cells` cell_ids, bit i & 7 of byte i >> 3: 1 for those in `parts`."""
    bits = np.zeros(-(-n_cells // 8), np.uint8)
    for cell_id in parts:
        np.bitwise_or.at(bits, cell_id >> 3, np.uint8(1) << (cell_id & 7).astype(np.uint8))
    write_bytes(folder / DROPPED, bits.tobytes())


def are_found(folder: Path) -> bool:
    """True once `write_dropped` is done."""
    return is_file(folder / DROPPED)


def read_dropped(folder: Path, begin: int, end: int) -> Array:
    """bool (end − begin,): which of the cell_ids from `begin` to `end` are not kept."""
    first, last = begin // 8, -(-end // 8)
    [data] = read_ranges([(folder / DROPPED, first, last - first)])
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    return bits[begin - 8 * first : end - 8 * first].astype(bool)
