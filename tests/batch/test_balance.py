"""`balance=` and `weights=`: shares as meant, positions and len as without, resumable; copies of a cell differ."""

import collections
import json
import logging

import numpy as np
import pytest
from torch.utils.data import DataLoader

from scdata import ShardDataset
from scdata._errors import LayerNotFoundError, StateError
from scdata.objectives import MaskedValues
from scdata.shard import ShardSet

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")


@pytest.fixture(scope="module")
def obs(counts_set):
    return ShardSet(counts_set).read_obs("train").to_pandas().set_index("cell_id")


def ids(batches):
    return [cell for batch in batches for cell in batch["cell_id"].tolist()]


def test_each_value_comes_equally_often(counts_set, obs):
    dataset = ShardDataset(counts_set, batch_size=50, balance="donor_id", columns=("donor_id",), seed=3)
    assert dataset.n_cells == len(obs)
    drawn = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        drawn.append(ids(dataset))
        assert len(drawn[-1]) == len(obs)
        counts = obs.loc[drawn[-1]]["donor_id"].value_counts()
        # a window is the whole split here, and its comb gives every value its share within one draw
        assert counts.max() - counts.min() <= 2
        assert dataset.shares == pytest.approx((counts / len(obs)).to_dict())
    assert len(set(map(tuple, drawn))) == 3
    assert obs["donor_id"].value_counts().max() > 1.3 * obs["donor_id"].value_counts().min()


def test_null_is_a_value_and_numbers_are_values(counts_set, obs):
    shares = ShardDataset(counts_set, balance="age", max_repeat=400).shares
    assert None in shares
    assert set(shares) - {None} == set(obs["age"].dropna())
    assert max(shares.values()) < 2 / len(shares)


def test_weights_of_values(counts_set, obs):
    types = sorted(obs["cell_type"].unique())
    weights = {types[0]: 4, types[1]: 0}
    dataset = ShardDataset(counts_set, batch_size=64, weights={"cell_type": weights})
    drawn = obs.loc[ids(dataset)]["cell_type"].value_counts()
    own = obs["cell_type"].value_counts() * [weights.get(name, 1) for name in obs["cell_type"].value_counts().index]
    assert drawn[types[1]] == 0
    assert dataset.n_cells == drawn.sum() == (obs["cell_type"] != types[1]).sum()
    for name in types:
        assert drawn[name] == pytest.approx(own[name] / own.sum() * drawn.sum(), abs=2)


def test_weights_of_a_column(counts_set, obs):
    # the column `batch` is 0, 1 or 2: cells of batch 0 are left out, those of 2 come twice as often as those of 1
    drawn = obs.loc[ids(ShardDataset(counts_set, batch_size=64, weights="batch"))]["batch"]
    n = obs["batch"].value_counts()
    assert len(drawn) == n[1] + n[2]
    assert (drawn == 2).sum() == pytest.approx(len(drawn) * 2 * n[2] / (n[1] + 2 * n[2]), abs=1)


def test_with_a_filter(counts_set, obs):
    dataset = ShardDataset(counts_set, batch_size=64, filter="not is_control", balance="cell_type")
    drawn = obs.loc[ids(dataset)]
    assert not drawn["is_control"].any()
    assert len(drawn) == dataset.n_cells == (obs["is_control"] == 0).sum()
    counts = drawn["cell_type"].value_counts()
    assert counts.max() - counts.min() <= 2


@pytest.mark.filterwarnings("ignore:.*come less than half as often:UserWarning")
def test_max_repeat(counts_set):
    for most in (1, 3):
        copies = collections.Counter(
            ids(ShardDataset(counts_set, weights={"cell_type": {"B cell": 1000}}, max_repeat=most))
        )
        assert max(copies.values()) == most


