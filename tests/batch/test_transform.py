"""What becomes of batches before they are delivered: log-normalized values, and a function of the user's."""

import numpy as np
import pytest
import scanpy
import torch

import scdata
from scdata._errors import TokenizerError


def halved(batch):
    batch["half"] = batch["values"] / 2
    del batch["values"]
    return batch


def test_values_as_scanpy_normalizes_them(counts_set):
    expected = scdata.to_anndata(counts_set)
    expected.X = expected.X.astype(np.float64)
    scanpy.pp.normalize_total(expected, target_sum=1e4)
    scanpy.pp.log1p(expected)
    [batch] = scdata.ShardDataset(counts_set, output="dense", shuffle=False, batch_size=10_000, log_normalize=1e4)
    assert batch["values"].dtype == torch.float32
    np.testing.assert_allclose(batch["values"].numpy(), expected.X.toarray(), rtol=1e-6)
    [packed] = scdata.ShardDataset(counts_set, output="packed", shuffle=False, batch_size=10_000, log_normalize=1e4)
    dense = np.zeros_like(batch["values"].numpy())
    rows = np.repeat(np.arange(len(dense)), np.diff(packed["cu_seqlens"].numpy()))
    dense[rows, packed["token_ids"].numpy()] = packed["values"].numpy()
    assert (dense == batch["values"].numpy()).all()


def test_in_a_spawned_worker_too(counts_set):
    dataset = scdata.ShardDataset(counts_set, output="dense", log_normalize=1e4, transform=halved, batch_size=100)
    expected = list(dataset)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    for ours, theirs in zip(loader, expected, strict=True):
        assert set(ours) == {"half", "cell_id", "dataset", "state"}
        assert torch.equal(ours["half"], theirs["half"])
        assert ours["state"] == theirs["state"]


@pytest.mark.parametrize("num_threads", [0, 1])
def test_a_transform_resumes_like_any_batch(counts_set, num_threads):
    dataset = scdata.ShardDataset(counts_set, output="packed", transform=halved, batch_size=50, num_threads=num_threads)
    batches = list(dataset)
    dataset.load_state_dict(batches[2]["state"])
    for ours, theirs in zip(dataset, batches[3:], strict=True):
        assert torch.equal(ours["half"], theirs["half"])


def test_what_a_transform_says_is_heard(counts_set):
    def broken(batch):
        raise RuntimeError("no such gene")

    with pytest.raises(RuntimeError, match="no such gene"):
        next(iter(scdata.ShardDataset(counts_set, transform=broken)))
    with pytest.raises(TypeError, match="transform gave list: return the batch"):
        next(iter(scdata.ShardDataset(counts_set, transform=lambda batch: [batch])))
    with pytest.raises(ValueError, match="transform = 3: a function"):
        scdata.ShardDataset(counts_set, transform=3)


def test_only_counts_are_normalized(counts_set, ranks_set):
    with pytest.raises(TokenizerError, match=r"log_normalize = 10000.0: the values of .* are no raw counts"):
        scdata.ShardDataset(ranks_set, log_normalize=1e4)
    with pytest.raises(ValueError, match="log_normalize = 0: what totals are scaled to"):
        scdata.ShardDataset(counts_set, log_normalize=0)
