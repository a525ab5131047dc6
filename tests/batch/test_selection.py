"""`filter=` and `subset=`: exactly the cells that pass, in an order of their own, resumable."""

import itertools
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy.stats import chi2
from torch.utils.data import DataLoader

import scdata
from scdata import ShardDataset
from scdata._errors import CorruptShardError, LayerNotFoundError, StateError
from scdata.shard import ShardSet
from scdata.stream.selection import select_cells

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")

B = "cell_type == 'B cell' or n_tokens < 18"


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory):
    out = tmp_path_factory.mktemp("many") / "set"
    scdata.build_shards("synthetic:cells=900,genes=300", out, block_size=8, shard_size=1 << 16)
    return out


@pytest.fixture(scope="module")
def obs(counts_set):
    """obs of the train split as pandas, in stored order."""
    return ShardSet(counts_set).read_obs("train").to_pandas()


@pytest.fixture(scope="module")
def passing(obs):
    """cell_id of the cells that pass `B`, in stored order."""
    own = obs[(obs["cell_type"] == "B cell") | (obs["n_tokens"] < 18)]["cell_id"].tolist()
    assert 0.2 < len(own) / len(obs) < 0.8
    return own


def test_the_cells_that_pass_once(counts_set, passing, ids_in_order):
    dataset = ShardDataset(counts_set, batch_size=7, filter=B)
    epochs = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        epochs.append(ids_in_order(dataset))
    assert [sorted(ids) for ids in epochs] == [sorted(passing)] * 2
    assert epochs[0] != epochs[1]
    assert dataset.n_cells == len(passing)
    assert len(dataset) == -(-len(passing) // 7)
    assert ids_in_order(ShardDataset(counts_set, batch_size=7, filter=B, shuffle=False)) == passing


@pytest.mark.parametrize("name", ["counts_set", "ranks_set"])
@pytest.mark.parametrize("output", ["padded", "packed", "dense"])
def test_a_cell_is_the_same_with_and_without_a_filter(request, name, output, cells_of):
    path = request.getfixturevalue(name)
    options = {"batch_size": 20, "output": output, "columns": ("cell_type", "age", "total_counts", "measured")}
    everything = cells_of(ShardDataset(path, **options))
    own = cells_of(ShardDataset(path, filter="cell_type in ['B cell', 'T cell']", **options))
    assert 0 < len(own) < len(everything)
    # as text, because NaN is not itself
    assert {cell: repr(part) for cell, part in own.items()} == {cell: repr(everything[cell]) for cell in own}


def test_filter_and_subset_on_ranks_and_workers(counts_set, passing, ids_in_order):
    n = len(passing) - 20
    seen = []
    for rank in range(3):
        dataset = ShardDataset(
            counts_set, batch_size=6, filter=B, subset=n, rank=rank, world_size=3, drop_last=False, num_threads=2
        )
        loader = DataLoader(
            dataset, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context="spawn"
        )
        own = [list(itertools.chain(*[b["cell_id"].tolist() for b in loader])) for _ in range(2)]
        assert own[0] == own[1]
        seen += own[0]
    assert sorted(seen) == sorted(passing[:n])


def test_resume_on_other_rank_counts(counts_set, passing):
    batches = list(ShardDataset(counts_set, batch_size=12, filter=B))
    order = [cell for batch in batches for cell in batch["cell_id"].tolist()]
    state = json.loads(json.dumps(batches[3]["state"]))
    for world_size in (1, 2, 3, 4):
        seen = []
        for rank in range(world_size):
            options = {"rank": rank, "world_size": world_size, "drop_last": False}
            dataset = ShardDataset(counts_set, batch_size=12 // world_size, filter=B, **options)
            dataset.load_state_dict(state)
            seen += [cell for batch in dataset for cell in batch["cell_id"].tolist()]
        assert sorted(seen) == sorted(order[48:])


def test_subsets_are_the_first_cells_and_nested(counts_set, obs, ids_in_order):
    stored = obs["cell_id"].tolist()
    for n in (1, 33, len(stored) - 1, len(stored)):
        dataset = ShardDataset(counts_set, batch_size=16, subset=n)
        assert dataset.n_cells == n
        assert sorted(ids_in_order(dataset)) == sorted(stored[:n])
    assert ids_in_order(ShardDataset(counts_set, batch_size=16, subset=40)) != stored[:40]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_subsets_are_fair_samples(tmp_path, seed):
    scdata.build_shards("synthetic:cells=2000,genes=10,mean_genes=3", tmp_path / "set", seed=seed)
    obs = ShardSet(tmp_path / "set").read_obs("train").to_pandas()
    for column in ("cell_type", "dataset", "donor_id"):
        for n in (200, 700):
            found = obs[column][:n].value_counts()
            expected = obs[column].value_counts() * n / len(obs)
            # drawn without replacement, counts scatter less than chi-square has it
            statistic = (((found - expected) ** 2 / expected).sum()) / (1 - n / len(obs))
            assert 0.0005 < chi2.sf(statistic, len(expected) - 1) < 0.9995


def test_a_subset_reads_only_its_shards(many_shards):
    own = ShardSet(many_shards)
    assert len(own.shards("train")) > 1
    first = own.shards("train")[0]["n_cells"]
    selection = select_cells(own, "train", None, first)
    assert set(own.blocks("train").shard[selection.n_cells > 0].tolist()) == {0}


def test_another_filter_or_subset_is_refused(counts_set):
    state = next(iter(ShardDataset(counts_set, batch_size=8, filter=B, subset=50)))["state"]
    with pytest.raises(StateError, match=r"filter was \"cell_type.* and is None; subset was 50 and is None"):
        ShardDataset(counts_set, batch_size=8).load_state_dict(state)
    with pytest.raises(StateError, match="format 1, this scdata reads 2"):
        ShardDataset(counts_set, batch_size=8, filter=B, subset=50).load_state_dict({**state, "format": 1})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"filter": "cell_type ="}, ValueError, "filter 'cell_type ='.*expected column == value"),
        ({"filter": "cell_typ == 'B cell'"}, LayerNotFoundError, "did you mean 'cell_type'"),
        ({"filter": "cell_type == 'X'"}, ValueError, r"0 of \d+ cells of split 'train'"),
        ({"filter": "cell_type == 'B cell'", "subset": 400}, ValueError, r"\d+ of \d+ cells.*, 400 are asked for"),
        ({"filter": "cell_type > 3"}, ValueError, "cell_type holds string"),
        ({"subset": 10_000}, ValueError, r"subset = 10000: split 'train' .* has \d+ cells"),
        ({"subset": 0}, ValueError, "subset = 0: at least 1"),
    ],
)
def test_refusals(counts_set, arguments, error, message):
    with pytest.raises(error, match=message):
        ShardDataset(counts_set, **arguments)


