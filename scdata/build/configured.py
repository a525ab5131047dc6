"""The tokenizer that a build asks for, and what it asks of the sources."""

import dataclasses
from collections.abc import Sequence

from scdata._config import nearest
from scdata._errors import BuildError, LayerNotFoundError
from scdata.build.config import BuildConfig
from scdata.build.obs_columns import ObsColumn
from scdata.normalize.moments import check_size
from scdata.tokens.loading import load_tokenizer
from scdata.tokens.tokenizer import Tokenizer


def make_tokenizer(config: BuildConfig) -> Tokenizer:
    """The tokenizer that a build asks for.

    Raises
    ------
    ValueError
        If the preset cannot have the genes, or be stored as, what the config asks for.
    """
    found = load_tokenizer(config.tokenizer, config.assets)
    preset = found.preset
    genes = dataclasses.replace(preset.genes, **config.gene_choice())
    if config.batch_key is not None:
        if genes.choice != "hvg":
            raise ValueError("batch_key is for the choice of variable genes: add genes hvg:N")
        genes = dataclasses.replace(genes, batch_key=config.batch_key)
    return dataclasses.replace(
        found, preset=dataclasses.replace(preset, genes=genes, stores=config.store or preset.stores)
    )


def check_choice(tokenizer: Tokenizer, n_genes: int) -> None:
    """Refuse to choose more variable genes than there are."""
    genes = tokenizer.preset.genes
    if genes.choice == "hvg" and genes.n > n_genes:
        raise BuildError(
            f"{genes.n:,} variable genes were asked for, but the sources have {n_genes:,} of the vocabulary: lower hvg:N"
        )


def check_columns(tokenizer: Tokenizer, columns: Sequence[ObsColumn], n_genes: int) -> None:
    """Refuse a denominator of strings, batches that are no strings, and too many of them."""
    strings = {column.name: column.categories for column in columns if column.categories is not None}
    key, total = tokenizer.preset.genes.batch_key, tokenizer.preset.value.total
    if total in strings:
        raise LayerNotFoundError(
            f"{tokenizer.name!r} divides by the obs column {total!r}, which holds strings, not numbers"
        )
    if tokenizer.preset.genes.choice != "hvg" or key is None:
        return
    if key in strings:
        check_size(len(strings[key]), n_genes, key)
    else:
        raise LayerNotFoundError(
            f"batch key {key!r}: no obs column of strings is called so: {nearest(key, list(strings))}"
        )


def columns_of(tokenizer: Tokenizer) -> tuple[str, ...]:
    """obs columns that a tokenizer uses: its denominator, its batches, its auxiliary ids."""
    preset = tokenizer.preset
    total = () if preset.value.total in ("source", "vocab") else (preset.value.total,)
    batch = (preset.genes.batch_key,) if preset.genes.choice == "hvg" and preset.genes.batch_key else ()
    aux = (preset.aux.column,) if preset.aux is not None and tokenizer.aux is not None else ()
    return tuple(dict.fromkeys((*total, *batch, *aux)))
