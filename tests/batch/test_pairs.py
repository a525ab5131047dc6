"""`pair_controls`: which control goes with which cell is a function of seed, epoch and cell, and always a matched one."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import warnings
from collections import Counter

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.utils.data import DataLoader

import scdata
from scdata import ShardDataset, objectives
from scdata._errors import CorruptShardError
from scdata.shard.shard_set import ShardSet
from scdata.stream import controls as controls_module

ROLES = {"perturbation": "guide", "control": "ntc"}
COLUMNS = ("guide", "donor_id", "total_counts")


def write(path, seed, n=320, study=None):
    """A screen of three donors, of one of which (d3) there are few cells."""
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame(
        {
            "guide": np.array(["ntc", "ntc", "A", "B", None], object)[rng.integers(5, size=n)],
            "donor_id": np.array(["d1", "d2", "d1", "d2", "d3"])[rng.integers(5, size=n)],
            "lane": rng.integers(3, size=n),
            "score": rng.random(n),
        },
        index=[f"{seed}-{i}" for i in range(n)],
    )
    if study is not None:
        obs["dataset_id"] = study
    x = sp.csr_matrix(rng.poisson(0.8, (n, 40)).astype(np.float32) + sp.eye(n, 40, dtype=np.float32))
    anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(40)])).write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screen")
    files = [write(folder / f"{name}.h5ad", seed) for seed, name in enumerate("ab")]
    scdata.build_shards(files, folder / "set", splits=["val=0.3"], block_size=16, shard_size=1 << 16, **ROLES)
    return folder / "set"


@pytest.fixture(scope="module")
def cells(screen):
    """cell_id → (split, dataset, donor, perturbation, tokens with values)."""
    found = {}
    for split in ("train", "val"):
        loader = ShardDataset(screen, split=split, batch_size=50, columns=COLUMNS)
        names = loader.categories
        for batch in loader:
            for i, cell in enumerate(batch["cell_id"].tolist()):
                own = (names[key][batch[key][i]] for key in ("dataset", "donor_id"))
                guide = int(batch["guide"][i])
                found[cell] = (split, *own, None if guide < 0 else names["guide"][guide], tokens(batch, i))
    return found


def tokens(batch, i):
    there = batch["attention_mask"][i]
    return batch["token_ids"][i][there].tolist(), batch["values"][i][there].tolist()


def loader(path, **options):
    return ShardDataset(path, **{"batch_size": 24, "seed": 3, "pair_controls": "batch"} | options)


def pairs(batches):
    """Pairs of ids, in the order in which they come."""
    return [
        pair for b in batches for pair in zip(b["cell_id"].tolist(), b["controls"]["cell_id"].tolist(), strict=True)
    ]


@settings(max_examples=25, deadline=None)
@given(
    options=st.fixed_dictionaries(
        {
            "split": st.sampled_from(["train", "val"]),
            "seed": st.integers(0, 5),
            "batch_size": st.sampled_from([1, 24, 500]),
            "lanes": st.sampled_from([1, 16]),
            "num_threads": st.sampled_from([0, 2]),
            "group_by_length": st.booleans(),
        },
        optional={
            "filter": st.sampled_from(["guide != 'ntc'", "donor_id == 'd2'", "total_counts > 30"]),
            "subset": st.just(40),
            "balance": st.sampled_from(["guide", "donor_id"]),
        },
    ),
    epoch=st.integers(0, 3),
)
def test_controls_are_matched_whatever_is_streamed(screen, cells, options, epoch):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*come less than half as often", UserWarning)
        own = loader(screen, columns=COLUMNS, **options)
        own.set_epoch(epoch)
        for batch in own:
            beside = batch["controls"]
            assert beside.keys() == batch.keys() - {"controls", "state"}
            for i, (cell, control) in enumerate(pairs([batch])):
                split, dataset, donor, guide, _ = cells[cell]
                assert cells[control][:4] == (split, dataset, donor, "ntc")
                assert split == options["split"]
                assert tokens(beside, i) == cells[control][4]
                assert tokens(batch, i) == cells[cell][4]
                assert guide != "ntc" or control != cell


def test_pairs_are_those_of_seed_and_epoch_and_cell(screen):
    expected = dict(pairs(loader(screen)))
    assert len(expected) == ShardDataset(screen).n_cells
    for options in ({"batch_size": 7, "num_threads": 0}, {"batch_size": 300, "lanes": 2, "window": 50, "num_threads": 3},
                    {"output": "packed"}, {"output": "packed", "max_tokens": 200}, {"output": "dense", "shuffle": False},
                    {"group_by_length": True}):  # fmt: skip
        assert dict(pairs(loader(screen, **options))) == expected
    for world_size in (2, 3):
        own = [loader(screen, batch_size=8, rank=r, world_size=world_size, drop_last=False) for r in range(world_size)]
        assert sorted(pair for rank in own for pair in pairs(rank)) == sorted(expected.items())
    workers = DataLoader(loader(screen), batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert dict(pairs(workers)) == expected
    assert dict(pairs(pickle.loads(pickle.dumps(loader(screen))))) == expected
    part = dict(pairs(loader(screen, filter="guide == 'A'")))
    assert part == {cell: expected[cell] for cell in part}
    again = loader(screen)
    again.set_epoch(1)
    for other in (again, loader(screen, seed=4)):
        assert sum(expected[cell] == control for cell, control in pairs(other)) < len(expected) / 10


@pytest.mark.parametrize("options", [{}, {"balance": "guide"}, {"output": "packed", "max_tokens": 300}])
def test_the_rest_after_a_state_has_the_same_pairs(screen, options):
    batches = list(loader(screen, **options))
    done = len(batches) // 2
    while "piece" in batches[done - 1] and batches[done - 1]["piece"] + 1 < batches[done - 1]["n_pieces"]:
        done += 1
    state = json.loads(json.dumps(batches[done - 1]["state"]))
    for world_size in (1, 2):
        rest = []
        for rank in range(world_size):
            own = loader(
                screen, batch_size=24 // world_size, rank=rank, world_size=world_size, drop_last=False, **options
            )
            own.load_state_dict(state)
            rest += pairs(own)
        assert sorted(rest) == sorted(pairs(batches[done:]))


def test_a_killed_trainer_goes_on_with_the_same_pairs(screen, tmp_path):
    code = """