def test_a_filter_over_many_shards(many_shards, ids_in_order):
    own = ShardSet(many_shards).read_obs("train").to_pandas()
    passing = own[own["cell_type"] == "B cell"]["cell_id"].tolist()
    assert sorted(ids_in_order(ShardDataset(many_shards, filter="cell_type == 'B cell'"))) == sorted(passing)
    n = len(passing) // 2
    dataset = ShardDataset(many_shards, filter="cell_type == 'B cell'", subset=n, shuffle=False)
    assert ids_in_order(dataset) == passing[:n]


def test_a_filter_on_a_set_in_a_bucket(many_shards, s3, monkeypatch, ids_in_order):
    uri = s3.upload(many_shards, "sets/filtered")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_REGION", s3.region)
    monkeypatch.setattr("scdata.stream.obs._AT_ONCE", 2)  # fewer than there are shards
    options = {"filter": "cell_type == 'B cell'", "balance": "donor_id"}
    assert len(ShardSet(many_shards).shards("train")) > 2
    assert ids_in_order(ShardDataset(uri, **options)) == ids_in_order(ShardDataset(many_shards, **options))
    number = len(ShardSet(many_shards).shards("train")) - 1
    s3.client.delete_object(Bucket=s3.bucket, Key=f"sets/filtered/obs/000/train-{number:06d}.parquet")
    with pytest.raises(CorruptShardError, match=f"train-{number:06d}.parquet: cannot be read"):
        ShardDataset(uri, **options)


def test_obs_of_another_length_is_refused(many_shards, tmp_path):
    copy = shutil.copytree(many_shards, tmp_path / "set")
    path = ShardSet(copy).obs_path("train", 1)
    pq.write_table(pq.read_table(path)[1:], path)
    with pytest.raises(CorruptShardError, match=r"train-000001.parquet: has \d+ cells, the manifest says"):
        ShardDataset(copy, filter=B)
    path.unlink()
    with pytest.raises(CorruptShardError, match="cannot be read"):
        ShardDataset(copy, filter=B)


@pytest.mark.parametrize(
    ("column", "values", "arguments", "message"),
    [
        ("n_tokens", -1, {"group_by_length": True}, "n_tokens in obs/ of split 'train' is no number of tokens"),
        ("n_tokens", None, {"group_by_length": True}, "n_tokens in obs/ of split 'train' is no number of tokens"),
        ("cell_type", [1, 2], {"balance": "cell_type"}, "'cell_type' holds list<.*>, not strings or numbers"),
        ("cell_type", [1, 2], {"filter": B}, "'cell_type' holds list<.*>, not strings or numbers"),
    ],
)
def test_hostile_obs_is_refused(many_shards, tmp_path, column, values, arguments, message):
    copy = shutil.copytree(many_shards, tmp_path / "set")
    path = ShardSet(copy).obs_path("train", 0)
    table = pq.read_table(path)
    at = table.column_names.index(column)
    kind = pa.list_(pa.int64()) if isinstance(values, list) else pa.int32()
    pq.write_table(table.set_column(at, column, pa.array([values] * len(table), kind)), path)
    with pytest.raises(CorruptShardError, match=message):
        ShardDataset(copy, **arguments)


def test_nulls_pass_nothing_and_bools_compare(counts_set, obs):
    own = ShardSet(counts_set)
    table = own.read_obs("train")
    age = table["age"].to_numpy()
    assert np.isnan(age).any()
    n = ShardDataset(counts_set, filter="age != 33").n_cells
    assert n == (~np.isnan(age) & (age != 33)).sum()
    assert ShardDataset(counts_set, filter="not age == 33").n_cells == n
    flags = pc.sum(table["is_control"]).as_py()
    assert 0 < flags < len(obs)
    for text in ("is_control", "is_control == True", "is_control == 1", "not is_control == False"):
        assert ShardDataset(counts_set, filter=text).n_cells == flags
