"""Masked values, and two views of a cell: rates, what is never hidden, and what is refused."""

import numpy as np
import pytest
import torch

from scdata import ShardDataset
from scdata._errors import TokenizerError
from scdata.objectives import JointEmbedding, MaskedValues

OUTPUTS = ["padded", "packed", "dense"]


def genes_in(mixed, dataset, batch):
    """Where a batch has genes that were measured, as a mask."""
    if dataset._options.output == "dense":
        names = dataset.dense_feature_ids
        return torch.tensor([[gene in mixed.measured[n] for gene in names] for n in batch["cell_id"].tolist()])
    genes = ~torch.isin(batch["token_ids"], torch.tensor(sorted(dataset.vocab.specials.values())))
    return genes & batch["attention_mask"] if "attention_mask" in batch else genes


@pytest.mark.parametrize("output", OUTPUTS)
def test_zeros_have_a_rate_of_their_own(mixed, is_share, output):
    objective = MaskedValues(rate=0.3, zero_rate=0.03)
    dataset = ShardDataset(mixed.path, tokenizer="lingshu-cell+fit", output=output, objective=objective)
    found = {True: [0, 0], False: [0, 0]}
    for batch in dataset:
        values, hidden = batch["values"], batch["masked"]
        genes = genes_in(mixed, dataset, batch) & (values != -1)
        assert not hidden[~genes].any()
        assert torch.equal(batch["masked_values"], torch.where(hidden, torch.tensor(281).int(), values))
        for zero in (True, False):
            there = genes & ((values == 0) == zero)
            found[zero] = [found[zero][0] + int(hidden[there].sum()), found[zero][1] + int(there.sum())]
    is_share(*found[True], 0.03)
    is_share(*found[False], 0.3)


def test_some_of_the_hidden_keep_their_value(mixed, joined, is_share):
    dataset = ShardDataset(mixed.path, tokenizer="scgpt+fit", objective=MaskedValues(rate=0.5, replace=0.8))
    batches = list(dataset)
    values, seen, hidden = (joined(batches, key) for key in ("values", "masked_values", "masked"))
    replaced = seen == -1
    assert hidden[replaced].all()
    assert torch.equal(seen[~replaced], values[~replaced])
    is_share(replaced.sum(), int(hidden.sum()), 0.8)


def test_one_of_several_rates_for_a_whole_batch(mixed, is_share):
    rates = (0.1, 0.5, 0.9)
    found = []
    dataset = ShardDataset(mixed.path, tokenizer="scgpt+fit", batch_size=16, objective=MaskedValues(rate=rates))
    for epoch in range(4):
        dataset.set_epoch(epoch)
        for batch in dataset:
            genes = genes_in(mixed, dataset, batch)
            n = int(genes.sum())
            share = batch["masked"].sum() / n
            rate = min(rates, key=lambda rate: abs(rate - share))
            is_share(batch["masked"].sum(), n, rate)
            found.append(rate)
    for rate in rates:
        is_share(found.count(rate), len(found), 1 / 3)


def test_numbers_of_numpy_are_numbers(mixed, rows_of):
    options = {"tokenizer": "scgpt+fit"}
    own = rows_of(
        ShardDataset(mixed.path, objective=MaskedValues(rate=np.float32(0.5), mask_value=np.int64(-1)), **options)
    )
    assert own == rows_of(ShardDataset(mixed.path, objective=MaskedValues(rate=0.5), **options))


def test_a_preset_without_a_mask_takes_the_one_given(mixed):
    with pytest.raises(TokenizerError, match=r"\[value\] mask\): give mask_value"):
        ShardDataset(mixed.path, objective=MaskedValues())
    dataset = ShardDataset(mixed.path, objective=MaskedValues(rate=0.5, mask_value=-7))
    for batch in dataset:
        assert set(batch["masked_values"][batch["masked"]].tolist()) == {-7}
    for wrong in (float("nan"), float("inf"), 1 << 31, "-1"):
        with pytest.raises(ValueError, match="a number from -2147483648 to 2147483647"):
            ShardDataset(mixed.path, objective=MaskedValues(mask_value=wrong))
    with pytest.raises(ValueError, match=r"mask_value = 0.5: values of 'counts' are whole numbers"):
        ShardDataset(mixed.path, objective=JointEmbedding(mask_value=0.5))


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_preset_of_two_views_has_the_objective_by_itself(mixed, rows_of, output):
    options = {"tokenizer": "cell-jepa+fit", "output": output}
    by_preset = rows_of(ShardDataset(mixed.path, **options))
    assert rows_of(ShardDataset(mixed.path, objective=JointEmbedding(rate=0.15), **options)) == by_preset
    other = rows_of(ShardDataset(mixed.path, objective=JointEmbedding(rate=0.5), **options))
    masked = [sum(sum(cell["masked"]) for cell in rows.values()) for rows in (by_preset, other)]
    assert masked[1] > 2 * masked[0]


@pytest.mark.parametrize("objective", [MaskedValues(), JointEmbedding()])
def test_ranks_have_no_values_to_hide(mixed, objective):
    for output in OUTPUTS:
        with pytest.raises(TokenizerError, match=r"needs values, and 'geneformer-v2\+fit' has none"):
            ShardDataset(mixed.path, tokenizer="geneformer-v2+fit", output=output, objective=objective)


def test_as_in_fine_tuning_a_number_of_tokens_is_hidden(mixed, is_share):
    objective = MaskedValues(rate=0.4, like="scgpt-fine-tuning")
    n = first = 0
    for batch in ShardDataset(mixed.path, tokenizer="scgpt+fit", objective=objective):
        assert batch["masked"].sum(1).tolist() == [int(0.4 * k) for k in batch["n_tokens"].tolist()]
        assert not batch["masked"][~batch["attention_mask"]].any()
        n, first = n + len(batch["cell_id"]), first + int(batch["masked"][:, 0].sum())
    is_share(first, n, 0.4)  # <cls> like any other


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"like": "scgpt"}, "scgpt-fine-tuning"),
        ({"like": "scgpt-fine-tuning", "zero_rate": 0.03}, "one rate for all values"),
        ({"rate": ()}, "at least one"),
        ({"rate": (0.5, 1.5)}, "rate = 1.5: between 0 and 1"),
        ({"rate": [0.5]}, "between 0 and 1"),
        ({"zero_rate": 1}, "zero_rate = 1: between 0 and 1"),
        ({"replace": -0.1}, "from 0 to 1"),
    ],
)
def test_wrong_parameters(wrong, message):
    with pytest.raises(ValueError, match=message):
        MaskedValues(**wrong)
    with pytest.raises(ValueError, match="between 0 and 1"):
        JointEmbedding(rate=0.0)
