"""Perception and generation: parts of cells, their sizes as in scGPT, their attention mask, and what is refused."""

import pytest
import torch

from scdata import ShardDataset
from scdata._errors import TokenizerError
from scdata.objectives import PerceptionGeneration, generation_attention, masked_attention

BINS = "scgpt+fit"


def parts(batch, i):
    """Perceived and generated genes of a cell: token id → value."""
    seen, made = batch["pcpt_mask"][i], batch["gen_mask"][i]
    pairs = (batch["pcpt_token_ids"][i][seen], batch["pcpt_values"][i][seen])
    others = (batch["gen_token_ids"][i][made], batch["gen_targets"][i][made])
    return [dict(zip(ids.tolist(), values.tolist(), strict=True)) for ids, values in (pairs, others)]


@pytest.mark.parametrize("options", [{}, {"context_length": 30}, {"pad_to": 130}])
def test_every_gene_is_in_one_part(mixed, options):
    dataset = ShardDataset(mixed.path, tokenizer=BINS, objective=PerceptionGeneration(rate=0.4), **options)
    cls, pad = dataset.vocab.specials["<cls>"], dataset.tokenizer.preset.value.pad
    for batch in dataset:
        width = batch["token_ids"].shape[1]
        assert batch["gen_token_ids"].shape[1] == int(0.4 * (width - 1))
        assert batch["pcpt_token_ids"].shape[1] + batch["gen_token_ids"].shape[1] == width
        for i in range(len(batch["cell_id"])):
            whole = batch["token_ids"][i][batch["attention_mask"][i]].tolist()
            values = batch["values"][i][batch["attention_mask"][i]].tolist()
            seen, made = parts(batch, i)
            assert seen | made == dict(zip(whole, values, strict=True))
            assert not seen.keys() & made.keys()
            assert len(made) == int(0.4 * (len(whole) - 1))  # of the genes, without <cls>
            assert whole[0] == cls == next(iter(seen))
            for part in (seen, made):  # in their order
                assert list(part) == [token for token in whole if token in part]
        for ids, numbers, mask in (
            ("pcpt_token_ids", "pcpt_values", "pcpt_mask"),
            ("gen_token_ids", "gen_targets", "gen_mask"),
        ):
            assert set(batch[ids][~batch[mask]].tolist()) <= {dataset.pad_id}
            assert set(batch[numbers][~batch[mask]].tolist()) <= {pad}


def test_any_gene_may_be_generated(mixed, is_share):
    """Of a cell's genes each has the same chance, whatever its place."""
    dataset = ShardDataset(mixed.path, tokenizer=BINS, objective=PerceptionGeneration(rate=0.5))
    n = first = last = 0
    for epoch in range(3):
        dataset.set_epoch(epoch)
        for batch in dataset:
            for i, length in enumerate(batch["n_tokens"].tolist()):
                if length % 2:  # an even number of genes: exactly half of them
                    genes = batch["token_ids"][i][1:length].tolist()
                    made = parts(batch, i)[1]
                    n, first, last = n + 1, first + (genes[0] in made), last + (genes[-1] in made)
    is_share(first, n, 0.5)
    is_share(last, n, 0.5)


def test_a_share_of_three_for_a_whole_batch(mixed, is_share):
    dataset = ShardDataset(mixed.path, tokenizer=BINS, objective=PerceptionGeneration(), batch_size=16, pad_to=200)
    found = []
    for epoch in range(4):
        dataset.set_epoch(epoch)
        found += [batch["gen_token_ids"].shape[1] for batch in dataset]
    for rate in (0.25, 0.5, 0.75):
        is_share(found.count(int(199 * rate)), len(found), 1 / 3)


def test_genes_that_were_not_measured_are_never_asked_for(mixed):
    dataset = ShardDataset(mixed.path, tokenizer="lingshu-cell+fit", objective=PerceptionGeneration(rate=0.75))
    for batch in dataset:
        missing = batch["values"] == -1
        assert missing.any()
        n = (~missing & batch["attention_mask"]).sum(1)
        assert (batch["gen_targets"][batch["gen_mask"]] != -1).all()
        assert batch["gen_mask"].sum(1).tolist() == [int(0.75 * k) for k in n.tolist()]
        assert batch["pcpt_mask"].sum(1).tolist() == (batch["n_tokens"] - batch["gen_mask"].sum(1)).tolist()


def test_attention_by_the_rules_one_by_one(mixed):
    dataset = ShardDataset(mixed.path, tokenizer=BINS, objective=PerceptionGeneration(), batch_size=3)
    batch = next(iter(dataset))
    mask = generation_attention(batch["pcpt_mask"], batch["gen_mask"])
    n_seen, width = batch["pcpt_mask"].shape[1], batch["token_ids"].shape[1]
    there = torch.cat([batch["pcpt_mask"], batch["gen_mask"]], 1)
    assert mask.shape == (3, width, width)
    assert mask.dtype == torch.bool
    for cell in range(3):
        for query in range(width):
            keys = {key for key in range(n_seen) if there[cell, key]}
            if query >= n_seen and there[cell, query]:
                keys.add(query)
            assert set(mask[cell, query].nonzero().flatten().tolist()) == keys


def test_attention_of_masked_values_is_the_same_rule():
    there = torch.tensor([[True, True, True, True, False]])
    masked = torch.tensor([[False, True, False, True, False]])
    expected = [[1, 0, 1, 0, 0], [1, 1, 1, 0, 0], [1, 0, 1, 0, 0], [1, 0, 1, 1, 0], [1, 0, 1, 0, 0]]
    assert masked_attention(there, masked)[0].int().tolist() == expected


def test_wrong_combinations_are_refused_when_the_dataset_is_made(mixed):
    with pytest.raises(ValueError, match="not output='dense': use output='padded' or output='packed'"):
        ShardDataset(mixed.path, tokenizer=BINS, output="dense", objective=PerceptionGeneration())
    with pytest.raises(TokenizerError, match="needs values"):
        ShardDataset(mixed.path, tokenizer="geneformer-v2+fit", objective=PerceptionGeneration())
    for rate in ((), 1.0, (0.5, 0)):
        with pytest.raises(ValueError, match=r"at least one|between 0 and 1"):
            PerceptionGeneration(rate=rate)
