"""`mix`: cells of several sets by weight, each as in its own set, exact and resumable."""

import collections
import json
import pickle

import numpy as np
import pytest
from torch.utils.data import DataLoader

import scdata
from scdata import ShardDataset
from scdata._errors import LayerNotFoundError, StateError, TokenizerError
from scdata.objectives import MaskedValues
from scdata.shard import ShardSet
from scdata.tokens.loading import load_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")


def mouse(folder):
    """An h5ad of another species: no gene in common, fewer cell types, a column of another type."""
    import anndata
    import pandas as pd
    import scipy.sparse as sp

    rng = np.random.default_rng(3)
    X = rng.poisson(0.6, (150, 40)).astype(np.float32)
    X[:, 0] += 1
    obs = pd.DataFrame({"cell_type": rng.choice(["B cell", "astrocyte"], 150), "batch": rng.random(150)})
    obs.index = [str(i) for i in range(150)]
    genes = pd.DataFrame(index=[f"ENSMUSG{i:011d}" for i in range(40)])
    anndata.AnnData(sp.csr_matrix(X), obs=obs, var=genes).write_h5ad(folder / "mouse.h5ad")
    return folder / "mouse.h5ad"


@pytest.fixture(scope="module")
def sets(tmp_path_factory, counts_set):
    """Three sets: of 60 genes, of 90 genes, 60 of them the same, and of a mouse."""
    folder = tmp_path_factory.mktemp("mix")
    scdata.build_shards("synthetic:cells=230,genes=90,mean_genes=20,seed=8", folder / "b", block_size=16)
    scdata.build_shards(mouse(folder), folder / "c", block_size=16)
    return [str(counts_set), str(folder / "b"), str(folder / "c")]


def cells(batches):
    """(set, cell_id) of all cells, in order."""
    return [key for b in batches for key in zip(b["set"].tolist(), b["cell_id"].tolist(), strict=True)]


def all_cells(sets):
    return [set(ShardSet(path).read_obs("train")["cell_id"].to_pylist()) for path in sets]


@pytest.mark.parametrize("weights", [(1, 1, 1), (8, 4, 1), (0.1, 0.3, 0.4)])
def test_an_epoch_ends_with_the_first_set_that_is_used_up(sets, weights):
    dataset = scdata.mix(dict(zip(sets, weights, strict=True)), tokenizer="counts+fit", batch_size=32)
    everything = all_cells(sets)
    epochs = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        batches = list(dataset)
        assert len(batches) == len(dataset)
        epochs.append(cells(batches))
        assert len(epochs[-1]) == len(set(epochs[-1])) == dataset.n_cells
        seen = [{cell for s, cell in epochs[-1] if s == number} for number in range(3)]
        assert all(own <= there for own, there in zip(seen, everything, strict=True))
        [first] = [s for s in range(3) if seen[s] == everything[s]]
        assert first == np.argmin([len(own) / w for own, w in zip(everything, weights, strict=True)])
        assert list(map(len, seen)) == list(dataset.n_cells_of.values())
        # shares, as exactly as a set may be ahead in a window that ends early
        expected = np.array(weights) / sum(weights)
        assert np.abs(np.array(list(map(len, seen))) / dataset.n_cells - expected).max() < 0.06
    assert epochs[0] != epochs[1]


def test_cycling_gives_every_set_whole(sets):
    dataset = scdata.mix(dict.fromkeys(sets, 1), stop="cycle", tokenizer="counts+fit", batch_size=32)
    counts = collections.Counter(cells(dataset))
    for s, own in enumerate(all_cells(sets)):
        copies = [counts[s, cell] for cell in own]
        # whole passes, and a part of one
        assert max(copies) - min(copies) <= 1
        assert min(copies) >= 1
    assert min(counts[2, cell] for cell in all_cells(sets)[2]) == 2


