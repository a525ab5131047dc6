import multiprocessing
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata.stream.buffers import _LEAST, BufferPool, _rounded


def address(array):
    return array.ctypes.data


@given(st.integers(0, 1 << 40))
def test_sizes_are_rounded_up_by_an_eighth_at_most(n):
    size = _rounded(n)
    assert n <= size <= max(_LEAST, n + n // 8)
    assert _rounded(size) == size


def test_a_buffer_comes_back_when_nothing_looks_at_it():
    pool = BufferPool()
    first = pool.take((100, 1000), np.int32)
    view, where = first[3:5], address(first)
    del first
    assert address(pool.take(100_000, np.int32)) != where
    del view
    # also for what is a little smaller, of another shape and type
    assert address(pool.take(330_000, np.uint8)) == where


def test_a_buffer_that_is_in_use_is_not_given_away():
    pool = BufferPool()
    held = [pool.take(20_000, np.int32) for _ in range(300)]
    for i, array in enumerate(held):
        array[:] = i
    assert all((array == i).all() for i, array in enumerate(held))
    assert len({address(array) for array in held}) == 300


def test_a_pool_travels_empty():
    pool = BufferPool()
    pool.take(10, np.int32)
    assert pickle.loads(pickle.dumps(pool))._buffers == {}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_starts_anew_though_the_lock_is_held():
    pool = BufferPool()
    pool.take(10, np.int32)
    with pool._lock:
        process = multiprocessing.get_context("fork").Process(target=pool.take, args=(10, np.int32))
        process.start()
        process.join(20)
    assert process.exitcode == 0
