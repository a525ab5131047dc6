"""Objectives of one's own, and objectives beside thinned cells, stored tokens, pieces, mixes."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import scdata
from scdata import ShardDataset, encoder_view
from scdata.objectives import Column, JointEmbedding, MaskedGenes, MaskedValues, Objective


@dataclass(frozen=True, kw_only=True)
class Halves(Objective):
    """Each token belongs to one of two halves of its cell; and how many a cell has."""

    name: str = "half"

    def check(self, setting):
        setting.require_sequences("Halves", "padded", "packed")

    def apply(self, cells, setting):
        keys = cells.draws.keys("mask", cells.indptr, cells.token_ids)
        return {self.name: Column((keys >> np.uint64(63)).astype(np.int8), -1), "n": np.diff(cells.indptr)}


def test_an_objective_of_ones_own(mixed, rows_of):
    padded = ShardDataset(mixed.path, objective=Halves(), batch_size=50)
    packed = ShardDataset(mixed.path, objective=Halves(), batch_size=7, output="packed")
    cells = rows_of(padded)
    for cell, row in rows_of(packed).items():
        assert row["half"] == cells[cell]["half"]
        assert row["n"] == len(row["half"])
    assert {half for row in cells.values() for half in row["half"]} == {0, 1}
    for batch in padded:
        assert batch["half"].dtype == torch.int8
        assert set(batch["half"][~batch["attention_mask"]].tolist()) <= {-1}
    with pytest.raises(ValueError, match="Halves is about sequences"):
        ShardDataset(mixed.path, objective=Halves(), output="dense")


def test_an_objective_may_not_change_what_a_cell_is(mixed):
    with pytest.raises(ValueError, match=r"Halves gives \['values'\], which batches have already"):
        list(ShardDataset(mixed.path, objective=Halves(name="values")))


def test_the_hidden_values_of_thinned_cells_have_whole_targets(mixed, own_preset):
    """scFoundation: the encoder sees what is neither zero nor hidden; what is asked for comes from the unthinned cell."""
    preset = own_preset(
        'extends = "scfoundation"\n[vocab]\nfixed = false\n[depth.thin]\np = 1.0\nmin_counts = 0\n', "fit", "thinned"
    )
    objective = MaskedValues(rate=0.3, zero_rate=0.03, mask_value=-7)
    dataset = ShardDataset(mixed.path, tokenizer=preset, output="dense", objective=objective)
    differ = 0
    for batch in dataset:
        hidden, values = batch["masked"], batch["values"]
        assert batch["masked_values"].dtype == values.dtype == torch.float32
        assert set(batch["masked_values"][hidden].tolist()) == {-7.0}
        view = encoder_view(values, batch["depths"], hidden)
        n_seen = ((values > 0) & ~hidden).sum(1) + (batch["depths"] > 0).sum(1)
        assert view["attention_mask"].sum(1).tolist() == n_seen.tolist()
        differ += int((batch["targets"] != values)[hidden].sum())
    assert differ


@pytest.mark.parametrize("objective", [MaskedGenes(), JointEmbedding()])
def test_stored_tokens_are_hidden_like_those_made_on_the_fly(mixed, rows_of, tmp_path, objective):
    sources = [mixed.path.parent / f"{name}.h5ad" for name in "ab"]
    scdata.build_shards(sources, tmp_path / "set", tokenizer="depth-bins", assets="fit", block_size=32)
    stored = rows_of(ShardDataset(tmp_path / "set", objective=objective))
    fly = rows_of(ShardDataset(mixed.path, tokenizer="depth-bins+fit", objective=objective))
    assert stored == fly
    assert any(any(row["masked"]) for row in stored.values())


def test_pieces_of_a_batch_have_its_rate_and_its_masks(mixed, rows_of):
    options = {"tokenizer": "scgpt+fit", "output": "packed", "batch_size": 64}
    options["objective"] = MaskedValues(rate=(0.1, 0.9))
    whole = rows_of(ShardDataset(mixed.path, **options))
    pieces = list(ShardDataset(mixed.path, max_tokens=600, **options))
    assert (
        max(len(batch["token_ids"]) for batch in pieces) <= 600 < sum(len(row["token_ids"]) for row in whole.values())
    )
    for cell, row in rows_of(pieces).items():
        assert row["masked_values"] == whole[cell]["masked_values"]


def test_a_batch_of_a_mix_has_one_rate_and_other_masks_for_each_set(mixed, rows_of, counts_set, is_share):
    options = {"tokenizer": "counts+fit", "objective": MaskedValues(rate=(0.1, 0.9), mask_value=-1), "batch_size": 64}
    found = []
    for batch in scdata.mix({str(mixed.path): 1, str(counts_set): 1}, **options):
        rates = set()
        for number in (0, 1):
            there = batch["attention_mask"][batch["set"] == number]
            n_hidden, n = batch["masked"][batch["set"] == number].sum(), int(there.sum())
            rates.add(0.9 if n_hidden > n / 2 else 0.1)
            is_share(n_hidden, n, 0.9 if n_hidden > n / 2 else 0.1)
        assert len(rates) == 1
        found += rates
    assert set(found) == {0.1, 0.9}
