"""The masked view of ``[mask]``: some values hidden, from the same draw as the whole view."""

import numpy as np

from scdata._blocks import I32, Array
from scdata._splitmix import U64, splitmix64
from scdata.tokens.preset import Preset
from scdata.tokens.sequence import Draws, Ragged
from scdata.tokens.tokenizer import Tokenizer


def hidden_view(tokenizer: Tokenizer, ragged: Ragged, draws: Draws) -> tuple[Array, Array]:
    """Which tokens of C cells are hidden, and the values with ``[value] mask`` in their place.

    Each gene is hidden with the chance of ``[mask] fraction``, by a key of the cell and the gene alone; special tokens, and
    genes that were not measured, never are.

    Returns
    -------
    hidden : bool (T,)
    masked_values : (T,)
    """
    preset = tokenizer.preset
    assert ragged.values is not None  # presets refuse a mask of ranks
    hidden = _hides(preset, draws.keys("mask", ragged.indptr, ragged.token_ids))
    special = np.zeros(tokenizer.genes().n_tokens, bool)
    special[list(tokenizer.genes().specials.values())] = True
    hidden &= ~special[ragged.token_ids]
    if preset.value.missing is not None:
        hidden &= ragged.values != preset.value.missing
    return hidden, _masked(preset, ragged.values, hidden)


def hidden_columns(
    preset: Preset, values: Array, tokens: I32, unmeasured: Array | None, draws: Draws
) -> tuple[Array, Array]:
    """`hidden_view` of a dense batch: masked values and which are hidden, (B, G) each, columns of genes `tokens`."""
    with np.errstate(over="ignore"):
        keys = splitmix64(draws.cell_keys("mask")[:, None] + tokens.astype(np.uint64))
    hidden = _hides(preset, keys)
    if unmeasured is not None:
        hidden &= ~unmeasured
    return _masked(preset, values, hidden), hidden


def _hides(preset: Preset, keys: U64) -> Array:
    assert preset.mask is not None  # the maker asks
    return keys < np.uint64(int(preset.mask.fraction * 2.0**64))


def _masked(preset: Preset, values: Array, hidden: Array) -> Array:
    assert preset.value.mask is not None  # presets with [mask] have it
    return np.where(hidden, np.asarray(preset.value.mask, values.dtype), values)
