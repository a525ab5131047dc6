import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata import _errors
from scdata.source.integers import as_counts


@given(
    st.lists(st.integers(0, 2**24), max_size=50),
    st.sampled_from(["int32", "int64", "uint32", "uint64", "float32", "float64", ">f4", ">i4", ">f8"]),
)
def test_counts_of_every_dtype_come_out_equal(values, dtype):
    counts = as_counts(np.array(values, dtype), where="x")
    assert counts.dtype == np.int32
    assert counts.tolist() == values


@pytest.mark.parametrize(("dtype", "largest"), [("uint8", 255), ("int16", 32767), ("float16", 2048)])
def test_narrow_dtypes(dtype, largest):
    assert as_counts(np.array([0, largest], dtype), where="x").tolist() == [0, largest]
    assert as_counts(np.array([True, False]), where="x").tolist() == [1, 0]


@pytest.mark.parametrize("dtype", ["int64", "uint64", "uint32", "float64"])
def test_a_large_count_is_not_wrapped(dtype):
    assert as_counts(np.array([70_000, 2**31 - 1], dtype), where="x").tolist() == [70_000, 2**31 - 1]
    with pytest.raises(_errors.NotCountsError, match=r"2147483648|2\.14748365e\+09.*over 2147483647"):
        as_counts(np.array([1, 2**31], dtype), where="x")


def test_float32_just_over_the_limit():
    # the nearest float32 to the limit is above it
    with pytest.raises(_errors.NotCountsError, match="over 2147483647"):
        as_counts(np.array([2**31 - 1], np.float32), where="x")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (-1.0, "the value -1 in row 107 is negative"),
        (np.nan, "the value nan in row 107 is not finite"),
        (np.inf, "the value inf in row 107 is not finite"),
        (-np.inf, "the value -inf in row 107 is not finite"),
        (0.5, "the value 0.5 in row 107 is not a whole number: the matrix looks normalized"),
        (3e9, "the value 3e+09 in row 107 is over 2147483647"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
# the second block of the pass, too
@pytest.mark.parametrize("before", [0, 70_000])
def test_what_is_no_count_is_named_with_its_row(value, why, dtype, before):
    data = np.array([1.0] * before + [1, 2, 3, 4, 5, 6, 7, value, -5], dtype)
    with pytest.raises(_errors.NotCountsError) as caught:
        as_counts(data, where="a.h5ad, layer X", row_of=lambda i: i + 100 - before, remedy="use layer raw.X")
    assert str(caught.value).startswith(f"a.h5ad, layer X: {why}")
    assert str(caught.value).endswith("; use layer raw.X")


def test_negative_integers_and_other_dtypes():
    with pytest.raises(_errors.NotCountsError, match="-3 is negative"):
        as_counts(np.array([1, -3, -4]), where="x")
    with pytest.raises(_errors.NotCountsError, match="dtype complex128"):
        as_counts(np.array([1j]), where="x")


def test_int32_is_not_copied():
    data = np.array([1, 2], np.int32)
    assert as_counts(data, where="x") is data
