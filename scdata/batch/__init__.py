"""Batch: cells as padded, packed or dense tensors. `ShardDataset` is in `scdata.batch.dataset`, which needs torch."""