def test_resume_on_other_ranks_and_in_workers(counts_set):
    options = {"balance": "cell_type", "seed": 5, "window": 100, "drop_last": False}
    batches = list(ShardDataset(counts_set, batch_size=12, **options))
    order = ids(batches)
    for k in (0, 7, 20, len(batches) - 1):
        state = json.loads(json.dumps(batches[k]["state"]))
        for world_size in (1, 2, 3, 4):
            seen = []
            for rank in range(world_size):
                own = ShardDataset(
                    counts_set, batch_size=12 // world_size, rank=rank, world_size=world_size, num_threads=2, **options
                )
                own.load_state_dict(state)
                seen += ids(own)
            assert sorted(seen) == sorted(order[12 * (k + 1) :])
    dataset = ShardDataset(counts_set, batch_size=12, **options)
    loader = DataLoader(
        dataset, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context="spawn"
    )
    assert len(loader) == len(batches)
    dataset.load_state_dict(batches[3]["state"])
    assert ids(loader) == order[48:]
    assert ids(loader) == order


@pytest.mark.parametrize("output", ["packed", "dense"])
def test_copies_get_different_masks_and_the_first_those_of_the_cell(counts_set, output):
    options = {"batch_size": 1, "output": output, "objective": MaskedValues(rate=0.5, mask_value=-1)}
    plain = {b["cell_id"].item(): b["masked"].tolist() for b in ShardDataset(counts_set, **options)}
    masks = {}
    for batch in ShardDataset(counts_set, weights={"cell_type": {"B cell": 50}}, **options):
        masks.setdefault(batch["cell_id"].item(), []).append(tuple(batch["masked"].flatten().tolist()))
    assert max(map(len, masks.values())) > 2
    for cell, own in masks.items():
        assert tuple(np.ravel(plain[cell]).tolist()) in own
    long = [own for own in masks.values() if len(own) > 2 and sum(own[0]) > 3]
    assert all(len(set(own)) > 1 for own in long)
    assert sum(len(set(own)) == len(own) for own in long) > 0.8 * len(long)


def test_another_balance_is_refused(counts_set):
    state = next(iter(ShardDataset(counts_set, balance="cell_type")))["state"]
    with pytest.raises(StateError, match="draws was \"balance='cell_type', max_repeat=20\" and is None"):
        ShardDataset(counts_set).load_state_dict(state)
    one, two = ({"cell_type": {"B cell": w}} for w in (2, 3))
    state = next(iter(ShardDataset(counts_set, weights=one)))["state"]
    with pytest.raises(StateError, match=r"draws was .weights of 'cell_type' "):
        ShardDataset(counts_set, weights=two).load_state_dict(state)
    ShardDataset(counts_set, weights=one).load_state_dict(json.loads(json.dumps(state)))


def test_shares_are_logged_once(counts_set, caplog):
    dataset = ShardDataset(counts_set, balance="cell_type")
    with caplog.at_level(logging.INFO, "scdata"):
        list(dataset), list(dataset)
    [record] = caplog.records
    assert "balance='cell_type', max_repeat=20: shares of draws: " in record.getMessage()
    assert "'B cell' 0." in record.getMessage()


def test_a_value_that_cannot_have_its_share_is_named(counts_set, obs):
    old = obs["age"].value_counts().index[-1]
    dataset = ShardDataset(counts_set, weights={"age": {old: 10_000}}, max_repeat=2)
    with pytest.warns(UserWarning, match=f"{old} in 0.0... of draws instead of 0.9"):
        next(iter(dataset))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"balance": "cell_type", "weights": "age"}, ValueError, "not both"),
        ({"balance": "celltype"}, LayerNotFoundError, "did you mean 'cell_type'"),
        ({"balance": "cell_type", "shuffle": False}, ValueError, "shuffle=True"),
        ({"balance": "cell_type", "max_repeat": 0}, ValueError, "max_repeat = 0: at least 1"),
        ({"weights": "cell_type"}, ValueError, "has the weight '.*': expected a number from 0"),
        ({"weights": "age"}, ValueError, "has the weight None: expected a number"),
        ({"weights": {"cell_type": {"B cel": 2}}}, ValueError, "did you mean 'B cell'"),
        ({"weights": {"cell_type": {"B cell": -2}}}, ValueError, "'B cell' has the weight -2"),
        ({"weights": {"is_control": {0: 0, 1: 0}}}, ValueError, "has a weight above 0"),
        ({"weights": {}}, ValueError, "weights = {}: expected those of the values of one column"),
        ({"weights": {"B cell": 3}}, ValueError, "weights = .*: expected those of the values of one column"),
    ],
)
def test_refusals(counts_set, arguments, error, message):
    with pytest.raises(error, match=message):
        ShardDataset(counts_set, **arguments)
