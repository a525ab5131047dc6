"""Masked diffusion: times, how many genes each hides, weights, and what is refused."""

import pytest
import torch

from scdata import ShardDataset
from scdata._errors import TokenizerError
from scdata.objectives import MaskedDiffusion

LEVELS = "lingshu-cell+fit"


@pytest.mark.parametrize("output", ["padded", "packed", "dense"])
def test_each_gene_is_hidden_with_the_chance_of_its_cells_time(mixed, is_share, output):
    dataset = ShardDataset(mixed.path, tokenizer=LEVELS, output=output, objective=MaskedDiffusion())
    times, found = [], []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        for batch in dataset:
            values, hidden = batch["values"], batch["masked"]
            genes = values != -1
            assert not hidden[~genes].any()
            assert torch.equal(batch["masked_values"], torch.where(hidden, torch.tensor(281).int(), values))
            if output == "packed":
                rows = torch.repeat_interleave(torch.arange(len(batch["cell_id"])), batch["cu_seqlens"].diff().long())
                sums = [torch.zeros(len(batch["cell_id"])).index_add_(0, rows, x.float()) for x in (hidden, genes)]
            else:
                sums = [hidden.sum(1), genes.sum(1)]
            times.append(batch["diffusion_time"])
            found.append(torch.stack(sums))
    time, (hidden, genes) = torch.cat(times).double(), torch.cat(found, 1).double()
    # one number a cell that should be standard normal
    score = (hidden - genes * time) / (genes * time * (1 - time)).sqrt()
    sound = (genes * time * (1 - time)) > 9
    assert sound.sum() > len(time) / 2
    assert score[sound].abs().max() < 5
    assert abs(score[sound].mean()) < 5 / sound.sum().sqrt()
    assert abs(score[sound].std() - 1) < 0.2
    # and times are uniform: each tenth holds a tenth
    for low in range(10):
        is_share(((time * 10).long() == low).sum(), len(time), 0.1)


def test_times_are_above_the_least(mixed):
    dataset = ShardDataset(mixed.path, tokenizer=LEVELS, objective=MaskedDiffusion(t_min=0.75, weight="elbo"))
    for batch in dataset:
        assert batch["diffusion_time"].dtype == batch["diffusion_weight"].dtype == torch.float32
        assert batch["diffusion_time"].min() > 0.75
        assert batch["diffusion_time"].max() < 1
        torch.testing.assert_close(batch["diffusion_weight"], 1 / batch["diffusion_time"])


def test_without_weights_they_are_one(mixed):
    for batch in ShardDataset(mixed.path, tokenizer=LEVELS, objective=MaskedDiffusion()):
        assert set(batch["diffusion_weight"].tolist()) == {1.0}


def test_every_cell_has_a_time_of_its_own(mixed):
    times = torch.cat(
        [b["diffusion_time"] for b in ShardDataset(mixed.path, tokenizer=LEVELS, objective=MaskedDiffusion())]
    )
    assert len(times.unique()) == len(times)


def test_wrong_combinations_are_refused(mixed):
    with pytest.raises(TokenizerError, match="needs values"):
        ShardDataset(mixed.path, tokenizer="geneformer-v2+fit", objective=MaskedDiffusion())
    with pytest.raises(TokenizerError, match="give mask_value"):
        ShardDataset(mixed.path, objective=MaskedDiffusion())
    for wrong in ({"t_min": 1}, {"t_min": -0.1}, {"weight": "snr"}):
        with pytest.raises(ValueError, match=r"below 1|from 0 to 1|elbo"):
            MaskedDiffusion(**wrong)
