"""`load_tokenizer`: a preset by name, with its published files or without."""

from pathlib import Path
from typing import Any

import numpy as np

from scdata._errors import TokenizerError
from scdata.normalize.library_size import F64
from scdata.tokens.fitted import Fitted
from scdata.tokens.preset import Preset, load_preset
from scdata.tokens.published.asset_files import ALIASES, AUX, IDS, MEDIANS
from scdata.tokens.published.assets import FIT, files_of, open_assets
from scdata.tokens.tokenizer import Tokenizer
from scdata.tokens.vocab import Vocab


def load_tokenizer(name: str, assets: str | None = None) -> Tokenizer:
    """A tokenizer by the name of its preset.

    Parameters
    ----------
    name
        A preset that comes with scdata (``scdata tokenizers list``), or the path of one of your own (``.toml``).
    assets
        Folder with the published vocabulary, laid out as the preset names its files; None: the cache that ``scdata
        tokenizers fetch NAME`` fills; ``"fit"`` to use the source's own genes instead (the name then ends in ``+fit``).
        Presets that need no files do not look at it.

    Returns
    -------
    Tokenizer

    Raises
    ------
    PresetError
        If the preset does not exist or is wrong.
    AssetsError
        If it needs published files that are neither given nor in the cache: with the command that gets them.
    TokenizerError
        If a file does not hold what it should.
    """
    if name.endswith("+fit") and assets is None:
        name, assets = name.removesuffix("+fit"), "fit"
    preset = load_preset(name)
    # a file keeps its suffix, so that a set says whether its preset came with scdata
    label = Path(name).name
    given = Fitted(edges=_given_edges(preset))
    if assets == FIT or not files_of(preset):
        return Tokenizer(f"{label}+fit" if preset.published else label, preset, fitted=given)
    folder = open_assets(name, preset, assets)
    vocab = aliases = aux = None
    if preset.vocab.genes is not None:
        vocab = Vocab.of_genes(folder.read(preset.vocab.genes, IDS), preset.special)
    if preset.vocab.aliases is not None:
        aliases = folder.read(preset.vocab.aliases, ALIASES)
    if preset.value.medians is not None and vocab is not None:
        table = folder.read(preset.value.medians, MEDIANS)
        given = Fitted(medians=_medians(table, vocab, preset.value.medians))
    if preset.aux is not None:
        aux = folder.read(preset.aux.ids, AUX)
        if preset.aux.unknown not in aux:
            raise TokenizerError(f"{preset.aux.ids}: no id for {preset.aux.unknown!r}, which stands for unknown names")
    return Tokenizer(label, preset, vocab, given, aliases, aux, folder.sha256)


def _given_edges(preset: Preset) -> F64 | None:
    edges = preset.value.edges
    return np.array([edges], np.float64) if edges else None


def _medians(table: dict[str, Any], vocab: Vocab, where: str) -> F64:
    missing = [gene for gene in vocab.feature_ids if gene not in table]
    if missing:
        raise TokenizerError(f"{where}: no median for {len(missing)} genes, such as {missing[0]!r}")
    for gene in vocab.feature_ids:
        number = table[gene]
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < np.inf:
            raise TokenizerError(f"{where}: the median of {gene} is {number!r}, expected a number above 0")
    return np.array([table[gene] for gene in vocab.feature_ids], np.float64)