import json, os, signal, sys
from scdata import ShardDataset
ds = ShardDataset(sys.argv[1], batch_size=24, seed=3, pair_controls="batch")
for number, batch in enumerate(ds):
    with open(sys.argv[2], "w") as file:
        json.dump(batch["state"], file)
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, str(screen), str(tmp_path / "state")], env=os.environ)
    assert done.returncode == -signal.SIGKILL
    own = loader(screen)
    own.load_state_dict(json.loads((tmp_path / "state").read_text()))
    assert pairs(own) == pairs(loader(screen))[5 * 24 :]


def test_controls_are_drawn_evenly(screen, cells):
    own, drawn = loader(screen, split="val", batch_size=500), Counter()
    for epoch in range(60):
        own.set_epoch(epoch)
        drawn.update(pairs(own))
    group = ("val", "b.h5ad", "d1")
    controls = [cell for cell, facts in cells.items() if facts[:4] == (*group, "ntc")]
    assert len(controls) > 8
    for is_control in (False, True):
        of = [cell for cell, facts in cells.items() if facts[:3] == group and (facts[3] == "ntc") == is_control]
        found = [sum(drawn[cell, control] for cell in of) for control in controls]
        # controls among the cells take one of the others: the same share again
        assert sum(found) == 60 * len(of)
        assert chisquare(found).pvalue > 1e-3
    # nor does a cell have favourites
    [cell] = [cell for cell, facts in cells.items() if facts[:3] == group and facts[3] == "A"][:1]
    assert chisquare([drawn[cell, control] for control in controls]).pvalue > 1e-3


