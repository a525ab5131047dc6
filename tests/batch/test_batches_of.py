"""Batches of a mix that are of one set, or of one species, each: full, resumable, and as many as the weights say."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from torch.utils.data import DataLoader

import scdata
from scdata._errors import LayerNotFoundError, StateError
from scdata.shard.shard_set import ShardSet

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")

SIZES = {"ENSG": 170, "ENSMUSG": 90}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Places of a set of man, one of the mouse, and one of both; obs says nothing of species."""
    folder, rng = tmp_path_factory.mktemp("species"), np.random.default_rng(2)
    files = []
    for prefix, n in SIZES.items():
        obs = pd.DataFrame({"sex": np.where(np.arange(n) % 3, "f", "it's m")}, [f"{prefix}{i}" for i in range(n)])
        obs["half"] = pd.Categorical(["one", None] * (n // 2))
        var = pd.DataFrame(index=[f"{prefix}{i:011d}" for i in range(30)])
        files.append(folder / f"{prefix}.h5ad")
        anndata.AnnData(sp.csr_matrix(rng.poisson(2, (n, 30)) + 1.0), obs=obs, var=var).write_h5ad(files[-1])
    places = {"human": files[:1], "mouse": files[1:], "both": files}
    for name, own in places.items():
        scdata.build_shards(own, folder / name, block_size=16)
    return {name: str(folder / name) for name in places}


def keys(batch):
    return list(zip(batch["set"].tolist(), batch["cell_id"].tolist(), strict=True))


def species(batch):
    """Which genes of a dense batch have counts: 0 those of man, 1 those of the mouse."""
    return {int(row.nonzero()[0, 0] >= 30) for row in batch["values"]}


def test_without_it_batches_have_cells_of_both(sets):
    dataset = scdata.mix({sets["human"]: 1, sets["mouse"]: 1}, tokenizer="counts+fit", batch_size=20)
    assert all(set(batch["set"].tolist()) == {0, 1} for batch in list(dataset)[:-1])
    [batch] = list(scdata.ShardDataset(sets["both"], output="dense", batch_size=300))
    assert species(batch) == {0, 1}


@pytest.mark.parametrize("stop", ["exhaust", "cycle"])
def test_each_batch_is_of_one_set(sets, stop):
    weights = {sets["human"]: 3, sets["mouse"]: 1}
    dataset = scdata.mix(weights, batches_of="set", stop=stop, tokenizer="counts+fit", batch_size=20)
    epochs = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        batches = list(dataset)
        assert len(batches) == len(dataset)
        assert {len(batch["cell_id"]) for batch in batches} == {20}  # all are full
        assert all(len(set(batch["set"].tolist())) == 1 for batch in batches)
        epochs.append([key for batch in batches for key in keys(batch)])
    assert epochs[0] != epochs[1]
    n = [sum(s == own for s, _ in epochs[0]) for own in (0, 1)]
    assert n == list(dataset.n_cells_of.values())
    if stop == "exhaust":
        assert len(set(epochs[0])) == len(epochs[0])
        assert n[0] == 160  # the last ten of man fill no batch, and come in another epoch
        assert abs(n[0] / sum(n) - 3 / 4) < 0.1
    else:
        assert set(epochs[0]) == {(0, i) for i in range(170)} | {(1, i) for i in range(90)}


def test_one_set_of_two_species_streams_batches_of_one(sets):
    assert ShardSet(sets["both"]).organisms == ["Homo sapiens", "Mus musculus"]
    dataset = scdata.mix({sets["both"]: 1}, batches_of="organism", output="dense", batch_size=20)
    batches = list(dataset)
    found = [species(batch) for batch in batches]
    assert all(len(own) == 1 for own in found)
    # there are eight and four full ones; the epoch ends with the last of one of both
    assert found.count({1}) == 4
    assert found.count({0}) in (6, 7, 8)
    assert all(set(batch["set"].tolist()) == {0} for batch in batches)
    seen = [key for batch in batches for key in keys(batch)]
    assert len(set(seen)) == len(seen) == dataset.n_cells == dataset.n_cells_of[sets["both"]]
    # where obs tells: any column, also of several sets
    of_sex = scdata.mix(
        {sets["human"]: 1, sets["mouse"]: 1}, batches_of="sex", columns=("sex",), tokenizer="counts+fit", batch_size=10,
        filter="sex != 'x'",
    )  # fmt: skip
    kinds = {(tuple(set(b["set"].tolist())), tuple(set(b["sex"].tolist()))) for b in of_sex}
    assert kinds == {((s,), (sex,)) for s in (0, 1) for sex in (0, 1)}


def test_it_goes_on_on_other_ranks_and_in_workers(sets):
    def make(rank=None, world_size=None, batch_size=20):
        return scdata.mix(
            {sets["both"]: 1}, batches_of="organism", output="dense", batch_size=batch_size, stop="cycle", rank=rank,
            world_size=world_size,
        )  # fmt: skip

    batches = list(make())
    state = json.loads(json.dumps(batches[2]["state"]))
    dataset = make()
    dataset.load_state_dict(state)
    assert list(map(keys, dataset)) == list(map(keys, batches[3:]))
    ranks = [make(rank, 2, 10) for rank in (0, 1)]
    for one in ranks:
        one.load_state_dict(state)
    for left, right, whole in zip(*ranks, batches[3:], strict=True):
        assert sorted(keys(left) + keys(right)) == sorted(keys(whole))
        assert species(left) == species(right) == species(whole)
    dataset.load_state_dict(state)
    loader = DataLoader(dataset, batch_size=None, num_workers=2)
    assert list(map(keys, loader)) == list(map(keys, batches[3:]))
    # other batches would be another order
    with pytest.raises(StateError, match=r"20 cells each' and is .* 10 cells each"):
        make(batch_size=10).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"batch_size": 91, "batches_of": "set"}, ValueError, "need 91 cells .* of each, and there are 90 of one"),
        ({"batches_of": "none"}, LayerNotFoundError, "no obs column 'none'"),
        ({"batches_of": "half"}, ValueError, "85 cells of .* have no 'half'"),
        ({"batches_of": "set", "group_by_length": True}, ValueError, "group_by_length mixes"),
        ({"batches_of": "sex", "subset": 50}, ValueError, "subset is of whole sets"),
    ],
)
def test_what_cannot_be_is_refused(sets, options, error, said):
    with pytest.raises(error, match=said):
        scdata.mix({sets["human"]: 1, sets["mouse"]: 1}, tokenizer="counts+fit", **options)
