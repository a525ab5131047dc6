"""Feeds altered cells, blocks and sets to what reads them. Prints how many were refused, and how many were not.

``python fuzz.py cells|blocks SEED CASES``, ``python fuzz.py sets SEED CASES SET``: a process of its own, because a decoder that
leaves its buffers, which lie in memory that may not be left, ends it.
"""

import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import xxhash
from altered_set import AlteredSet
from guarded import Guarded

from scdata import ShardDataset, _jit, verify_shards
from scdata._errors import CorruptShardError, ScdataError
from scdata._splitmix import splitmix64
from scdata.shard import codes
from scdata.shard.block import COUNTS, TOKENS, encode_block, parse_block
from scdata.shard.cells import Cells
from scdata.shard.codes import Bytes, CodedCounts, decode_counts, encode_counts

GENES, CHUNK, DRAWS = 700, 1000, 48
COLUMNS = ("codes", "gap_at", "gap_more", "count_at", "count_more")
ODD = np.array([0, 1, 0x7F, 0x80, 0xFE, 0xFF, 0x0F, 0xF0], np.uint8)  # bytes that mean something to a decoder


def draws(seed, n):
    """A row of random numbers a case, the same on every machine."""
    for first in range(0, n, CHUNK):
        counter = np.arange(CHUNK * DRAWS, dtype=np.uint64) + np.uint64(seed << 40) + np.uint64(first * DRAWS)
        yield from splitmix64(counter).reshape(CHUNK, DRAWS)[: n - first]


def cells_of(rng, genes=GENES):
    """CSR of a few cells, with gaps and counts that need exceptions, empty cells, and one cell that is large."""
    lengths = rng.integers(0, 40, rng.integers(1, 7))
    lengths[rng.random(len(lengths)) < 0.2] = 0
    if rng.random() < 0.3:
        lengths[0] = 600
    ids = np.concatenate([np.sort(rng.choice(genes, n, replace=False)) for n in lengths]).astype(np.int32)
    large = rng.random(len(ids)) < 0.2
    counts = np.where(large, rng.integers(1, 2**31, len(ids)), rng.integers(1, 4, len(ids))).astype(np.int32)
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64), ids, counts


def altered(parts, draw):
    """Columns with some bytes changed, cut, or moved from one cell to another, as `parse_block` may let them pass."""
    parts = dict(parts)
    numbers = iter(draw.tolist())
    for _ in range(1 + next(numbers) % 3):
        name, how, a, b = COLUMNS[next(numbers) % 5], next(numbers) % 8, next(numbers), next(numbers)
        offsets, data = parts[name].offsets.copy(), parts[name].data.copy()
        if how < 5 and len(data):
            data[a % len(data)] = ODD[b % 8] if how < 3 else b % 256
        elif how == 5 and len(offsets) > 2:
            at = 1 + a % (len(offsets) - 2)
            offsets[at] = offsets[at - 1] + b % (int(offsets[at + 1]) - int(offsets[at - 1]) + 1)
        elif how == 6:
            offsets = np.minimum(offsets, a % (int(offsets[-1]) + 1)).astype(np.int32)
            data = data[: offsets[-1]]
        else:
            more = np.repeat(ODD[b % 8], 1 + a % 300)
            data, offsets = np.concatenate((data, more)), offsets.copy()
            offsets[-1] += len(more)
        parts[name] = Bytes(offsets, data)
    return parts


def fuzz_cells(seed, n):
    """Cells that pass the checks of a block, decoded into buffers of just their size."""
    rng = np.random.default_rng(seed)
    rooms = [Guarded(1 << 16) for _ in range(14)]
    table = rooms[12].copy(np.arange(GENES, dtype=np.int32), True)
    seen = {"refused": 0, "decoded": 0}
    for i, draw in enumerate(draws(seed, n)):
        if i % 500 == 0:
            coded = encode_counts(*cells_of(rng))
            good = {name: getattr(coded, name) for name in COLUMNS}
        parts = altered(good, draw)
        at_end = bool(draw[-1] & np.uint64(1))
        held = []
        for k, name in enumerate(COLUMNS):
            own = parts[name]
            held.append(Bytes(rooms[2 * k].copy(own.offsets, at_end), rooms[2 * k + 1].copy(own.data, at_end)))
        own = CodedCounts(coded.gap_bits, *held)
        lengths = np.diff(own.codes.offsets).astype(np.int64)
        rows = np.arange(len(lengths))[:: 1 if draw[-2] & np.uint64(1) else -1].copy()
        start = np.cumsum(lengths[rows]) - lengths[rows]
        ids = rooms[10].array(int(lengths.sum()), np.int32, at_end)
        counts = rooms[11].array(len(ids), np.int32, at_end)
        ids[:], counts[:] = -7, -7
        try:
            decode_counts([own], np.zeros_like(rows), rows, table, start, ids, counts)
        except CorruptShardError:
            seen["refused"] += 1
            found = None
        else:
            seen["decoded"] += 1
            found = ids.tolist(), counts.tolist()
            assert all(0 <= x < GENES for x in found[0])
            assert all(x >= 1 for x in found[1])
        if i % 50 == 0:
            assert found == plainly(own, rows, table, start, len(ids)), f"case {i} of seed {seed}"
    return seen


