"""Presets: what a tokenizer does, as a strict TOML file."""

import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scdata._config import from_table, nearest
from scdata._errors import PresetError
from scdata.resources import resource

KINDS = ("counts", "lognorm", "quantile", "rank")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} = {value!r}: {nearest(value, known)}")


@dataclass(frozen=True, kw_only=True)
class VocabTable:
    """``[vocab]``: the genes and special tokens that have ids.

    Parameters
    ----------
    genes
        File of the published vocabulary inside a folder of assets; None: the source's own genes.
    ids
        What the published vocabulary calls genes by, for messages.
    species
        Prefix of the Ensembl gene ids of the species it is for (``ENSG``: human); None: any. Genes of another species, which
        may have the same symbols, are refused.
    aliases
        File with other names of its genes.
    special
        Special tokens. Those that the file does not hold follow its genes; a vocabulary of the source's own genes begins
        with them.
    pad, mask
        Which of them pads a batch, and which hides a token.
    """

    genes: str | None = None
    ids: str = "ids"
    species: str | None = None
    aliases: str | None = None
    special: tuple[str, ...] = ()
    pad: str | None = None
    mask: str | None = None

    def __post_init__(self) -> None:
        if len(set(self.special)) != len(self.special):
            raise ValueError(f"special = {list(self.special)}: a token stands there twice")
        for name, token in (("pad", self.pad), ("mask", self.mask)):
            if token is not None:
                _one_of(name, token, self.special)


@dataclass(frozen=True, kw_only=True)
class GenesTable:
    """``[genes]``: which genes of a cell become tokens, and what stands around them.

    Parameters
    ----------
    choice
        ``"expressed"``: genes with a count.
    cut
        Which genes stay of a cell with more than the context holds: the ``first``, a ``random`` subset (new in every
        epoch, at stream time only), or the ``top`` ones of a ranking.
    prepend, append
        Special tokens before and after the genes.
    """

    choice: str = "expressed"
    cut: str = "first"
    prepend: tuple[str, ...] = ()
    append: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("choice", self.choice, ("expressed",))
        _one_of("cut", self.cut, ("first", "random", "top"))


@dataclass(frozen=True, kw_only=True)
class ValueTable:
    """``[value]``: the number beside each gene.

    Parameters
    ----------
    kind
        ``counts`` (raw), ``lognorm`` (ln(1 + x/n·target_sum), float32), ``quantile`` (per-cell bins), ``rank`` (no number:
        the order of the tokens says it).
    total
        Denominator n: ``source`` (all genes of the source), ``vocab`` (genes of the vocabulary), or the name of an obs
        column that holds it.
    target_sum
        What totals are scaled to.
    medians
        rank: file of per-gene medians that values are divided by.
    n_bins
        quantile: number of bins, zero included.
    ties
        quantile: ``upper`` or ``random`` bin where a value owns several.
    pad, special
        Value at padding and at special tokens.
    """

    kind: str
    total: str = "source"
    target_sum: float = 1e4
    medians: str | None = None
    n_bins: int = 51
    ties: str = "upper"
    pad: int = 0
    special: int = 0

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, KINDS)
        _one_of("ties", self.ties, ("upper", "random"))
        if not 3 <= self.n_bins <= 32767:
            raise ValueError(f"n_bins = {self.n_bins}: at least 3 (zero and two more), at most 32767")
        if not (self.target_sum > 0 and math.isfinite(self.target_sum)):
            raise ValueError(f"target_sum = {self.target_sum}: must be above 0 and finite")
        if self.medians is not None and self.kind != "rank":
            raise ValueError(f'medians with kind = "{self.kind}": only kind = "rank" divides by medians')


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A whole preset file.

    Parameters
    ----------
    description
        One line for ``scdata tokenizers list``.
    stores
        What shards hold: ``counts`` (values are made at stream time) or ``tokens`` (made once, at build time).
    context_length
        Most tokens of a cell, special ones included; None: no limit.
    """

    description: str
    stores: str
    value: ValueTable
    context_length: int | None = None
    vocab: VocabTable = field(default_factory=VocabTable)
    genes: GenesTable = field(default_factory=GenesTable)

    def __post_init__(self) -> None:
        _one_of("stores", self.stores, ("counts", "tokens"))
        for token in (*self.genes.prepend, *self.genes.append):
            _one_of("genes.prepend / genes.append", token, self.vocab.special)
        around = len(self.genes.prepend) + len(self.genes.append)
        if self.context_length is not None and self.context_length <= around:
            raise ValueError(f"context_length = {self.context_length}: must be above {around}, the special tokens")
        if self.genes.cut == "top" and self.value.kind != "rank":
            raise ValueError(
                f'genes.cut = "top" with value.kind = "{self.value.kind}": only kind = "rank" has a ranking'
            )
        if self.stores == "tokens" and self.genes.cut == "random":
            raise ValueError('stores = "tokens" with cut = "random": a random cut is made at stream time; store counts')
        if self.stores == "tokens" and self.value.kind == "quantile" and self.value.ties == "random":
            raise ValueError(
                'stores = "tokens" with ties = "random": random ties are drawn at stream time; store counts'
            )

    @property
    def published(self) -> bool:
        """True if the preset names a published vocabulary."""
        return self.vocab.genes is not None

    @property
    def needs_medians(self) -> bool:
        """True if tokens depend on per-gene medians, from a file or from the corpus."""
        return self.value.kind == "rank"


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in resource("tokenizers/presets").glob("*.toml"))


def preset_path(name: str) -> Path:
    """The file of a preset: a name that comes with the package, or a path to a TOML file.

    Raises
    ------
    PresetError
        If there is no such preset.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise PresetError(f"preset file {name} does not exist")
        return path
    if name not in preset_names():
        raise PresetError(f"unknown preset {name!r}: {nearest(name, preset_names())}, or the path of a .toml file")
    return resource("tokenizers/presets") / f"{name}.toml"


def load_preset(name: str) -> Preset:
    """Read a preset by name or path.

    Raises
    ------
    PresetError
        If the file is not TOML, or has an unknown, missing or wrong key.
    """
    path = preset_path(name)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PresetError(f"{path.name}: not a TOML file: {error}") from error
    return preset_from_table(table, path.name)


def preset_from_table(table: Any, where: str) -> Preset:
    """A preset from a parsed table; `where` names the file in messages."""
    try:
        return from_table(Preset, table, where)
    except ValueError as error:
        raise PresetError(str(error)) from error
