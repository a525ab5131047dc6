import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata import _jit
from scdata._errors import CorruptShardError
from scdata.shard import codes
from scdata.shard.codes import Bytes, decode_counts, encode_counts

GENES = 60_000
COUNT = st.one_of(st.integers(1, 3), st.integers(1, 300), st.integers(1, 2**31 - 1))
GAP = st.one_of(st.integers(1, 3), st.integers(14, 18), st.integers(126, 130), st.integers(1, 60_000))


@st.composite
def cells(draw):
    """Cells of rising gene codes with counts, as CSR."""
    lists = draw(st.lists(st.lists(st.tuples(GAP, COUNT), max_size=12), max_size=6))
    ids, counts = [], []
    for cell in lists:
        code = np.cumsum([gap for gap, _ in cell]) - 1
        keep = code < GENES
        ids.append(code[keep])
        counts.append(np.array([count for _, count in cell])[keep])
    indptr = np.cumsum([0, *map(len, ids)])
    return indptr, *(np.concatenate([np.empty(0), *part]).astype(np.int32) for part in (ids, counts))


def decode(coded, n_genes=GENES, rows=None, numba=True, monkeypatch=None):
    """Decode with a margin around the buffers, which must stay as it was."""
    lengths = np.diff(coded.codes.offsets)
    rows = np.arange(len(coded.codes.offsets) - 1) if rows is None else np.asarray(rows, np.int64)
    ends = np.cumsum(lengths[rows])
    start = ends - lengths[rows] + 3
    size = int(ends[-1]) if len(ends) else 0
    ids, counts = np.full(size + 6, -7, np.int32), np.full(size + 6, -7, np.int32)
    table = np.arange(n_genes, dtype=np.int32)
    try:
        if numba:
            decode_counts([coded], np.zeros_like(rows), rows, table, start, ids, counts)
        else:
            codes._decode_numpy(coded, rows, table, start, ids, counts)
    except CorruptShardError:
        result = None
    else:
        result = ids[3:-3].tolist(), counts[3:-3].tolist()
    for buffer in (ids, counts):
        assert (buffer[:3] == -7).all()
        assert (buffer[size + 3 :] == -7).all()
    return result


