import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata.build.splits import SplitRules


def assign(texts, obs=None, n=10_000, seed=0, cell_id=None):
    """Name of each cell's split."""
    cell_id = np.arange(n) if cell_id is None else cell_id
    obs = pa.table({"": pa.nulls(len(cell_id))} if obs is None else obs)
    rules = SplitRules.parse(texts)
    sizes = {
        column: {v["values"]: v["counts"] for v in obs[column].cast(pa.string()).value_counts().to_pylist()}
        for column in rules.group_columns
    }
    return np.array(rules.names)[rules.resolve(seed, sizes).assign(cell_id, obs)]


def test_fractions_of_cells_are_disjoint_parts_of_about_their_size():
    out = assign(["val=0.1", "test=0.25"], n=40_000)
    names, counts = np.unique(out, return_counts=True)
    assert names.tolist() == ["test", "train", "val"]
    assert np.allclose(counts / 40_000, [0.25, 0.65, 0.1], atol=0.01)


def test_a_cell_keeps_its_split_whatever_cells_stand_beside_it():
    whole = assign(["val=0.3"], n=1000)
    chosen = np.array([5, 17, 400, 999])
    assert (assign(["val=0.3"], cell_id=chosen) == whole[chosen]).all()


def test_another_seed_gives_another_split():
    assert (assign(["val=0.5"], seed=1) != assign(["val=0.5"], seed=2)).any()


def test_a_larger_fraction_contains_a_smaller_one():
    small, large = assign(["val=0.1"]) == "val", assign(["val=0.3"]) == "val"
    assert (large | ~small).all()
    assert large.sum() > small.sum()


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=2, max_size=60),
    st.floats(0.01, 0.98),
    st.integers(0, 5),
)
def test_groups_stay_whole_and_reach_the_fraction(donors, fraction, seed):
    if len(set(donors)) < 2:
        donors = ["a", *donors, None]
    out = assign([f"val={fraction:.3f}:donor"], {"donor": pa.array(donors, pa.string())}, len(donors), seed)
    of_group = {donor: {s for s, d in zip(out, donors, strict=True) if d == donor} for donor in set(donors)}
    assert all(len(splits) == 1 for splits in of_group.values())
    held = (out == "val").sum()
    goal = float(f"{fraction:.3f}") * len(donors)
    assert held >= goal
    # it stopped with the group that reached the fraction
    assert held - max(donors.count(donor) for donor, s in of_group.items() if s == {"val"}) < goal


def test_two_fractions_of_one_column_take_different_groups_and_leave_one_for_each():
    donors = pa.array(["a"] * 90 + ["b"] * 5 + ["c"] * 5)
    for seed in range(20):
        out = assign(["val=0.3:donor", "test=0.3:donor"], {"donor": donors}, 100, seed)
        groups = {donor.as_py(): split for donor, split in zip(donors, out, strict=True)}
        assert list(groups.values()).count("val") >= 1
        assert list(groups.values()).count("test") >= 1


def test_the_first_rule_that_matches_wins():
    obs = {"condition": pa.array(["ctrl", "stim", None, "stim"])}
    out = assign(["test=condition:'stim'", "val=condition:'stim','ctrl'"], obs, 4)
    assert out.tolist() == ["val", "test", "train", "test"]


@pytest.mark.parametrize(
    ("column", "values", "picked"),
    [
        (pa.array([1, 2, None]), "'1'", [0]),
        (pa.array([True, False, None]), "'True'", [0]),
        (pa.array([0.5, 1.0, float("nan")]), "'0.5','nan'", [0, 2]),
        (pa.array(["it's", 'say "x"', "a,b"]), "\"it's\",'a,b'", [0, 2]),
        (pa.array(["a:b", "a", "b"]), "'a:b'", [0]),
    ],
)
def test_values_are_written_as_text(column, values, picked):
    out = assign([f"test=col:{values}"], {"col": column}, 3)
    assert np.flatnonzero(out == "test").tolist() == picked


def test_train_may_be_named_and_fractions_then_reach_one():
    assert set(assign(["train=0.8", "val=0.2"])) == {"train", "val"}
    assert SplitRules.parse(["val=0.2", "train=0.8"]).names == ["val", "train"]
    assert SplitRules.parse(["val=0.2"]).names == ["train", "val"]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["val"], "--split 'val': expected NAME=FRACTION"),
        (["val="], "expected NAME=FRACTION"),
        (["=0.1"], "split name ''"),
        (["a/b=0.1"], "split name 'a/b': use 1 to 32 letters"),
        (["../x=0.1"], "split name"),
        (["v" * 33 + "=0.1"], "use 1 to 32 letters"),
        (["val=0"], "the fraction 0 must lie between 0 and 1"),
        (["val=1"], "the fraction 1 must lie between 0 and 1"),
        (["val=1.5:donor"], "the fraction 1.5 must lie between"),
        (["val=-0.5"], "expected NAME=FRACTION"),
        (["val=nan"], "expected NAME=FRACTION"),
        (["val=donor:a"], "expected NAME=FRACTION"),
        (["val=donor:'a"], "expected NAME=FRACTION"),
        (["val=donor:'a',"], "expected NAME=FRACTION"),
        (["val=0.5", "test=0.5"], "add up to 1, which leaves nothing for 'train'"),
        (["train=0.9", "test=0.2"], "add up to 1.1, over 1"),
        (["val=0.1", "val=donor:'a'"], "--split val is given twice"),
    ],
)
def test_wrong_expressions_are_refused(texts, message):
    with pytest.raises(ValueError) as error:
        SplitRules.parse(texts)
    assert message in str(error.value)


def test_too_few_groups_are_named_with_their_number():
    with pytest.raises(ValueError, match=r"--split test would be empty: 'donor' has 1 group\(s\) for 2 splits"):
        assign(["val=0.1:donor", "test=0.1:donor"], {"donor": pa.array(["a"] * 5)}, 5)
