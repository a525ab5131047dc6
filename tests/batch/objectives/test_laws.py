"""What holds for every objective: nothing but (seed, epoch, cell, number of the batch) decides what is drawn."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from scdata import ShardDataset, _jit
from scdata.objectives import (
    JointEmbedding,
    MaskedDiffusion,
    MaskedGenes,
    MaskedValues,
    NextGene,
    Objective,
    PerceptionGeneration,
)

# name → tokenizer, objective, outputs
CASES = {
    "genes": ("geneformer-v2+fit", MaskedGenes(), ("padded", "packed")),
    "genes as geneformer": ("geneformer-v2+fit", MaskedGenes(rate=0.3, like="geneformer"), ("padded", "packed")),
    "values": ("scgpt+fit", MaskedValues(rate=0.4), ("padded", "packed", "dense")),
    "some values stay": ("scgpt+fit", MaskedValues(replace=0.8, mask_value=77), ("padded", "packed", "dense")),
    "values as in fine-tuning": ("scgpt+fit", MaskedValues(rate=0.4, like="scgpt-fine-tuning"), ("padded", "packed")),
    "zeros too": ("lingshu-cell+fit", MaskedValues(rate=0.3, zero_rate=0.03), ("padded", "packed", "dense")),
    "two views": ("scgpt+fit", JointEmbedding(), ("padded", "packed", "dense")),
    "perception": ("scgpt+fit", PerceptionGeneration(rate=0.4), ("padded", "packed")),
    "perception among all genes": ("lingshu-cell+fit", PerceptionGeneration(rate=0.6), ("padded", "packed")),
    "next gene": ("transcriptformer+fit", NextGene(), ("padded", "packed")),
    "next of ranks": ("geneformer-v2+fit", NextGene(start="<cls>", end="<eos>"), ("padded", "packed")),
    "next as transcriptformer": ("transcriptformer+fit", NextGene(like="transcriptformer"), ("padded", "packed")),
    "diffusion": ("lingshu-cell+fit", MaskedDiffusion(weight="elbo"), ("padded", "packed", "dense")),
}
# one rate of several is drawn for a whole batch
BY_BATCH = {
    "one of three rates": ("scgpt+fit", MaskedValues(rate=(0.2, 0.5, 0.8)), ("padded", "packed", "dense")),
    "one of three shares": ("scgpt+fit", PerceptionGeneration(), ("padded", "packed")),
}
ALL = CASES | BY_BATCH
OUTPUTS = [(name, output) for name, case in ALL.items() for output in case[2]]


def equal(one, other):
    """True if two batches are the same, states and all."""
    if one.keys() != other.keys():
        return False
    return all(torch.equal(v, other[k]) if isinstance(v, torch.Tensor) else v == other[k] for k, v in one.items())


@pytest.fixture
def make(mixed):
    """A function: the dataset of a case."""

    def of(name, output, **options):
        tokenizer, objective, _ = ALL[name]
        options = {"batch_size": 32, "seed": 3, "num_threads": 0, **options}
        return ShardDataset(mixed.path, tokenizer=tokenizer, output=output, objective=objective, **options)

    return of


@pytest.mark.parametrize("name", CASES)
def test_neither_batch_size_nor_output_nor_padding_nor_threads_matter(make, rows_of, name):
    first, *others = CASES[name][2]
    expected = rows_of(make(name, first))
    for options in ({"batch_size": 7}, {"pad_to": 256}, {"num_threads": 2, "batch_size": 100}, {"lanes": 3}):
        assert rows_of(make(name, first, **options)) == expected
    for output in set(others) - {"dense"}:
        found = rows_of(make(name, output, batch_size=50))
        for cell, row in found.items():
            assert row == {key: expected[cell][key] for key in row}


@pytest.mark.parametrize(("name", "output"), OUTPUTS)
def test_ranks_and_workers_have_parts_of_the_same_batches(make, rows_of, name, output):
    whole = rows_of(make(name, output, batch_size=32))
    found = {}
    for rank in range(2):
        part = make(name, output, batch_size=16, rank=rank, world_size=2, drop_last=False)
        if rank == 1 and output == ALL[name][2][0]:
            part = DataLoader(part, batch_size=None, num_workers=2, multiprocessing_context="fork")
        found |= rows_of(part)
    assert found == whole


@pytest.mark.parametrize(("name", "output"), OUTPUTS)
def test_what_comes_after_a_state_is_what_would_have_come(make, name, output):
    dataset = make(name, output)
    dataset.set_epoch(2)
    batches = list(dataset)
    for at in (0, 5, len(batches) - 1):
        again = make(name, output)
        again.load_state_dict(batches[at]["state"])
        rest = list(again)
        assert len(rest) == len(batches) - at - 1
        assert all(map(equal, rest, batches[at + 1 :]))


@pytest.mark.parametrize(("name", "output"), OUTPUTS)
def test_without_numba_the_same(make, monkeypatch, name, output):
    compiled = list(make(name, output))
    monkeypatch.setattr(_jit, "available", lambda: False)
    assert all(map(equal, make(name, output), compiled))


@pytest.mark.parametrize("name", [name for name in ALL if name != "next of ranks"])  # which draws nothing
def test_epochs_and_seeds_differ(make, rows_of, name):
    def drawn(epoch, seed):
        dataset = make(name, "padded", seed=seed)
        dataset.set_epoch(epoch)
        return rows_of(dataset)

    first = drawn(0, 0)
    assert drawn(0, 0) == first
    assert drawn(1, 0) != first
    assert drawn(0, 1) != first


@pytest.mark.parametrize("name", ALL)
def test_objectives_travel_and_compare(make, name):
    objective = ALL[name][1]
    assert isinstance(objective, Objective)
    assert pickle.loads(pickle.dumps(objective)) == objective
    assert hash(objective) == hash(pickle.loads(pickle.dumps(objective)))
    assert type(objective).__name__ in repr(objective)
    with pytest.raises(AttributeError):  # frozen
        objective.rate = 0.5
    dataset = make(name, "padded")
    assert all(map(equal, pickle.loads(pickle.dumps(dataset)), dataset))


@pytest.mark.parametrize(("name", "output"), OUTPUTS)
def test_an_objective_only_adds(make, mixed, name, output):
    tokenizer = ALL[name][0]
    plain = list(ShardDataset(mixed.path, tokenizer=tokenizer, output=output, batch_size=32, seed=3))
    for batch, other in zip(make(name, output), plain, strict=True):
        assert batch.keys() > other.keys()
        assert equal({key: batch[key] for key in other}, other)


def test_a_batch_without_cells_of_any_length_is_no_error(make):
    """A context of two tokens leaves one gene beside <cls>."""
    for batch in make("values", "packed", context_length=2):
        assert batch["masked"].shape == batch["token_ids"].shape


def test_what_is_no_objective_is_refused(mixed):
    with pytest.raises(ValueError, match=r"one of scdata\.objectives"):
        ShardDataset(mixed.path, objective="mlm")