def test_copies_of_a_cell_have_controls_of_their_own(screen):
    own = loader(screen, weights={"guide": {"A": 20}}, batch_size=600)
    found = Counter(cell for cell, _ in set(pairs(own)))
    assert max(found.values()) > 3


def test_a_control_that_is_alone_is_its_own(make_screen):
    path = make_screen(["ntc", "A", "ntc", "B", "ntc"], ["d1", "d1", "d2", "d2", "d2"])
    found = dict(pairs(loader(path, shuffle=False)))
    assert found == {0: 0, 1: 0, 2: 4, 4: 2, 3: found[3]}
    assert found[3] in (2, 4)


@pytest.fixture
def make_screen(tmp_path):
    def make(guides, donors, **options):
        obs = pd.DataFrame(
            {"guide": guides, "donor_id": donors, "controls": 1}, index=[f"c{i}" for i in range(len(guides))]
        )
        x = sp.csr_matrix(np.ones((len(guides), 5), np.float32))
        adata = anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(5)]))
        scdata.from_anndata(adata, tmp_path / "set", **(ROLES | options))
        return tmp_path / "set"

    return make


def test_cells_without_a_control_are_counted_and_can_be_left_out(make_screen):
    path = make_screen(["ntc", "A", "A", "B", "B", "B", None], ["d1", "d1", "d2", "d2", None, "d3", "d1"])
    said = (
        r"4 cells of split 'train' of .*, in 3 groups, have no control \('ntc' in 'guide'\) with the same dataset, donor_id: "
        r"dataset '.*', donor_id 'd2': 2 cells; .*donor_id null: 1 cells.*: leave them out with filter=, or"
    )
    with pytest.raises(ValueError, match=said):
        loader(path)
    assert dict(pairs(loader(path, filter="donor_id == 'd1'", shuffle=False))) == {0: 0, 1: 0, 6: 0}


def test_matching_by_the_dataset_alone_or_by_numbers(screen, tmp_path):
    options = {"splits": ["val=0.3"], "block_size": 16, **ROLES}
    for match in ([], ["lane", "donor_id"]):
        scdata.build_shards(screen, tmp_path / "set", control_match=match, overwrite=True, **options)
        own = loader(
            tmp_path / "set", columns=("lane", "donor_id", "guide"), batch_size=1000, filter="donor_id != 'd3'"
        )
        [batch] = list(own)
        equal = {key: (batch[key] == batch["controls"][key]).float().mean() for key in ("dataset", "lane", "donor_id")}
        assert all(equal[key] == 1 if key in ("dataset", *match) else equal[key] < 0.8 for key in equal)
        assert (batch["controls"]["guide"] == own.categories["guide"].index("ntc")).all()


def test_one_dataset_in_two_files_is_one(tmp_path):
    files = [write(tmp_path / f"{seed}.h5ad", seed, study="GSE1") for seed in (0, 1)]
    scdata.build_shards(files, tmp_path / "set", control_match=[], **ROLES)
    assert ShardSet(tmp_path / "set").datasets == ["GSE1", "GSE1"]
    across = Counter((cell < 320, control < 320) for cell, control in pairs(loader(tmp_path / "set")))
    assert min(across.values()) > 100
    assert len(across) == 4


def test_an_objective_asks_about_cells_not_controls(screen):
    own = loader(screen, objective=objectives.MaskedValues(rate=0.5, mask_value=-1))
    plain = ShardDataset(screen, batch_size=24, seed=3)
    for batch, other in zip(own, plain, strict=True):
        assert torch.equal(batch["token_ids"], other["token_ids"])
        assert batch["controls"].keys() == other.keys() - {"state"}
        assert len(batch.keys() - other.keys()) > 1


