"""Splits of a set as batches of one preset's tokens, epoch after epoch."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from scdata import ScdataError, ShardDataset

from .recipe import Batch, Recipe


def choose(path: str, styles: Sequence[type[Recipe]], preset: str, asked: bool) -> tuple[type[Recipe], str | None]:
    """Which recipe suits a set, and the tokenizer to open it with; None: the set's own.

    Parameters
    ----------
    path
        Folder or address of the set.
    styles
        Recipes, by the kinds of values that they learn from.
    preset
        A tokenizer's name. One that the set holds is used as it stands there; else it is made of the set's counts, by the
        published vocabulary where that is at hand, and over the set's own genes (``NAME+fit``) where not.
    asked
        False: a set that holds fitting tokens, other than counts, keeps them, whatever `preset` says.

    Raises
    ------
    ValueError
        If the set gives no tokens of the right kind.
    """
    kinds = {kind: style for style in reversed(styles) for kind in style.kinds}
    own = _open(path, "train").tokenizer
    held, label = own.preset.value.kind, Path(preset).name
    # of counts anything is made, so what they stand there as is no choice that somebody took
    if held in kinds and ((not asked and held != "counts") or own.name in (label, f"{label}+fit")):
        return kinds[held], None
    known = ", ".join(dict.fromkeys(name for style in styles for name in style.presets))
    try:
        name = preset
        try:
            made = _open(path, "train", tokenizer=name).tokenizer
        except ScdataError:
            if preset.endswith("+fit"):
                raise
            name = f"{preset}+fit"
            made = _open(path, "train", tokenizer=name).tokenizer
    except ScdataError as error:
        raise ValueError(
            f"{path} holds {held} of {own.name!r}, and preset {preset!r} cannot be made of them: {error}. This recipe learns "
            f"from {' or '.join(kinds)}: presets {known}"
        ) from error
    if made.preset.value.kind not in kinds:
        raise ValueError(
            f"preset {preset!r} gives {made.preset.value.kind}, and this recipe learns from {' or '.join(kinds)}: use {known}"
        )
    return kinds[made.preset.value.kind], name


def own_preset(preset: str, folder: Path) -> str:
    """A preset's name as it is; a file (``.toml``) by its whole path, in the recipe's `folder` if it is not as named."""
    name = preset.removesuffix("+fit")
    if not name.endswith(".toml"):
        return preset
    path = Path(name) if Path(name).is_file() else folder / Path(name).name
    return str(path.resolve()) + preset[len(name) :]


def _open(path: str, split: str, **options: Any) -> ShardDataset:
    try:
        return ShardDataset(path, split=split, **options)
    except ValueError as error:
        if "no split" in str(error):
            remedy = "A recipe needs a train split" if split == "train" else f"Build the set with --split {split}=0.1"
            raise ValueError(f"{error}. {remedy}") from error
        raise


def open_split(path: str, split: str, recipe: Recipe, tokenizer: Any, **options: Any) -> ShardDataset:
    """A split as the recipe wants it, with a tokenizer by name, as an object, or None, the set's own; `options` win.

    Raises
    ------
    ValueError
        If there is no such split, or no such column.
    """
    return _open(path, split, tokenizer=tokenizer, **{**recipe.loader(), **options})


def gene_tokens(dataset: ShardDataset) -> torch.Tensor:
    """bool (V,): which token ids are genes; the rest are special tokens."""
    is_gene = torch.zeros(dataset.vocab.n_tokens, dtype=torch.bool)
    is_gene[list(dataset.vocab.token_ids.values())] = True
    return is_gene


def gene_rows(dataset: ShardDataset, recipe: Recipe) -> dict[str, int]:
    """Row of each gene, by feature id, in the table of genes of the recipe's model: a model of dense rows has one for each of
    their columns, one of tokens for each token."""
    dense = {**recipe.loader(), **recipe.embed_options()}.get("output") == "dense"
    return {gene: i for i, gene in enumerate(dataset.dense_feature_ids)} if dense else dict(dataset.vocab.token_ids)


def endless(dataset: ShardDataset, state: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Batches without end, from where `state` stands; ``batch["state"]["epoch"]`` is the epoch of each."""
    epoch = 0
    if state is not None:
        dataset.load_state_dict(state)
        epoch = state["epoch"]
    while True:
        dataset.set_epoch(epoch)
        yield from dataset
        epoch += 1


def to_device(batch: Mapping[str, Any], device: torch.device) -> Batch:
    """The tensors of a batch on a device."""
    if device.type == "cpu":
        return batch
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
    }