def plainly(own, rows, table, start, n):
    """What the decoder without numba makes of it."""
    ids, counts = np.empty(n, np.int32), np.empty(n, np.int32)
    try:
        codes._decode_numpy(own, rows, table, start, ids, counts)
    except CorruptShardError:
        return None
    return ids.tolist(), counts.tolist()


def block_of(rng, encoding, codec):
    indptr, ids, counts = cells_of(rng)
    n = len(indptr) - 1
    return encode_block(
        Cells(
            indptr=indptr,
            ids=ids,
            values=counts,
            cell_id=np.arange(n),
            dataset=np.zeros(n, np.int32),
            total_counts=np.arange(n),
            vocab_counts=np.arange(n),
            obs={"age": np.arange(n) / 2, "cell_type": np.arange(n, dtype=np.int32) - 1},
        ),
        encoding,
        codec,
        GENES,
    )


def changed(good, draw):
    """Bytes with some changed: bits, bytes, numbers, and parts copied elsewhere."""
    data = good.copy()
    numbers = iter(draw.tolist())
    for _ in range(1 + next(numbers) % 3):
        at, how, value = next(numbers) % len(data), next(numbers) % 4, next(numbers)
        if how == 0:
            data[at] ^= np.uint8(1 << value % 8)
        elif how == 1:
            data[at] = ODD[value % 8]
        elif how == 2:  # a number of eight bytes
            at &= ~7
            data[at : at + 8] = np.frombuffer((value >> (value % 64)).to_bytes(8, "little"), np.uint8)[: len(data) - at]
        else:
            taken = data[value % len(data) :][:4].copy()
            data[at : at + len(taken)] = taken[: len(data) - at]
    return data


def fuzz_blocks(seed, n):
    """Bytes of blocks, with some changed."""
    rng = np.random.default_rng(seed)
    room = Guarded(1 << 20)
    table = np.arange(GENES, dtype=np.int32)
    seen = {"refused": 0, "decoded": 0}
    for i, draw in enumerate(draws(seed, n)):
        if i % 200 == 0:
            encoding, codec = ((COUNTS, TOKENS)[i // 200 % 2], ("none", "zstd")[i // 400 % 2])
            good = np.frombuffer(block_of(rng, encoding, codec), np.uint8)
        data = changed(good, draw)
        try:
            stored = parse_block(room.copy(data, True))
            stored.check(GENES, {"dataset": 1, "obs.cell_type": 10})
            cells = stored.decode(table if stored.coded is not None else None)
        except CorruptShardError:
            seen["refused"] += 1
        else:
            seen["decoded"] += 1
            assert cells.indptr[-1] == len(cells.ids)
            assert cells.ids.min(initial=0) >= 0
            assert cells.ids.max(initial=0) < GENES
    return seen


def fuzz_sets(seed, n, healthy):
    """Sets of which one file was changed, and everything signed again; loaded, filtered, verified."""
    seen = {"refused": 0, "decoded": 0}
    warnings.simplefilter("ignore")
    names = sorted(p.relative_to(healthy).as_posix() for p in Path(healthy).rglob("*") if p.is_file())
    for i, draw in enumerate(draws(seed, n)):
        with tempfile.TemporaryDirectory() as folder:
            own = AlteredSet(Path(shutil.copytree(healthy, Path(folder) / "set")))
            name = names[int(draw[-3] % np.uint64(len(names)))]
            change_file(own, name, draw)
            for way in range(3):
                try:
                    if way == 2:
                        assert isinstance(verify_shards(own.path).problems, list)
                        continue
                    dataset = ShardDataset(
                        own.path,
                        columns=("cell_type", "measured"),
                        filter="not is_control" if way else None,
                        num_threads=0,
                    )
                    ids = [x for batch in dataset for x in batch["token_ids"].flatten().tolist()]
                    assert all(0 <= x < dataset.vocab.n_tokens for x in ids)
                    seen["decoded"] += 1
                except ScdataError:
                    seen["refused"] += 1
                except Exception as error:
                    raise AssertionError(f"case {i} of seed {seed}, {name}") from error
    return seen


def change_file(own, name, draw):
    path = own.path / name
    good = np.frombuffer(path.read_bytes(), np.uint8)
    if path.suffix != ".tar":
        path.write_bytes(changed(good, draw).tobytes())
        if name.startswith("obs/"):
            own.sign_shard()
        elif name != "manifest.json":
            own.sign(name)
        return

    def one_block(rows):
        mine = [row for row in rows if name == f"shards/000/{row['split']}-{row['shard']:06d}.tar"]
        row = mine[int(draw[-4] % np.uint64(len(mine)))]
        part = slice(row["offset"], row["offset"] + row["length"])
        data = good.copy()
        data[part] = changed(good[part], draw)
        path.write_bytes(data.tobytes())
        row["xxh3"] = xxhash.xxh3_64_intdigest(data[part].tobytes())

    own.index(one_block)
    own.sign_shard()


if __name__ == "__main__":
    assert _jit.available()
    what = {"cells": fuzz_cells, "blocks": fuzz_blocks, "sets": fuzz_sets}[sys.argv[1]]
    print(what(int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
