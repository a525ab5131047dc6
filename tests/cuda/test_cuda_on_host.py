"""The stand-ins themselves: faults that they are there to find are found."""

import cuda_on_host
import numpy as np
import pytest

from scdata import _cuda

pytestmark = pytest.mark.skipif(cuda_on_host.COMPILER is None, reason="no C++ compiler for CUDA sources on the CPU")

REVERSE = """
extern "C" __global__ void reverse(int* x) {
    extern __shared__ unsigned long long shared[];
    int* held = (int*)shared;
    held[threadIdx.x] = x[threadIdx.x];
    %s
    x[threadIdx.x] = held[blockDim.x - 1 - threadIdx.x];
}
"""


def reverse(code, order, shared_bytes=64 * 4):
    x = np.arange(64, dtype=np.int32)
    cuda_on_host.run(code, "reverse", 1, 64, [x], shared_bytes, order)
    return x.tolist()


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_threads_meet_at_a_barrier(order):
    assert reverse(REVERSE % "__syncthreads();", order) == list(range(63, -1, -1))


def test_a_missing_barrier_shows_in_every_order():
    right = list(range(63, -1, -1))
    assert all(reverse(REVERSE % "", order) != right for order in (0, 1, 2))


def test_a_barrier_that_some_do_not_reach():
    with pytest.raises(RuntimeError, match="not all threads reach the barrier"):
        reverse(REVERSE % "if (threadIdx.x < 32) { __syncthreads(); }", 0)


def test_two_barriers_are_not_one():
    code = "if (threadIdx.x < 32) {\n__syncthreads();\n} else {\n__syncthreads();\n}"
    with pytest.raises(RuntimeError, match="not all threads reach the barrier"):
        reverse(REVERSE % code, 0)


def test_shared_memory_ends_where_the_launch_says():
    with pytest.raises(RuntimeError, match="shared bytes is written"):
        reverse(REVERSE % "__syncthreads();", 0, shared_bytes=63 * 4)


def test_all_blocks_run_and_add_up():
    code = 'extern "C" __global__ void count(int* n, int by) { atomicAdd(n, by); }'
    for order in (0, 1, 5):
        n = np.zeros(1, np.int32)
        cuda_on_host.run(code, "count", 7, 33, [n, np.int32(2)], 0, order)
        assert n[0] == 7 * 33 * 2


@pytest.mark.parametrize("wrong", [np.zeros(64, np.int64), np.zeros(64, np.uint32), np.int32(3)])
def test_an_argument_of_another_type(wrong):
    with pytest.raises(TypeError, match=r"declares \*i4"):
        cuda_on_host.run(REVERSE % "", "reverse", 1, 64, [wrong], 256, 0)


def test_what_does_not_compile():
    with pytest.raises(RuntimeError, match="error"):
        cuda_on_host.load('extern "C" __global__ void f(int* x) { x[0] = y; }')


def test_every_source_compiles_and_names_its_kernels():
    found = {source: cuda_on_host.load((_cuda.ROOT / source).read_text()) for source in _cuda.sources()}
    assert len(found) == 5
    assert "tokens/kernels/ranking.cu" in found


@pytest.mark.parametrize("source", ["normalize/thinning.cu", "_splitmix.cu"])
def test_random_numbers_of_the_sources_are_ours(source):
    # the mixing function stands in sources once more
    text = (_cuda.ROOT / source).read_text()
    for constant in ("0x9E3779B97F4A7C15", "0xBF58476D1CE4E5B9", "0x94D049BB133111EB"):
        assert constant in text
