"""Masked genes: rates, what is never hidden, what stands in place of a hidden gene, and what is refused."""

import pytest
import torch

from scdata import ShardDataset
from scdata._errors import TokenizerError
from scdata.objectives import MaskedGenes

RANKS = "geneformer-v2+fit"


@pytest.fixture
def hide(mixed):
    """A function: the dataset, and all tokens of its cells: ids, what is seen, which are hidden, targets."""

    def run(objective, output="packed", epochs=1, **options):
        dataset = ShardDataset(mixed.path, tokenizer=RANKS, output=output, objective=objective, **options)
        batches = []
        for epoch in range(epochs):
            dataset.set_epoch(epoch)
            batches += list(dataset)
        keys = ("token_ids", "masked_token_ids", "masked", "target_token_ids")
        return dataset, [torch.cat([batch[key].flatten() for batch in batches]) for key in keys]

    return run


def test_hidden_genes_become_the_mask_a_random_gene_or_stay(hide, is_share):
    dataset, (ids, seen, hidden, _) = hide(MaskedGenes(), epochs=3)
    specials = torch.tensor(sorted(dataset.vocab.specials.values()))
    genes = ~torch.isin(ids, specials)
    assert not hidden[~genes].any()
    assert torch.equal(seen[~hidden], ids[~hidden])
    is_share(hidden.sum(), int(genes.sum()), 0.15)
    ids, seen = ids[hidden], seen[hidden]
    mask = seen == dataset.vocab.specials["<mask>"]
    other = ~mask & (seen != ids)
    is_share(mask.sum(), len(ids), 0.8)
    # a random gene is the same one now and then
    n_genes = len(dataset.vocab.feature_ids)
    is_share(other.sum(), len(ids), 0.1 * (1 - 1 / n_genes))
    assert not torch.isin(seen[other], specials).any()
    assert len(seen[other].unique()) > 0.9 * n_genes


def test_targets_are_what_cross_entropy_takes(hide):
    _, (ids, _, hidden, target) = hide(MaskedGenes())
    assert target.dtype == torch.int64
    assert torch.equal(target[hidden], ids[hidden].long())
    assert set(target[~hidden].tolist()) == {-100}
    logits = torch.zeros(len(target), int(ids.max()) + 1)
    assert torch.nn.functional.cross_entropy(logits, target) > 0


def test_padding_is_neither_hidden_nor_asked_for(mixed):
    dataset = ShardDataset(mixed.path, tokenizer=RANKS, objective=MaskedGenes(rate=0.5), pad_to=200)
    for batch in dataset:
        behind = ~batch["attention_mask"]
        assert batch["masked_token_ids"].shape == batch["token_ids"].shape == (len(behind), 200)
        assert set(batch["masked_token_ids"][behind].tolist()) == {dataset.pad_id}
        assert not batch["masked"][behind].any()
        assert set(batch["target_token_ids"][behind].tolist()) == {-100}
        assert batch["masked_token_ids"].dtype == torch.int32


@pytest.mark.parametrize("output", ["padded", "packed"])
def test_ids_have_the_type_asked_for(mixed, output):
    dataset = ShardDataset(mixed.path, tokenizer=RANKS, output=output, objective=MaskedGenes(), dtype=torch.int64)
    batch = next(iter(dataset))
    assert batch["token_ids"].dtype == batch["masked_token_ids"].dtype == torch.int64


def test_as_in_geneformer_special_tokens_are_hidden_and_are_random_ids(hide, is_share):
    dataset, (ids, seen, hidden, _) = hide(MaskedGenes(rate=0.5, replace=0.0, random=1.0, like="geneformer"), epochs=2)
    specials = dataset.vocab.specials
    for token in ("<cls>", "<eos>"):
        there = ids == specials[token]
        is_share(hidden[there].sum(), int(there.sum()), 0.5)
    n_tokens = len(dataset.vocab.feature_ids) + len(specials)
    for token in specials.values():  # <pad> among them
        is_share((seen[hidden] == token).sum(), int(hidden.sum()), 1 / n_tokens)


def test_extremes(hide):
    dataset, (ids, seen, hidden, _) = hide(MaskedGenes(rate=0.9, replace=1.0, random=0.0))
    assert set(seen[hidden].tolist()) == {dataset.vocab.specials["<mask>"]}
    _, (ids, seen, hidden, _) = hide(MaskedGenes(rate=0.9, replace=0.0, random=0.0))
    assert torch.equal(seen, ids)
    assert hidden.any()


def test_a_set_of_stored_ranks(mixed, ranks_set):
    for batch in ShardDataset(ranks_set, objective=MaskedGenes()):
        assert batch["masked"].any()
        assert torch.equal(batch["target_token_ids"][batch["masked"]], batch["token_ids"][batch["masked"]].long())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rate": 0}, "rate = 0: between 0 and 1"),
        ({"rate": 1.0}, "between 0 and 1"),
        ({"rate": "0.15"}, "between 0 and 1"),
        ({"rate": float("nan")}, "between 0 and 1"),
        ({"replace": 1.1}, "from 0 to 1"),
        ({"replace": 0.8, "random": 0.3}, "at most 1"),
        ({"like": "bert"}, "geneformer"),
    ],
)
def test_wrong_parameters(wrong, message):
    with pytest.raises(ValueError, match=message):
        MaskedGenes(**wrong)


def test_wrong_combinations_are_refused_when_the_dataset_is_made(mixed):
    with pytest.raises(TokenizerError, match=r"'scgpt\+fit' has no mask token: use MaskedValues"):
        ShardDataset(mixed.path, tokenizer="scgpt+fit", objective=MaskedGenes())
    with pytest.raises(
        ValueError, match="sequences of tokens, not output='dense': use output='padded' or output='packed'"
    ):
        ShardDataset(mixed.path, tokenizer=RANKS, output="dense", objective=MaskedGenes())