@pytest.mark.parametrize("output", ["padded", "packed", "dense"])
def test_a_cell_is_as_in_its_own_set(sets, cells_of, output):
    options = {"output": output, "batch_size": 24, "columns": ("cell_type", "batch", "measured")}
    dataset = scdata.mix(dict.fromkeys(sets, 1), tokenizer="counts+fit", **options)
    ids = {i: n for path in sets for i, n in _names(path)}
    vocabulary = load_tokenizer("counts", "fit").with_genes(list(ids), ids)
    assert dataset.vocab.feature_ids == vocabulary.genes().feature_ids
    found = [{}, {}, {}]
    for batch in dataset:
        for s in range(3):
            own = (batch["set"] == s).numpy()
            found[s].update(_parts(batch, own, dataset))
    for s, path in enumerate(sets):
        alone = ShardDataset(path, tokenizer=vocabulary, **options)
        expected = {}
        for batch in alone:
            expected.update(_parts(batch, np.ones(len(batch["cell_id"]), bool), alone))
        assert found[s]
        assert found[s] == {cell: expected[cell] for cell in found[s]}


def _names(path):
    var = ShardSet(path).var
    return zip(var["feature_id"].to_pylist(), var["feature_name"].to_pylist(), strict=True)


def _parts(batch, own, dataset):
    """cell_id → genes with their values, columns with strings for codes, measured genes."""
    out = {}
    symbols = {token: gene for gene, token in dataset.vocab.token_ids.items()}
    columns = dataset.dense_feature_ids
    for i in np.flatnonzero(own).tolist():
        if "cu_seqlens" in batch:
            at = slice(*batch["cu_seqlens"][i : i + 2].tolist())
            genes = dict(zip(batch["token_ids"][at].tolist(), batch["values"][at].tolist(), strict=True))
            genes = {symbols[token]: value for token, value in genes.items()}
        elif "attention_mask" in batch:
            there = batch["attention_mask"][i]
            tokens = batch["token_ids"][i][there].tolist()
            genes = {symbols[t]: v for t, v in zip(tokens, batch["values"][i][there].tolist(), strict=True)}
        else:
            genes = {g: v for g, v in zip(columns, batch["values"][i].tolist(), strict=True) if v}
        names = dataset.categories
        out[batch["cell_id"][i].item()] = (
            genes,
            names["cell_type"][batch["cell_type"][i]],
            names["dataset"][batch["dataset"][i]],
            float(batch["batch"][i]),
            {g for g, m in zip(columns, batch["measured"][i].tolist(), strict=True) if m},
        )
    return out


def test_resume_on_other_ranks_and_in_workers(sets):
    weights = dict(zip(sets, (2, 1, 1), strict=True))
    options = {"tokenizer": "scgpt+fit", "stop": "cycle", "seed": 3, "lanes": 4, "drop_last": False}
    dataset = scdata.mix(weights, batch_size=12, **options)
    dataset.set_epoch(2)
    batches = list(dataset)
    order = cells(batches)
    for k in (0, 17, len(batches) - 1):
        state = json.loads(json.dumps(batches[k]["state"]))
        for world_size in (1, 2, 3, 4):
            seen = []
            for rank in range(world_size):
                own = scdata.mix(
                    weights, batch_size=12 // world_size, rank=rank, world_size=world_size, num_threads=2, **options
                )
                own.load_state_dict(state)
                seen += cells(own)
            assert sorted(seen) == sorted(order[12 * (k + 1) :])
    dataset = pickle.loads(pickle.dumps(dataset))
    loader = DataLoader(
        dataset, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context="fork"
    )
    dataset.load_state_dict(batches[3]["state"])
    assert cells(loader) == order[48:]
    assert cells(loader) == order


def test_ranks_of_a_mix_read_their_lanes(tmp_path):
    for name in ("a", "b"):
        scdata.build_shards(
            f"synthetic:cells=9000,genes=12,mean_genes=3,seed={len(name)}", tmp_path / name, block_size=64
        )
    dataset = scdata.mix({tmp_path / "a": 2, tmp_path / "b": 1}, lanes=2, batch_size=64)
    from scdata.stream.mix_order import MixOrder

    order = MixOrder(dataset._mixture, lambda s, own: dataset._streams[s].order(own), 0)
    found = [order.cells(np.arange(rank, 6000, 2)) for rank in range(2)]
    blocks = [set(zip(own.set.tolist(), own.block.tolist(), strict=True)) for own in found]
    assert len(blocks[0]) > 50
    assert blocks[0] & blocks[1] == set()


