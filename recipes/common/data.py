"""Splits of a set as padded batches of binned values, epoch after epoch."""

from collections.abc import Iterator
from typing import Any

import torch

from scdata import ScdataError, ShardDataset


def open_bins(path: str, split: str, tokenizer: str, **options: Any) -> ShardDataset:
    """A split as quantile bins: the set's own, or made of its counts by `tokenizer`; `options` are `ShardDataset`'s.

    Raises
    ------
    ValueError
        If the set has no such bins and no counts, or no such split.
    """
    try:
        own = ShardDataset(path)
    except ValueError as error:
        raise ValueError(f"{error}. A recipe needs a train split") from error
    if own.tokenizer.preset.value.kind == "quantile":
        chosen = own.tokenizer.name
    else:
        chosen = tokenizer
        try:
            made = ShardDataset(path, tokenizer=tokenizer).tokenizer
        except ScdataError as error:
            kind = own.tokenizer.preset.value.kind
            raise ValueError(
                f"{path} gives no bins that could be hidden ({own.tokenizer.name}: {kind}), nor does tokenizer = "
                f"{tokenizer!r} of the config: {error}"
            ) from error
        if made.preset.value.kind != "quantile":
            raise ValueError(
                f"tokenizer {tokenizer!r} gives {made.preset.value.kind}, not quantile bins: use 'scgpt+fit'"
            )
    try:
        return ShardDataset(path, split=split, tokenizer=chosen, **options)
    except ValueError as error:
        if "no split" in str(error):
            raise ValueError(f"{error}. Build the set with --split {split}=0.1") from error
        raise


def gene_tokens(dataset: ShardDataset) -> torch.Tensor:
    """bool (V,): which token ids are genes; the rest are special tokens."""
    is_gene = torch.zeros(dataset.vocab.n_tokens, dtype=torch.bool)
    is_gene[list(dataset.vocab.token_ids.values())] = True
    return is_gene


def endless(dataset: ShardDataset, state: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Batches without end, from where `state` stands; ``batch["state"]["epoch"]`` is the epoch of each."""
    epoch = 0
    if state is not None:
        dataset.load_state_dict(state)
        epoch = state["epoch"]
    while True:
        dataset.set_epoch(epoch)
        yield from dataset
        epoch += 1
