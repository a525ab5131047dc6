"""`group_by_length=` and `max_tokens=`: the same cells, in batches of like lengths or pieces of a budget, resumable."""

import itertools
import json

import pytest
from torch.utils.data import DataLoader

import scdata
from scdata import ShardDataset
from scdata._errors import StateError
from scdata.shard import ShardSet

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")


def ids(batches):
    return [cell for batch in batches for cell in batch["cell_id"].tolist()]


def padding(batches):
    """Positions of padded batches that hold a token."""
    return sum(b["attention_mask"].sum().item() for b in batches) / sum(
        len(b["n_tokens"]) * b["n_tokens"].max().item() for b in batches
    )


def test_like_lengths_come_together(counts_set):
    plain = list(ShardDataset(counts_set, batch_size=16))
    grouped = list(ShardDataset(counts_set, batch_size=16, group_by_length=True))
    assert sorted(ids(plain)) == sorted(ids(grouped))
    assert padding(grouped) > 0.9 > 0.75 > padding(plain)
    # the length of the cell that counts is that of its tokens
    cut = list(ShardDataset(counts_set, batch_size=16, group_by_length=True, context_length=12))
    assert padding(cut) > 0.93


@pytest.mark.parametrize("name", ["counts_set", "ranks_set"])
@pytest.mark.parametrize("options", [{}, {"context_length": 15}])
def test_pieces_are_of_a_budget(request, name, options):
    path = request.getfixturevalue(name)
    plain = list(ShardDataset(path, batch_size=30, output="packed", **options))
    dataset = ShardDataset(path, batch_size=30, output="packed", max_tokens=150, **options)
    pieces = list(dataset)
    assert len(pieces) == len(dataset)
    assert ids(pieces) == ids(plain)
    assert all(len(b["token_ids"]) <= 150 for b in pieces)
    lengths = {}
    for batch in plain:
        lengths.update(zip(batch["cell_id"].tolist(), batch["cu_seqlens"].diff().tolist(), strict=True))
    for one, other in itertools.pairwise(pieces):
        if other["piece"]:
            # the next cell would not have fitted
            assert other["piece"] == one["piece"] + 1
            assert len(one["token_ids"]) + lengths[other["cell_id"][0].item()] > 150
        else:
            assert one["piece"] + 1 == one["n_pieces"]
            assert one["state"]["piece"] == 0
            assert one["state"]["position"] % 30 == 0 or other is pieces[-1]
    assert max(b["n_pieces"] for b in pieces) >= 3


def test_a_bound_for_tokens_on_the_fly(counts_set):
    dataset = ShardDataset(counts_set, tokenizer="scgpt+fit", batch_size=30, output="packed", max_tokens=150)
    pieces = list(dataset)
    assert len(pieces) == len(dataset)
    assert all(len(b["token_ids"]) <= 150 for b in pieces)
    assert sorted(ids(pieces)) == sorted(ids(ShardDataset(counts_set, tokenizer="scgpt+fit")))


@pytest.mark.parametrize("n_workers", [1, 2, 3])
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning", "ignore:3 DataLoader workers:UserWarning")
def test_pieces_in_workers_come_in_order(counts_set, n_workers):
    options = {"batch_size": 30, "output": "packed", "max_tokens": 150, "seed": 4}
    plain = list(ShardDataset(counts_set, **options))
    dataset = ShardDataset(counts_set, **options)
    loader = DataLoader(
        dataset, batch_size=None, num_workers=n_workers, persistent_workers=True, multiprocessing_context="fork"
    )
    assert len(loader) == len(plain)
    for k in (None, 5, 6, 7):
        if k is not None:
            dataset.load_state_dict(plain[k]["state"])
        found = list(loader)
        rest = plain if k is None else plain[k + 1 :]
        assert [b["cell_id"].tolist() for b in found] == [b["cell_id"].tolist() for b in rest]
        assert [b["state"] for b in found] == [b["state"] for b in rest]