@settings(max_examples=300, deadline=None)
@given(cells())
def test_both_encoders_write_the_same_bytes(matrix):
    compiled, plain = codes._encode_jit(*matrix), codes._encode_numpy(*matrix)
    assert compiled.gap_bits == plain.gap_bits
    for ours, theirs in zip(compiled.arrays, plain.arrays, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tolist() == theirs.tolist()


@settings(max_examples=200, deadline=None)
@given(cells())
def test_round_trip_of_both_decoders(matrix):
    indptr, ids, counts = matrix
    coded = encode_counts(indptr, ids, counts)
    assert _jit.available()
    assert len(coded.codes.offsets) - 1 == len(indptr) - 1
    for numba in (True, False):
        assert decode(coded, numba=numba) == (ids.tolist(), counts.tolist())


@settings(max_examples=50, deadline=None)
@given(cells(), st.data())
def test_rows_in_any_order(matrix, data):
    indptr, ids, counts = matrix
    coded = encode_counts(indptr, ids, counts)
    n_cells = len(indptr) - 1
    rows = data.draw(st.lists(st.integers(0, max(n_cells - 1, 0)), max_size=8 if n_cells else 0))
    parts = [slice(indptr[row], indptr[row + 1]) for row in rows]
    expected = [int(x) for part in parts for x in ids[part]], [int(x) for part in parts for x in counts[part]]
    for numba in (True, False):
        assert decode(coded, rows=rows, numba=numba) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(cells(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_cells_of_several_blocks(matrices, random):
    coded = [encode_counts(*matrix) for matrix in matrices]
    where = [(b, r) for b, matrix in enumerate(matrices) for r in range(len(matrix[0]) - 1)]
    random.shuffle(where)
    block, row = np.array(where, np.int64).reshape(-1, 2).T.copy()
    parts = [(matrices[b], slice(*matrices[b][0][r : r + 2])) for b, r in where]
    start = np.cumsum([0, *(part.stop - part.start for _, part in parts)])
    table = np.arange(GENES, dtype=np.int32)[::-1].copy()
    for compiled in (True, False):
        ids, counts = np.empty(start[-1], np.int32), np.empty(start[-1], np.int32)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_jit, "available", lambda compiled=compiled: compiled)
            decode_counts(coded, block, row, table, start[:-1], ids, counts)
        assert ids.tolist() == [table[x] for matrix, part in parts for x in matrix[1][part]]
        assert counts.tolist() == [x for matrix, part in parts for x in matrix[2][part]]


@pytest.mark.parametrize("n", [1, 254, 255, 256, 257, 509, 510, 511, 512, 765, 1100])
def test_exceptions_across_borders_of_255(n):
    # one far exception at place n, others before and after it
    for places in ([n], [0, n], [n, n + 1], [n, n + 255], [n, n + 256, 2 * n + 300]):
        length = 2 * n + 400
        counts = np.ones(length, np.int32)
        counts[places] = [2**31 - 1 - i for i in range(len(places))]
        ids = np.arange(length, dtype=np.int32)
        for place in places:
            ids[place:] += 300
        coded = encode_counts(np.array([0, length, length]), ids, counts)
        for numba in (True, False):
            assert decode(coded, numba=numba) == (ids.tolist(), counts.tolist())


def test_every_entry_an_exception():
    ids = np.arange(199, GENES, 200, dtype=np.int32)
    counts = np.full(len(ids), 2**31 - 1, np.int32)
    indptr = np.array([0, 0, len(ids), len(ids)])
    assert decode(encode_counts(indptr, ids, counts)) == (ids.tolist(), counts.tolist())


def test_a_byte_a_non_zero_as_it_is_specified():
    # gaps 1, 2, 17 and 600; counts 1, 3, 16 and 1000: 4 bits of gap, 4 of count
    ids, counts = np.array([0, 2, 19, 619], np.int32), np.array([1, 3, 16, 1000], np.int32)
    coded = encode_counts(np.array([0, 4]), ids, counts)
    assert coded.gap_bits == 4
    assert coded.codes.data.tolist() == [0x00, 0x21, 0xFF, 0xFF]
    assert coded.gap_at.data.tolist() == [2, 1]
    assert coded.gap_more.data.tolist() == [1, 0x80 | (584 & 0x7F), 584 >> 7]
    assert coded.count_at.data.tolist() == [3]
    assert coded.count_more.data.tolist() == [0x80 | (984 & 0x7F), 984 >> 7]


@pytest.mark.parametrize("numba", [True, False])
def test_a_gene_outside_the_space_is_refused(numba):
    coded = encode_counts(np.array([0, 2]), np.array([3, 9], np.int32), np.ones(2, np.int32))
    assert decode(coded, 10, numba=numba) == ([3, 9], [1, 1])
    assert decode(coded, 9, numba=numba) is None
    assert decode(coded, 0, numba=numba) is None


def test_the_row_is_named():
    good = encode_counts(np.array([0, 2, 3]), np.array([3, 5, 9], np.int32), np.ones(3, np.int32))
    out = np.empty(3, np.int32)
    arguments = (np.arange(2), np.arange(8, dtype=np.int32), np.array([0, 2]), out, out.copy())
    wrong = r"row 1 of the block does not decode: .* outside the gene space"
    with pytest.raises(CorruptShardError, match=wrong):
        decode_counts([good], np.zeros(2, np.int64), *arguments)
    with pytest.raises(CorruptShardError, match=wrong):
        codes._decode_numpy(good, *arguments)


COLUMNS = ("codes", "gap_at", "gap_more", "count_at", "count_more")


def hostile(rng, coded):
    """A copy with some bytes changed, or bytes moved from one cell to another."""
    parts = {name: getattr(coded, name) for name in COLUMNS}
    for _ in range(rng.integers(1, 4)):
        name = COLUMNS[rng.integers(len(COLUMNS))]
        data, offsets = parts[name].data.copy(), parts[name].offsets.copy()
        if len(data) and rng.random() < 0.8:
            at = rng.integers(len(data))
            data[at] = rng.choice([0, 1, 127, 128, 254, 255, rng.integers(256), data[at] ^ (1 << rng.integers(8))])
        elif len(offsets) > 2 and name != "codes":
            at = rng.integers(1, len(offsets) - 1)
            offsets[at] = rng.integers(offsets[at - 1], offsets[at + 1] + 1)
        parts[name] = Bytes(offsets, data)
    return dataclasses.replace(coded, **parts)


@pytest.mark.parametrize("seed", range(4))
def test_both_decoders_agree_on_altered_blocks(seed):
    rng = np.random.default_rng(seed)
    refused = passed = 0
    for _ in range(40):
        lengths = rng.integers(0, 400, rng.integers(1, 5))
        lengths[rng.random(len(lengths)) < 0.2] = 0
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        ids = np.concatenate([np.sort(rng.choice(GENES, n, replace=False)) for n in lengths]).astype(np.int32)
        counts = np.where(rng.random(len(ids)) < 0.05, rng.integers(1, 2**31, len(ids)), 1).astype(np.int32)
        coded = encode_counts(indptr, ids, counts)
        for _ in range(40):
            altered = hostile(rng, coded)
            found = decode(altered)
            assert found == decode(altered, numba=False)
            refused += found is None
            passed += found is not None
            if found is not None:
                assert all(0 <= code < GENES for code in found[0])
                assert all(count >= 1 for count in found[1])
    assert refused > 200
    assert passed > 200


def test_exceptions_far_apart_and_as_large_as_can_be():
    n = 3000
    counts = np.ones(n, np.int32)
    counts[[0, 254, 255, 256, 800, 2999]] = 2**31 - 1
    ids = np.arange(n, dtype=np.int32) + np.repeat([0, 2**30], [1000, 2000]).astype(np.int32)
    matrix = np.array([0, 0, n, n]), ids, counts
    compiled, plain = codes._encode_jit(*matrix), codes._encode_numpy(*matrix)
    assert [array.tolist() for array in compiled.arrays] == [array.tolist() for array in plain.arrays]
