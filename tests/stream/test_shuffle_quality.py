"""Measures of a shuffle against brute force, and what they say of good and bad orders."""

import itertools
import math
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scdata
from scdata._errors import LayerNotFoundError
from scdata._splitmix import permutation
from scdata.stream.shuffle_measures import batch_entropies, expected_entropy, ratio_to_chance
from scdata.stream.shuffle_quality import through_buffer

N_CELLS = 12_000


@pytest.fixture(scope="module")
def labeled_set(tmp_path_factory):
    """A set of 12,000 cells in 20 datasets, without its shards: nothing may read them."""
    out = tmp_path_factory.mktemp("shuffle") / "set"
    scdata.build_shards(f"synthetic:cells={N_CELLS},genes=20,mean_genes=5,datasets=20", out, block_size=200)
    shutil.rmtree(out / "shards")
    return out


def entropy_of(labels):
    share = np.unique(labels, return_counts=True)[1] / len(labels)
    return -(share * np.log(share)).sum()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(lambda n: sum(n) > 0), st.data())
def test_expected_entropy_is_the_mean_over_all_draws(n_cells, data):
    labels = np.repeat(np.arange(len(n_cells)), n_cells)
    size = data.draw(st.integers(1, min(5, len(labels))))
    every = [entropy_of(draw) for draw in itertools.combinations(labels.tolist(), size)]
    assert expected_entropy(np.array(n_cells), size) == pytest.approx(np.mean(every), abs=1e-12)


def test_expected_entropy_of_many_cells_stays_exact():
    # large enough that a batch is as good as drawn with replacement: two even labels, batches of two, ln 2 in half of them
    assert expected_entropy(np.array([10**8, 10**8]), 2) == pytest.approx(math.log(2) / 2, rel=1e-6)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 9))
def test_batch_entropies(labels, size):
    found = batch_entropies(np.array(labels, np.uint8), size)
    full = [labels[i : i + size] for i in range(0, len(labels) - size + 1, size)]
    assert found == pytest.approx([entropy_of(batch) for batch in full], abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=40))
def test_ratio_to_chance_counts_pairs(groups):
    one, other = np.array(groups).T
    pairs = list(itertools.combinations(range(len(groups)), 2))
    in_one = {(i, j) for i, j in pairs if one[i] == one[j]}
    in_other = {(i, j) for i, j in pairs if other[i] == other[j]}
    found = ratio_to_chance(one, other)
    if in_one and in_other:
        assert found == pytest.approx(len(in_one & in_other) / (len(in_one) * len(in_other) / len(pairs)))
    else:
        assert math.isnan(found)


def test_two_permutations_meet_as_chance_says():
    n, size = 20_000, 50
    one, other = np.empty(n, np.int64), np.empty(n, np.int64)
    one[permutation(n, 1)] = other[permutation(n, 2)] = np.arange(n) // size
    pairs, chance = n * (size - 1) / 2, (size - 1) / (n - 1)
    error = math.sqrt(chance * (1 - chance) / pairs) / chance
    assert abs(ratio_to_chance(one, other) - 1) < 4 * error
    assert ratio_to_chance(one, one) == pytest.approx(1 / chance)


@given(st.integers(1, 200), st.integers(1, 250), st.integers(0, 2**64 - 1))
def test_a_buffer_gives_every_cell_once_and_none_before_it_came(n, size, stream_id):
    out = through_buffer(np.arange(n), size, stream_id)
    assert sorted(out.tolist()) == list(range(n))
    assert (out < np.arange(n) + size).all()


def test_a_buffer_of_one_cell_changes_nothing():
    assert through_buffer(np.arange(50), 1, 7).tolist() == list(range(50))


def test_orders_of_a_set(labeled_set):
    found = scdata.shuffle_quality(labeled_set, lanes=16, window=3200, epochs=4)
    orders = {one.order: one for one in found.orders}
    assert (found.label, found.n_labels) == ("dataset", 20)
    n = found.n_cells
    pairs, chance = n * 63 / 2, 63 / (n - 1)
    error = math.sqrt(chance * (1 - chance) / (3 * pairs)) / chance
    whole = orders["full permutation"]
    assert abs(whole.pairs - 1) < 4 * error
    assert abs(whole.neighbours - 1) < 4 * error
    for name in ("scdata", "full permutation", "set, buffer", "set, sequential"):  # the build shuffled the set
        assert abs(orders[name].entropy - 1) < 0.01
        assert orders[name].entropy_p5 > 0.9
    assert orders["sources, sequential"].entropy < 0.1
    assert orders["sources, sequential"].entropy < orders["sources, buffer"].entropy < 0.97
    last = n % 64  # no batch of an epoch is another's, so all pairs meet again
    again = n * (n - 1) / ((n - last) * 63 + last * (last - 1))
    assert orders["set, sequential"].pairs == pytest.approx(again)
    assert orders["scdata"].pairs < 1.3
    assert orders["scdata"].neighbours < 6 < orders["set, sequential"].neighbours


def test_a_single_lane_without_a_window_is_worse(labeled_set):
    good = scdata.shuffle_quality(labeled_set, window=3200).orders[0]
    bad = scdata.shuffle_quality(labeled_set, lanes=1, window=1).orders[0]
    assert bad.pairs > 10 * good.pairs
    assert bad.neighbours > 5 * good.neighbours
    assert abs(bad.entropy - 1) < 0.01  # the build shuffled the set: no order of its blocks undoes that


def test_a_label_may_be_named(labeled_set):
    assert scdata.shuffle_quality(labeled_set, label="cell_type").n_labels == 8
    assert scdata.shuffle_quality(labeled_set, label="cell_type", batch_size=2).orders[0].entropy == pytest.approx(
        1, abs=0.05
    )


def test_without_several_datasets_the_richest_column_is_taken(tmp_path):
    scdata.build_shards("synthetic:cells=900,genes=20,mean_genes=5,datasets=1", tmp_path / "set")
    found = scdata.shuffle_quality(tmp_path / "set")
    assert (found.label, found.n_labels) == ("cell_type", 8)  # four donors
    with pytest.raises(ValueError, match=r"label 'dataset' has one value .* Known: dataset, cell_type, donor_id"):
        scdata.shuffle_quality(tmp_path / "set", label="dataset")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"label": "cell_typ"}, LayerNotFoundError, "did you mean 'cell_type'"),
        ({"epochs": 1}, ValueError, "epochs = 1: at least 2 is needed"),
        ({"batch_size": 1}, ValueError, "batch_size = 1: at least 2"),
        ({"batch_size": 1 << 20}, ValueError, "batch_size = 1048576: split 'train' of "),
        ({"lanes": 0}, ValueError, "lanes = 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(labeled_set, options, error, message):
    with pytest.raises(error, match=message):
        scdata.shuffle_quality(labeled_set, **options)
