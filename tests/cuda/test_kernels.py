"""CUDA kernels on the CPU against their NumPy twins, over shapes and values that hypothesis finds."""

import cuda_on_host
import cupy_standin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata._splitmix import splitmix64
from scdata.normalize.thinning import thin_numpy
from scdata.normalize.thinning_device import thin_device
from scdata.tokens.kernels import binning_device, ranking_device
from scdata.tokens.kernels.binning import quantile_bins, quantile_bins_numpy
from scdata.tokens.kernels.ranking import rank_order, rank_order_numpy

pytestmark = pytest.mark.skipif(cuda_on_host.COMPILER is None, reason="no C++ compiler for CUDA sources on the CPU")

ORDER = st.integers(0, 9)  # of threads and blocks
COUNT = st.one_of(st.integers(1, 4), st.integers(1, 600), st.integers(254, 258), st.integers(1, 2**31 - 1))
VALUE = st.one_of(
    st.sampled_from([1.0, np.nextafter(1.0, 2), np.nextafter(1.0, 0), 1.0 + 2**-40, 0.5, 2.0]),
    st.integers(0, 200).map(lambda k: 1.0 + k * 2.0**-52),
    st.floats(1e-300, 1e300),
)


def flat(cells, dtype):
    return np.cumsum([0, *map(len, cells)]), np.array([x for cell in cells for x in cell], dtype)


def on_standin(order, kernel, *arrays):
    """What a kernel gives on the stand-in, as NumPy arrays."""
    with cupy_standin.installed() as cupy:
        cupy.state.order = order
        result = kernel(*map(cupy.asarray, arrays))
        return [array.get() for array in (result if isinstance(result, tuple) else (result,))]


@settings(max_examples=150)
@given(st.lists(st.lists(VALUE, max_size=40), max_size=5), ORDER)
def test_rank_order(cells, order):
    indptr, values = flat(cells, np.float64)
    (found,) = on_standin(order, rank_order, indptr, values)
    assert found.tolist() == rank_order_numpy(indptr, values).tolist()


@settings(max_examples=150)
@given(st.lists(st.lists(VALUE, max_size=40), max_size=5))
def test_rank_order_by_packed_keys(cells):
    indptr, values = flat(cells, np.float64)
    (found,) = on_standin(0, ranking_device.rank_packed, indptr, values)
    assert found.tolist() == rank_order_numpy(indptr, values).tolist()


@settings(max_examples=150)
@given(st.lists(st.lists(COUNT, max_size=70), max_size=4), st.sampled_from([3, 4, 5, 10, 51, 52, 257]), ORDER)
def test_quantile_bins(cells, n_bins, order):
    indptr, counts = flat(cells, np.int32)
    expected = quantile_bins_numpy(indptr, counts, np.linspace(0, 1, n_bins - 1))
    found = on_standin(order, lambda *there: quantile_bins(*there, n_bins), indptr, counts)
    assert [bins.tolist() for bins in found] == [bins.tolist() for bins in expected]


@settings(max_examples=60)
@given(st.lists(st.lists(COUNT, max_size=70), max_size=4), ORDER)
def test_quantile_bins_of_cells_that_a_block_has_no_room_for(cells, order):
    indptr, counts = flat(cells, np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binning_device, "LARGE_COUNTS", 4)
        found = on_standin(order, lambda *there: quantile_bins(*there, 51), indptr, counts)
    expected = quantile_bins_numpy(indptr, counts, np.linspace(0, 1, 50))
    assert [bins.tolist() for bins in found] == [bins.tolist() for bins in expected]


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.integers(0, 90), max_size=40), max_size=5),
    st.sampled_from([0, 1, 1 << 62, (1 << 64) - 1]),
    ORDER,
)
def test_thinning(cells, share, order):
    indptr, counts = flat(cells, np.int32)
    n_cells = len(cells)
    arrays = (
        np.arange(len(counts), dtype=np.int32) * 7,
        np.arange(n_cells) % 3 > 0,
        np.full(n_cells, share, np.uint64),
        splitmix64(np.arange(n_cells, dtype=np.uint64)),
    )
    (found,) = on_standin(order, thin_device, indptr, counts, *arrays)
    assert found.tolist() == thin_numpy(indptr, counts, *arrays).tolist()