def test_resume_after_every_piece_on_the_same_rank_and_between_batches_on_any(counts_set):
    options = {"output": "packed", "max_tokens": 100, "group_by_length": True, "drop_last": False, "num_threads": 0}
    ranks = [ShardDataset(counts_set, batch_size=12, rank=r, world_size=2, **options) for r in range(2)]
    pieces = [list(own) for own in ranks]
    for own, found in zip(ranks, pieces, strict=True):
        for k in range(0, len(found), 3):
            own.load_state_dict(json.loads(json.dumps(found[k]["state"])))
            assert ids(own) == ids(found[k + 1 :])
    inside = next(b["state"] for b in pieces[0] if b["state"]["piece"])
    with pytest.raises(
        StateError, match=r"saved within a batch, by rank 0 of 2, max_tokens=100 .* this is rank 1 of 2"
    ):
        ranks[1].load_state_dict(inside)
    between = [b["state"] for b in pieces[0] if not b["state"]["piece"]][4]
    rest = [
        cell
        for found in pieces
        for b in found
        if b["state"]["position"] > between["position"]
        for cell in b["cell_id"].tolist()
    ]
    rest += [
        cell
        for found in pieces
        for b in found
        if b["state"]["position"] == between["position"] and b["state"]["piece"]
        for cell in b["cell_id"].tolist()
    ]
    for world_size in (1, 2, 3, 4):
        seen = []
        for rank in range(world_size):
            own = ShardDataset(counts_set, batch_size=24 // world_size, rank=rank, world_size=world_size, **options)
            own.load_state_dict(between)
            seen += ids(own)
        assert len(seen) == len(set(seen))
        assert sorted(seen) == sorted(rest)


def test_groups_of_lengths_keep_their_global_batch(counts_set):
    batches = list(ShardDataset(counts_set, batch_size=12, group_by_length=True))
    other = ShardDataset(counts_set, batch_size=24, group_by_length=True)
    with pytest.raises(StateError, match="12 cells a global batch, now 24: groups of lengths"):
        other.load_state_dict(batches[2]["state"])
    with pytest.raises(StateError, match="length_groups was True and is False"):
        ShardDataset(counts_set, batch_size=12).load_state_dict(batches[2]["state"])


def test_a_mix_by_length_in_pieces(counts_set, tmp_path):
    scdata.build_shards("synthetic:cells=300,genes=60,mean_genes=30,seed=9", tmp_path / "b", block_size=16)
    sets = {counts_set: 2, tmp_path / "b": 1}
    options = {"tokenizer": "counts+fit", "batch_size": 16}
    plain = list(scdata.mix(sets, **options))
    grouped = list(scdata.mix(sets, group_by_length=True, **options))
    keys = [
        sorted((s, c) for b in own for s, c in zip(b["set"].tolist(), b["cell_id"].tolist(), strict=True))
        for own in (plain, grouped)
    ]
    assert keys[0] == keys[1]
    assert padding(grouped) > 0.85 > padding(plain)
    dataset = scdata.mix(sets, group_by_length=True, output="packed", max_tokens=200, **options)
    pieces = list(dataset)
    assert len(dataset) == len(pieces)
    assert all(len(b["token_ids"]) <= 200 for b in pieces)
    assert sorted(ids(pieces)) == sorted(ids(plain))
    dataset.load_state_dict(pieces[10]["state"])
    assert ids(dataset) == ids(pieces[11:])


def test_balanced_and_filtered_by_length(counts_set):
    options = {"batch_size": 16, "filter": "not is_control", "balance": "cell_type"}
    plain = list(ShardDataset(counts_set, **options))
    grouped = list(ShardDataset(counts_set, group_by_length=True, **options))
    assert sorted(ids(plain)) == sorted(ids(grouped))
    assert padding(grouped) > 0.85 > padding(plain)


def test_lengths_are_those_of_obs(counts_set):
    longest = max(ShardSet(counts_set).read_obs("train")["n_tokens"].to_pylist())
    ShardDataset(counts_set, output="packed", max_tokens=longest)
    with pytest.raises(ValueError, match=f"a cell of .* has up to {longest} tokens: raise it"):
        ShardDataset(counts_set, output="packed", max_tokens=longest - 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_tokens": 5000}, "max_tokens is for output='packed', not 'padded'"),
        ({"max_tokens": 0, "output": "packed"}, "max_tokens = 0: at least 1"),
        ({"group_by_length": True, "shuffle": False}, "shuffle=True"),
    ],
)
def test_refusals(counts_set, arguments, message):
    with pytest.raises(ValueError, match=message):
        ShardDataset(counts_set, **arguments)
