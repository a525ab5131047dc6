"""Parquet of ours, read in bounded memory, is what Arrow reads; what is not of ours is refused."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scdata.shard.parquet_bounds import open_bounded_parquet, read_bounded_parquet


def table(n):
    rng = np.random.default_rng(n)
    words = pa.array(["B cell", "", None, "naïve", "x" * 300]).take(pa.array(rng.integers(0, 5, n)))
    return pa.table(
        {
            "words": words,
            "obs.words": words.dictionary_encode(),
            "large": words.cast(pa.large_string()),
            "names": pa.array([f"cell-{i}" for i in range(n)], pa.string()),
            "flags": pa.array(rng.random(n) < 0.5),
            "halves": pa.array(rng.random(n).astype(np.float16)),
            "floats": pa.array(np.where(rng.random(n) < 0.1, np.nan, rng.random(n))),
            **{str(np.dtype(t)): pa.array(rng.integers(0, 100, n).astype(t)) for t in (np.uint8, np.int16, np.int64)},
        }
    )


def written(data, **options):
    file = io.BytesIO()
    pq.write_table(data, file, **options)
    return file


@pytest.mark.parametrize("n", [0, 1, 1000])
@pytest.mark.parametrize("compression", ["zstd", "none", "snappy"])
@pytest.mark.parametrize(
    "options",
    [{}, {"row_group_size": 300}, {"data_page_version": "2.0", "data_page_size": 500}, {"use_dictionary": False}],
)
def test_it_reads_what_arrow_reads(n, compression, options):
    file = written(table(n), compression=compression, **options)
    assert open_bounded_parquet(file).metadata.num_rows == n
    found, expected = read_bounded_parquet(file), pq.read_table(file)
    assert found.schema.equals(expected.schema)
    # as text, in which NaN is NaN
    assert str(found.to_pydict()) == str(expected.to_pydict())
    for columns in (["obs.words", "int64"], ["large"], []):
        assert read_bounded_parquet(file, columns).column_names == [c for c in expected.column_names if c in columns]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([[1], [2]]), r"'a' holds list<.*>, not strings or numbers"),
        (pa.array([{"b": 1}, {"b": 2}]), r"'a' holds struct<.*>, not strings or numbers"),
        (pa.array([b"x" * 2000, b"y" * 2000], pa.binary(2000)), r"'a' holds fixed_size_binary\[2000\]"),
    ],
)
def test_types_that_no_set_has(column, said):
    file = written(pa.table({"a": column, "n": [1, 2]}))
    assert read_bounded_parquet(file, ["n"])["n"].to_pylist() == [1, 2]
    with pytest.raises(ValueError, match=said):
        read_bounded_parquet(file)


def test_two_columns_of_one_name():
    file = written(pa.table([pa.array(["x"]), pa.array(["y"])], names=["a", "a"]))
    with pytest.raises(ValueError, match="two columns of one name"):
        read_bounded_parquet(file, ["a"])


@pytest.mark.parametrize("seed", range(3))
def test_altered_bytes_are_refused_or_read(seed):
    rng = np.random.default_rng(seed)
    good = written(table(200), compression=["zstd", "none", "snappy"][seed]).getvalue()
    refused = 0
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        try:
            file = io.BytesIO(data)
            if open_bounded_parquet(file).metadata.num_rows == 200:
                read_bounded_parquet(file)
        except (ValueError, OSError, pa.ArrowException):
            refused += 1
    assert refused > 30
