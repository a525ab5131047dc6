"""What works on NumPy and not on CuPy is refused."""

import cuda_on_host
import cupy_standin as cupy
import numpy as np
import pytest

from scdata import _cuda

A = cupy.asarray(np.arange(5))
HOST = np.arange(5)

REFUSED = {
    "NumPy array beside": lambda: A + HOST,
    "NumPy array before": lambda: HOST + A,
    "NumPy array added in place": lambda: A.copy().__iadd__(HOST),
    "NumPy array as index": lambda: A[HOST],
    "list as index": lambda: A[[0, 1]],
    "NumPy array assigned": lambda: A.copy().__setitem__(slice(None), HOST),
    "one place twice": lambda: A.copy().__setitem__(cupy.asarray(np.array([1, 1])), 3),
    "becoming a NumPy array": lambda: np.asarray(A),
    "repeat by an array": lambda: np.repeat(A, A),
    "repeat by an array in CuPy": lambda: cupy.repeat(A, A),
    "lexsort": lambda: np.lexsort((A, A)),
    "function of both": lambda: cupy.searchsorted(A, HOST),
    "function of a NumPy array": lambda: cupy.flatnonzero(HOST),
    "where with a NumPy array": lambda: cupy.where(A > 1, A, HOST),
    "max with a start": lambda: A.max(initial=0),
    "sort by another method": lambda: A.argsort(kind="quicksort"),
    "reduceat": lambda: np.add.reduceat(A, A),
    "length by an array": lambda: cupy.empty(A[0]),
    "range by an array": lambda: cupy.arange(A[3]),
    "slice by an array": lambda: A[: A[2]],
    "unique along an axis": lambda: cupy.unique(A, axis=0),
    "name that CuPy may lack": lambda: cupy.add_everything,
    "float into integer": lambda: A.copy().__iadd__(0.5),
    "truth of many": lambda: bool(A > 2),
    "add.at of bytes": lambda: cupy.add.at(A.astype(np.int8), A, 1),
    "blocking stream": lambda: cupy.cuda.Stream(),
    "sums that round with products": lambda: cupy.RawModule(code=""),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    with pytest.raises((TypeError, ValueError, AttributeError, NotImplementedError)):
        REFUSED[what]()


def test_elements_stay_arrays():
    assert isinstance(A[2], cupy.ndarray)
    assert isinstance(A.max(), cupy.ndarray)
    assert int(A[2]) == 2
    assert not isinstance(A, np.ndarray)


def test_operators_and_functions_are_those_of_numpy():
    other = cupy.asarray(np.array([3, 1, 4, 1, 5]))
    assert (A * 2 + other % 3 - np.int64(1)).tolist() == (HOST * 2 + np.array([3, 1, 4, 1, 5]) % 3 - 1).tolist()
    assert (np.uint64(1) << A.astype(np.uint64)).tolist() == [1, 2, 4, 8, 16]
    assert np.diff(other).tolist() == [-2, 3, -3, 4]
    assert cupy.sort(other).tolist() == [1, 1, 3, 4, 5]
    assert other.tolist() == [3, 1, 4, 1, 5]


def test_fresh_memory_holds_rubbish():
    assert (cupy.empty(3, np.uint8)._a == cupy.RUBBISH).all()


@pytest.mark.skipif(cuda_on_host.COMPILER is None, reason="no C++ compiler for CUDA sources on the CPU")
def test_a_kernel_may_not_write_beyond_an_array():
    code = 'extern "C" __global__ void fill(int* x, int n) { if (threadIdx.x <= (unsigned)n) { x[threadIdx.x] = 1; } }'
    kernel = cupy.RawModule(code=code, options=_cuda.OPTIONS).get_function("fill")
    x = cupy.empty(8, np.int32)
    kernel((1,), (32,), (x, np.int32(7)))
    assert x.tolist() == [1] * 8
    with pytest.raises(RuntimeError, match="beyond"):
        kernel((1,), (32,), (x, np.int32(8)))
    with pytest.raises(ValueError, match="lie together"):
        kernel((1,), (32,), (cupy.empty(16, np.int32)[::2], np.int32(7)))
    with pytest.raises(TypeError, match="no fixed size"):
        kernel((1,), (32,), (x, 7))


def test_copies_on_another_stream_come_late():
    stream, source = cupy.cuda.Stream(non_blocking=True), np.arange(3)
    stream.late = True
    x = cupy.empty(3, np.int64)
    x.set(source, stream=stream)
    event = stream.record()
    assert x.tolist() != [0, 1, 2]
    source[0] = 9  # before the copy: it is seen
    cupy.cuda.get_current_stream().wait_event(event)
    assert x.tolist() == [9, 1, 2]
