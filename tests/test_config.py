import dataclasses
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata._config import from_table, nearest, to_table


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size = {self.size}: must not be negative")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner
    flag: bool = False
    words: tuple[str, ...] = ()
    limit: int | None = None
    other: Inner = field(default_factory=lambda: Inner(size=3))


TABLE = {"name": "a", "inner": {"size": 2}}


def test_a_table_becomes_a_dataclass():
    table = {**TABLE, "inner": {"size": 2, "scale": 3}, "flag": True, "words": ["x", "y"], "limit": 5}
    found = from_table(Outer, table, "file.toml")
    assert found == Outer(
        name="a", inner=Inner(size=2, scale=3.0), flag=True, words=("x", "y"), limit=5, other=Inner(size=3)
    )
    assert isinstance(found.inner.scale, float)


def test_defaults_stay_where_a_key_is_left_out():
    assert from_table(Outer, TABLE, "f") == Outer(name="a", inner=Inner(size=2))
    assert from_table(Outer, {**TABLE, "limit": None}, "f").limit is None


WRONG = [
    ({**TABLE, "flog": True}, "f: unknown key 'flog': did you mean 'flag'?"),
    ({**TABLE, "zzz": 1}, "f: unknown key 'zzz': Known: name, inner, flag, words, limit, other"),
    ({"name": "a", "inner": {"sise": 2}}, "f: inner: unknown key 'sise': did you mean 'size'?"),
    ({"inner": {"size": 2}}, "f: key 'name' is missing"),
    ({"name": "a", "inner": {}}, "f: inner: key 'size' is missing"),
    ({"name": "a", "inner": 3}, "f: inner: expected a table, found int"),
    ({"name": "a", "inner": {"size": -1}}, "f: inner: size = -1: must not be negative"),
    ({**TABLE, "name": 3}, "f: name: expected str, found 3 (int)"),
    ({**TABLE, "flag": 1}, "f: flag: expected bool, found 1 (int)"),
    ({**TABLE, "limit": True}, "f: limit: expected int, found True (bool)"),
    ({**TABLE, "limit": 1.5}, "f: limit: expected int, found 1.5 (float)"),
    ({"name": "a", "inner": {"size": 2, "scale": True}}, "f: inner: scale: expected float, found True"),
    ({"name": "a", "inner": {"size": 2, "scale": "1"}}, "f: inner: scale: expected float, found '1'"),
    ({**TABLE, "words": "x"}, "f: words: expected a list of strings, found 'x'"),
    ({**TABLE, "words": ["x", 1]}, "f: words: expected a list of strings"),
    ([], "f: expected a table, found list"),
    (None, "f: expected a table, found NoneType"),
]


@pytest.mark.parametrize(("table", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_table_names_the_place_and_the_key(table, message):
    with pytest.raises(ValueError) as raised:
        from_table(Outer, table, "f")
    assert message in str(raised.value)


inners = st.builds(Inner, size=st.integers(0, 99), scale=st.floats(allow_nan=False))
outers = st.builds(
    Outer,
    name=st.text(),
    inner=inners,
    flag=st.booleans(),
    words=st.lists(st.text()).map(tuple),
    limit=st.none() | st.integers(),
    other=inners,
)


@given(outers)
def test_to_table_goes_back(config):
    table = to_table(config)
    assert from_table(Outer, table, "f") == config
    assert list(table) == sorted(table)
    assert None not in table.values()


def test_to_table_leaves_none_out():
    config = dataclasses.replace(from_table(Outer, TABLE, "f"), words=("x",))
    assert to_table(config)["words"] == ["x"]
    assert "limit" not in to_table(config)


def test_nearest_names_all_that_are_known():
    assert nearest("geneformr", ["scgpt", "geneformer-v2"]) == (
        "did you mean 'geneformer-v2'? Known: scgpt, geneformer-v2"
    )
    assert nearest("x", []) == "Known: none"