def test_a_second_pass_draws_anew(sets):
    options = {"batch_size": 1, "output": "packed", "tokenizer": "counts+fit", "num_threads": 0}
    masks = {}
    objective = MaskedValues(rate=0.5, mask_value=-1)
    for batch in scdata.mix(dict.fromkeys(sets, 1), stop="cycle", objective=objective, **options):
        if batch["set"] == 2:
            masks.setdefault(batch["cell_id"].item(), []).append(tuple(batch["masked"].tolist()))
    twice = [own for own in masks.values() if len(own) > 1 and len(own[0]) > 8]
    assert sum(own[0] != own[1] for own in twice) > 0.9 * len(twice) > 0


def test_filter_and_balance_set_by_set(sets):
    batches = list(scdata.mix(dict.fromkeys(sets, 1), tokenizer="counts+fit", filter="cell_type == 'B cell'"))
    obs = [ShardSet(path).read_obs("train").to_pandas().set_index("cell_id") for path in sets]
    assert all(obs[s].loc[cell]["cell_type"] == "B cell" for s, cell in cells(batches))
    dataset = scdata.mix(dict.fromkeys(sets[::2], 1), tokenizer="counts+fit", balance="cell_type", max_repeat=50)
    own = [obs[2].loc[cell]["cell_type"] for s, cell in cells(dataset) if s == 1]
    counts = collections.Counter(own)
    assert abs(counts["B cell"] - counts["astrocyte"]) < 0.15 * len(own)


def test_the_same_sets_without_a_tokenizer_and_other_states(sets, ranks_set, counts_set):
    dataset = scdata.mix({counts_set: 3}, batch_size=16)
    assert len(cells(dataset)) == dataset.n_cells == ShardDataset(counts_set).n_cells
    state = next(iter(dataset))["state"]
    with pytest.raises(StateError, match=r"manifest was 'mix of [0-9a-f]{16} × 3; stop=exhaust' and is '"):
        ShardDataset(counts_set, batch_size=16).load_state_dict(state)
    two = [
        scdata.mix(dict.fromkeys(sets, w), tokenizer="counts+fit", stop=s) for w, s in ((1, "cycle"), (1, "exhaust"))
    ]
    with pytest.raises(StateError, match="stop=cycle"):
        two[1].load_state_dict(two[0].state_dict())
    two[0].load_state_dict(json.loads(json.dumps(two[0].state_dict())))


@pytest.mark.parametrize(
    ("choose", "options", "error", "message"),
    [
        ([], {}, ValueError, "a mix of no sets"),
        ([0, 1], {}, TokenizerError, 'differ in genes of their tokens.*"counts\\+fit"'),
        ([0, 1], {"stop": "never"}, ValueError, "stop = 'never'.*exhaust, cycle"),
        ([0, 1], {"batchsize": 3}, TypeError, "no option 'batchsize': did you mean 'batch_size'"),
        ([0, 1], {"tokenizer": "counts+fit", "columns": ["cell_typ"]}, LayerNotFoundError, "did you mean 'cell_type'"),
        ([0, 2], {"tokenizer": "counts+fit", "filter": "age > 3"}, LayerNotFoundError, "'age'"),
    ],
)
def test_refusals(sets, choose, options, error, message):
    with pytest.raises(error, match=message):
        scdata.mix({sets[s]: 1 for s in choose}, **options)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "1"])
def test_weights_are_numbers_above_zero(sets, weight):
    with pytest.raises(ValueError, match=r"is .*: expected a number above 0"):
        scdata.mix({sets[0]: 1, sets[1]: weight}, tokenizer="counts+fit")
