"""Rows padded and spread over columns on a device, as on the CPU."""

import numpy as np
import pytest

from scdata.batch.collate import dense_rows, pad_flat, pad_rows
from scdata.tokens import Ragged

N_TOKENS, N_COLUMNS = 300, 270
LENGTHS = {"none": [], "empty": [0, 0], "one": [1], "some": [3, 0, 256, 1, 255, 257, 40]}


@pytest.fixture(params=LENGTHS)
def cells(request, rng):
    lengths = LENGTHS[request.param]
    ids = [rng.permutation(N_TOKENS)[:n] for n in lengths]
    indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return Ragged(
        indptr, np.concatenate([*ids, np.empty(0)]).astype(np.int32), rng.integers(-9, 99, indptr[-1]).astype(np.int32)
    )


def width(cells):
    return int(np.diff(cells.indptr).max(initial=0)) + 3


@pytest.mark.parametrize("id_type", [np.int32, np.int64])
@pytest.mark.parametrize("value_type", [np.int32, np.float32, None])
def test_rows(device, cells, id_type, value_type):
    shape = (len(cells.indptr) - 1, width(cells))
    values = None if value_type is None else cells.values.astype(value_type)
    expected = [
        np.empty(shape, id_type),
        None if values is None else np.empty(shape, value_type),
        np.empty(shape, bool),
    ]
    pad_rows(Ragged(cells.indptr, cells.token_ids, values), *expected, 7, -2)
    given = Ragged(*device(cells.indptr, cells.token_ids), None if values is None else device(values))
    for _ in device.orders():
        found = [None if own is None else device.cupy.empty(own.shape, own.dtype) for own in expected]
        pad_rows(given, *found, 7, -2)
        for one, own in zip(found, expected, strict=True):
            assert one is None or np.array_equal(device.back(one), own)


@pytest.mark.parametrize(
    ("kind", "out_kind", "pad"),
    [(bool, bool, 0), (np.int16, np.int16, -3), (np.int32, np.int64, -100), (np.float64, np.float64, -0.5)],
)
def test_columns_of_any_type(device, cells, kind, out_kind, pad):
    flat, shape = cells.values.astype(kind), (len(cells.indptr) - 1, width(cells))
    expected = np.empty(shape, out_kind)
    pad_flat(cells.indptr, flat, expected, pad)
    found = device.cupy.empty(shape, out_kind)
    # part of a longer array, as those of a chunk are
    pad_flat(device(cells.indptr), device(np.concatenate((flat[:1], flat)))[len(flat[:1]) :], found, pad)
    assert np.array_equal(device.back(found), expected)


@pytest.mark.parametrize("out_kind", [np.int32, np.int64, np.float32, np.float64])
def test_dense(device, cells, rng, out_kind):
    column_of = np.full(N_TOKENS, -1, np.int32)
    column_of[rng.permutation(N_TOKENS)[:N_COLUMNS]] = np.arange(N_COLUMNS)
    expected = np.empty((len(cells.indptr) - 1, N_COLUMNS), out_kind)
    dense_rows(cells, column_of, expected)
    given = Ragged(*device(cells.indptr, cells.token_ids, cells.values))
    for _ in device.orders():
        found = device.cupy.empty(expected.shape, out_kind)
        dense_rows(given, column_of, found)
        assert np.array_equal(device.back(found), expected)