def test_sets_of_a_mix_pair_within_themselves(screen, cells, tmp_path):
    write(tmp_path / "c.h5ad", 7)
    scdata.build_shards(tmp_path / "c.h5ad", tmp_path / "other", control_match=[], **ROLES)
    other = ShardSet(tmp_path / "other").read_obs("train").to_pandas().set_index("cell_id")["guide"]
    options = {"tokenizer": "counts+fit", "pair_controls": "batch", "stop": "cycle", "seed": 2}
    mixed = scdata.mix({screen: 1, tmp_path / "other": 1}, batch_size=30, **options)
    batches = list(mixed)
    for batch in batches:
        assert torch.equal(batch["set"], batch["controls"]["set"])
        for number, (cell, control) in zip(batch["set"].tolist(), pairs([batch]), strict=True):
            assert other[control] == "ntc" if number else cells[control][:4] == (*cells[cell][:3], "ntc")
    parts = [
        scdata.mix({screen: 1, tmp_path / "other": 1}, batch_size=15, rank=r, world_size=2, **options) for r in (0, 1)
    ]
    assert Counter(pairs(batches)) >= Counter(pair for part in parts for pair in pairs(part))


def test_more_controls_than_are_kept_are_read_again(screen, monkeypatch):
    expected = pairs(loader(screen))
    stream = loader(screen)._stream
    n_blocks, n_bytes = stream.controls.capacity(stream.shards, "train")
    kept = [stream.controls.selection.n_cells[i] for i in range(n_blocks)]
    assert sum(kept) == len(stream.controls.block)
    monkeypatch.setattr(controls_module, "KEPT_BYTES", n_bytes / 4)
    assert stream.controls.capacity(stream.shards, "train")[0] == n_blocks // 4
    monkeypatch.setattr("scdata.batch.set_stream.KEPT_BYTES", n_bytes / 4)
    with pytest.warns(
        UserWarning, match=r"the \d+ controls of split 'train' .* the rest is read again whenever it is drawn"
    ):
        own = loader(screen)
    assert pairs(own) == expected


def test_controls_go_to_the_device_too(screen):
    batch = next(iter(loader(screen, device="meta")))
    assert {value.device.type for value in batch["controls"].values()} == {"meta"}


def test_a_set_that_contradicts_itself_is_refused(screen, tmp_path):
    shutil.copytree(screen, tmp_path / "set")
    file = tmp_path / "set" / "manifest.json"
    table = json.loads(file.read_text())
    for wrong in ({"column": "lane"}, {"control": "C"}, {"match": ["score"]}):
        file.write_text(json.dumps(table | {"perturbation": table["perturbation"] | wrong}))
        with pytest.raises(CorruptShardError, match=r"no string of that column|names no group"):
            loader(tmp_path / "set")
    # a cell whose block says another donor than obs/ did
    own = loader(screen)
    columns = {
        "cell_id": np.array([3]),
        "dataset": np.array([0]),
        "obs.guide": np.array([0]),
        "obs.donor_id": np.array([-1]),
    }
    with pytest.raises(CorruptShardError, match="cell 3 is of another dataset or donor_id than obs/ says"):
        own._stream.controls.draw(columns, np.zeros(1, np.uint64))


def test_what_does_not_fit_is_refused(screen, make_screen, counts_set):
    with pytest.raises(
        ValueError, match=r"does not say which cells are controls: build the set with --perturbation COL"
    ):
        loader(counts_set)
    with pytest.raises(ValueError, match=r"pair_controls = 'all': None, or 'batch'"):
        loader(screen, pair_controls="all")
    path = make_screen(["ntc", "A", "A"], ["d1"] * 3, splits=["train=guide:'A'", "rest=guide:'ntc'"])
    with pytest.raises(
        ValueError, match=r"split 'train' of .* has no control \('ntc' in 'guide'\): take another split"
    ):
        loader(path)
    with pytest.raises(ValueError, match=r"'controls' is what batches call the controls of pair_controls"):
        loader(path, split="rest", columns=["controls"])
