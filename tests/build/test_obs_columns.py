import numpy as np
import pyarrow as pa
import pytest

from scdata._errors import LayerNotFoundError, SourceError
from scdata.build.obs_columns import ObsColumn, ObsScan, read_obs

TABLE = pa.table(
    {
        "s": pa.array(["b", None, "a", "b"]),
        "flag": pa.array([True, False, True, True]),
        "maybe": pa.array([True, None, False, None]),
        "i": pa.array([1, -2, 3, 4], pa.int16()),
        "j": pa.array([1, None, 3, 2**40], pa.int64()),
        "f": pa.array([0.5, None, float("nan"), 1], pa.float32()),
    }
)


def scanned(wanted=None, table=TABLE, n_obs=None):
    scan = ObsScan(wanted, [table.schema], len(table) if n_obs is None else n_obs)
    for start in range(0, len(table), 2):
        scan.add(table.select(scan.names).slice(start, 2))
    return scan


def test_types_follow_from_all_cells():
    columns = {column.name: column for column in scanned().columns()}
    assert columns["s"] == ObsColumn("s", "int32", ("a", "b"))
    assert {name: column.dtype for name, column in columns.items()} == {
        "s": "int32",
        "flag": "uint8",
        "maybe": "float64",
        "i": "int16",
        "j": "float64",
        "f": "float32",
    }


def test_values_are_encoded_and_nulls_are_minus_one_or_nan():
    for column in scanned().columns():
        values = column.encode(TABLE[column.name])
        assert values.dtype == np.dtype(column.dtype)
        plain = TABLE[column.name].to_pylist()
        if column.name == "s":
            assert values.tolist() == [1, -1, 0, 1]
            assert column.decode(values).to_pylist() == plain
        else:
            expected = [np.nan if v is None else float(v) for v in plain]
            assert np.array_equal(values.astype(np.float64), expected, equal_nan=True), column.name
            assert len(column.decode(values)) == 4


def test_a_string_that_no_scan_saw_is_null():
    assert ObsColumn("s", "int32", ("a",)).encode(pa.chunked_array([["z", "a"]])).tolist() == [-1, 0]


def test_strings_of_very_many_values_are_left_out_unless_asked_for():
    table = pa.table({"barcode": [f"cell-{i}" for i in range(1001)], "kind": ["x"] * 1001})
    scan = scanned(None, table)
    assert [column.name for column in scan.columns()] == ["kind"]
    assert scan.left_out == ["barcode"]
    assert [column.name for column in scanned(["barcode"], table).columns()] == ["barcode"]
    # a tenth of the cells is few
    assert scanned(None, table, n_obs=10_010).left_out == []


def test_the_order_and_repeats_of_what_is_asked_for():
    assert [c.name for c in scanned(["i", "s", "i"]).columns()] == ["i", "s"]
    assert scanned([]).columns() == []


def test_a_column_that_is_nowhere_is_an_error_that_lists_those_there_are():
    with pytest.raises(LayerNotFoundError) as error:
        ObsScan(["flags"], [TABLE.schema], 4)
    assert "no obs column 'flags'" in str(error.value)
    assert "did you mean 'flag'?" in str(error.value)
    assert "maybe" in str(error.value)


def test_sources_with_other_columns_and_types():
    one = pa.schema({"n": pa.int32(), "s": pa.string(), "only": pa.int64()})
    two = pa.schema({"n": pa.float32(), "s": pa.string()})
    scan = ObsScan(None, [one, two], 2)
    assert scan.fields["n"] == pa.float64()
    there = pa.table({"n": pa.array([1.5], pa.float32()), "s": ["x"]})
    read = read_obs(lambda rows, names: there.select(names), two, slice(0, 1), scan.fields, ["n", "only", "s"])
    assert read.schema == pa.schema({"n": pa.float64(), "only": pa.int64(), "s": pa.string()})
    assert read.to_pylist() == [{"n": 1.5, "only": None, "s": "x"}]
    scan.add(read)
    assert {c.name: c.dtype for c in scan.columns()} == {"n": "float64", "s": "int32", "only": "float64"}


def test_strings_in_one_source_and_numbers_in_another_are_refused():
    with pytest.raises(SourceError, match=r"obs column 'x' is .* in one source and .* in another: leave it out"):
        ObsScan(None, [pa.schema({"x": pa.string()}), pa.schema({"x": pa.int64()})], 2)


def test_no_columns_keep_the_number_of_cells():
    read = read_obs(lambda rows, names: TABLE.select([]), TABLE.schema, slice(1, 4), {}, [])
    assert len(read) == 3
