"""Next gene: what each position reads and is asked for, written down cell by cell."""

import pytest
import torch

from scdata import ShardDataset
from scdata._errors import TokenizerError
from scdata.objectives import NextGene

COUNTS = "transcriptformer+fit"
IGNORED = -100


def by_hand(tokens, values, start, end, limit, original=False):
    """Inputs and targets of one cell."""
    sequence = [start, *tokens] if original else [start, *tokens, end]
    numbers = [1, *values, 0]
    n = min(len(sequence) - 1, limit)
    read, asked = sequence[:n], sequence[1 : n + 1]
    of_targets = numbers[1 : n + 1]
    if original and n == limit:
        asked[-1], of_targets[-1] = end, 0
    return read, numbers[:n], asked, of_targets


@pytest.mark.parametrize("output", ["padded", "packed"])
@pytest.mark.parametrize("like", [None, "transcriptformer"])
@pytest.mark.parametrize("limit", [None, 40])
def test_positions_by_hand(mixed, rows_of, output, like, limit):
    dataset = ShardDataset(
        mixed.path, tokenizer=COUNTS, output=output, objective=NextGene(like=like), context_length=limit, batch_size=50
    )
    specials = dataset.vocab.specials
    full = 0
    for cell in rows_of(dataset).values():
        expected = by_hand(
            cell["token_ids"], cell["values"], specials["[START]"], specials["[END]"], limit or 2047, like is not None
        )
        keys = ("input_token_ids", "input_values", "target_token_ids", "target_values")
        assert tuple(cell[key] for key in keys) == expected
        full += len(cell["token_ids"]) == limit
    assert full > 0 or limit is None


def test_shapes_and_padding(mixed):
    for batch in ShardDataset(mixed.path, tokenizer=COUNTS, objective=NextGene(), context_length=64, batch_size=30):
        shape = batch["input_token_ids"].shape
        assert shape == (len(batch["cell_id"]), 64)
        for key, kind in (
            ("target_token_ids", torch.int64),
            ("input_values", torch.int32),
            ("target_values", torch.int32),
        ):
            assert batch[key].shape == shape
            assert batch[key].dtype == kind
        behind = ~batch["input_mask"]
        assert set(batch["input_token_ids"][behind].tolist()) <= {5}  # [PAD]
        assert set(batch["target_token_ids"][behind].tolist()) <= {IGNORED}
        assert batch["input_mask"].sum(1).tolist() == [min(n + 1, 64) for n in batch["n_tokens"].tolist()]


def test_no_row_is_wider_than_asked_for(mixed):
    longest = max(int(b["n_tokens"].max()) for b in ShardDataset(mixed.path, tokenizer=COUNTS))
    for batch in ShardDataset(mixed.path, tokenizer=COUNTS, objective=NextGene(), pad_to=longest):
        assert batch["input_token_ids"].shape == batch["token_ids"].shape
        full = batch["n_tokens"] == longest
        assert (batch["target_token_ids"][full, -1] == batch["token_ids"][full, -1]).all()
    dataset = ShardDataset(mixed.path, tokenizer=COUNTS, objective=NextGene(), pad_to="context", batch_size=8)
    assert next(iter(dataset))["input_token_ids"].shape == (8, 2047)


@pytest.mark.parametrize("output", ["padded", "packed"])
def test_ranks_begin_and_end_with_their_own_tokens(mixed, rows_of, output):
    dataset = ShardDataset(
        mixed.path, tokenizer="geneformer-v2+fit", output=output, objective=NextGene(start="<cls>", end="<eos>")
    )
    assert "input_values" not in next(iter(dataset))
    for cell in rows_of(dataset).values():
        assert cell["input_token_ids"] == cell["token_ids"][:-1]
        assert cell["target_token_ids"] == cell["token_ids"][1:]


def test_other_special_tokens_are_read_and_not_asked_for(mixed, rows_of):
    """<cls> of scgpt is put before the genes, and is not what `start` says."""
    dataset = ShardDataset(mixed.path, tokenizer="scgpt+fit", objective=NextGene(start="<eoc>", end="<eoc>"))
    specials = dataset.vocab.specials
    for cell in rows_of(dataset).values():
        assert cell["input_token_ids"] == [specials["<eoc>"], *cell["token_ids"]]
        assert cell["target_token_ids"] == [IGNORED, *cell["token_ids"][1:], specials["<eoc>"]]
        assert cell["target_values"] == [-2, *cell["values"][1:], -2]
        assert cell["input_values"] == [1, *cell["values"]]


def test_genes_that_were_not_measured_are_not_asked_for(mixed, rows_of, own_preset):
    preset = own_preset('extends = "lingshu-cell"\n[vocab]\nspecial = ["<s>", "</s>"]\n[genes]\norder = "descending"\n')
    dataset = ShardDataset(mixed.path, tokenizer=preset, objective=NextGene(start="<s>", end="</s>"))
    for cell in rows_of(dataset).values():
        pairs = zip(cell["token_ids"], cell["values"], strict=True)
        assert cell["target_token_ids"][:-1] == [IGNORED if value == -1 else token for token, value in pairs]
        measured = [value for value in cell["values"] if value != -1]
        assert measured == sorted(measured, reverse=True)


def test_wrong_combinations_are_refused_when_the_dataset_is_made(mixed):
    with pytest.raises(
        TokenizerError, match=r"special token '\[START\]', and the vocabulary of 'scgpt\+fit' has '<pad>'"
    ):
        ShardDataset(mixed.path, tokenizer="scgpt+fit", objective=NextGene())
    with pytest.raises(ValueError, match="sequences of tokens, not output='dense'"):
        ShardDataset(mixed.path, tokenizer=COUNTS, output="dense", objective=NextGene())
    with pytest.raises(ValueError, match="transcriptformer"):
        NextGene(like="gpt")
