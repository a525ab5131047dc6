import numpy as np
import pandas as pd
import pytest
from tasks.splits import Split, check, group_columns, held_out, stratified


def test_stratified_tests_are_disjoint_and_have_every_label() -> None:
    labels = np.array(["a"] * 50 + ["b"] * 5)
    splits = list(stratified(labels, 5, seed=0))
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(55))
    for split in splits:
        assert len(np.intersect1d(split.train, split.test)) == 0
        assert sorted(np.unique(labels[split.test])) == ["a", "b"]
    again = [split.test.tolist() for split in stratified(labels, 5, seed=0)]
    assert again == [split.test.tolist() for split in splits]
    assert again != [split.test.tolist() for split in stratified(labels, 5, seed=1)]


def test_each_group_is_held_out_and_labels_of_its_own_are_not_tested() -> None:
    groups = np.array(["d1", "d1", "d1", "d2", "d2", "d3", "d3"])
    labels = np.array(["a", "b", "only", "a", "b", "a", "a"])
    skipped: list[str] = []
    splits = list(held_out("donor_id", groups, labels, skipped))
    assert [(split.how, split.name) for split in splits] == [("donor_id held out", name) for name in ("d1", "d2")]
    assert [split.test.tolist() for split in splits] == [[0, 1], [3, 4]]
    assert splits[0].train.tolist() == [3, 4, 5, 6]
    # to say "a" always would score best
    assert skipped == ["d3"]


def test_many_groups_are_held_out_whole_in_ten_parts() -> None:
    groups = np.repeat([f"d{i:02}" for i in range(23)], 4)
    labels = np.tile(["a", "b"], 46)
    splits = list(held_out("donor_id", groups, labels))
    assert len(splits) == 10
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(92))
    assert all(not set(groups[split.train]) & set(groups[split.test]) for split in splits)


def test_a_leak_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells are in training and in test"):
        check(Split("stratified", "0", np.array([0, 1]), np.array([1, 2])))
    with pytest.raises(ValueError, match="'d1' is in training and in test"):
        check(Split("donor_id held out", "d1", np.array([0, 1]), np.array([2])), np.array(["d1", "d2", "d1"]))


def test_columns_that_part_cells_alike_are_held_out_once() -> None:
    obs = pd.DataFrame(
        {"donor_id": ["x", "y", "x"], "batch": ["1", "2", "1"], "one": ["o"] * 3, "plate": ["p", "p", "q"]}
    )
    assert group_columns(obs, None) == ["donor_id"]
    assert group_columns(obs, ["plate", "batch"]) == ["plate", "batch"]
    assert group_columns(obs.drop(columns=["donor_id", "batch"]), None) == []
