"""Presets: what a tokenizer does, as a strict TOML file."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scdata._config import from_table, nearest
from scdata._errors import PresetError
from scdata.resources import resource
from scdata.tokens.tables import (
    AssetTable,
    AuxTable,
    DepthKeys,
    GenesTable,
    MaskTable,
    VocabTable,
    one_of,
)
from scdata.tokens.value_table import ValueTable

_MOST_TOKENS = 1 << 30  # of a cell
TARGET, SOURCE = "<T>", "<S>"  # special tokens whose values are depths


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
    depth: DepthKeys = field(default_factory=DepthKeys)
    mask: MaskTable | None = None
    aux: AuxTable | None = None
    assets: tuple[AssetTable, ...] = ()

    def __post_init__(self) -> None:
        one_of("stores", self.stores, ("counts", "tokens"))
        for token in (*self.genes.prepend, *self.genes.append):
            one_of("genes.prepend / genes.append", token, self.vocab.special)
        if self.context_length is not None and self.context_length > _MOST_TOKENS:
            raise ValueError(
                f"context_length = {self.context_length}: at most {_MOST_TOKENS}; leave it out for no limit"
            )
        if self.context_length is not None and self.context_length <= self.n_around:
            raise ValueError(
                f"context_length = {self.context_length}: must be above {self.n_around}, the special tokens"
            )
        self._check_files()
        self._check_ranks()
        self._check_depth()
        if self.genes.fill != "none" and self.context_length is None:
            raise ValueError('genes.fill = "unexpressed": up to which context_length?')
        if self.mask is not None and self.value.mask is None:
            raise ValueError("[mask] hides values: what stands in their place? Add value.mask")
        if self.stores == "tokens" and (what := self.random):
            raise ValueError(f'stores = "tokens" with {what}: that is made at stream time; store counts')

    def _check_files(self) -> None:
        for name, file in (("value.medians", self.value.medians), ("vocab.aliases", self.vocab.aliases)):
            if file is not None and not self.published:
                raise ValueError(f"{name} = {file!r}: it goes with a published vocabulary, vocab.genes")
        names = [asset.name for asset in self.assets]
        used = {self.vocab.genes, self.vocab.aliases, self.value.medians, self.aux and self.aux.ids}
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"assets: {name} stands there twice")
            if name not in used:
                raise ValueError(f"assets: {name} is used by no other table")

    def _check_ranks(self) -> None:
        genes, kind = self.genes, self.value.kind
        if genes.cut == "top" and kind != "rank":
            raise ValueError(f'genes.cut = "top" with value.kind = "{kind}": only kind = "rank" has a ranking')
        if kind == "rank" and (genes.with_zeros or genes.fill != "none" or genes.order != "stored" or self.mask):
            raise ValueError('value.kind = "rank": zeros, fill, another order, and a mask of values are not for ranks')

    def _check_depth(self) -> None:
        depth, special = self.depth, self.vocab.special
        if depth.tokens and depth.kind == "stratum" and self.value.kind != "depth_edges":
            raise ValueError('depth.kind = "stratum": only value.kind = "depth_edges" has strata')
        if depth.kind == "log10":
            for name, token in (("target", TARGET), ("source", SOURCE)):
                if name in depth.tokens and token not in special:
                    raise ValueError(f'depth.tokens has "{name}": vocab.special needs {token!r} for it')
            if depth.tokens and self.value.kind != "lognorm":
                raise ValueError('depth.tokens as log10 are float values: they need value.kind = "lognorm"')
        if depth.thin is not None and self.value.scale is not None:
            raise ValueError("depth.thin with value.scale: a scaled cell hides that it was thinned")
        if depth.thin is not None and self.value.total != "vocab":
            raise ValueError('depth.thin: a thinned cell has a total of its own; it needs value.total = "vocab"')

    @property
    def random(self) -> str | None:
        """What is drawn anew in every epoch, or depends on the dataset of a cell, and so cannot be stored as tokens."""
        for name, wrong in (("cut", ("random", "weighted")), ("order", ("random",)), ("fill", ("unexpressed",))):
            if getattr(self.genes, name) in wrong:
                return f'genes.{name} = "{getattr(self.genes, name)}"'
        if self.genes.with_zeros:
            return "zeros"
        if self.value.kind == "quantile" and self.value.ties == "random":
            return 'value.ties = "random"'
        return "depth.thin" if self.depth.thin is not None else None

    @property
    def n_around(self) -> int:
        """Special tokens of every cell."""
        return len(self.genes.prepend) + len(self.genes.append) + len(self.depth.tokens)

    @property
    def special(self) -> tuple[str, ...]:
        """All special tokens: those of ``[vocab]``, then one for each stratum of read depth where the preset has them."""
        if not self.depth.tokens or self.depth.kind != "stratum":
            return self.vocab.special
        return (*self.vocab.special, *(f"<depth:{i}>" for i in range(self.value.strata)))

    @property
    def published(self) -> bool:
        """True if the preset names a published vocabulary."""
        return self.vocab.genes is not None

    @property
    def float_values(self) -> bool:
        """True if values are float32."""
        return self.value.kind == "lognorm" or self.value.scale is not None


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
    """Read a preset by name or path, with what it takes over from the one it extends.

    Raises
    ------
    PresetError
        If the file is not TOML, or has an unknown, missing or wrong key.
    """
    path = preset_path(name)
    return preset_from_table(_resolved(path), path.name)


def _resolved(path: Path, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """The table of a file over that of the preset it extends: tables are joined key by key, the own keys win."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PresetError(f"{path.name}: not a TOML file: {error}") from error
    base = table.pop("extends", None)
    if base is None:
        return table
    if not isinstance(base, str) or base not in preset_names():
        raise PresetError(f"{path.name}: extends = {base!r}: {nearest(str(base), preset_names())}")
    if base in seen:
        raise PresetError(f"{path.name}: extends = {base!r}, which extends it in turn")
    return _joined(_resolved(preset_path(base), (*seen, base)), table)


def _joined(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        out[key] = _joined(base[key], value) if both else value
    return out


def preset_from_table(table: Any, where: str) -> Preset:
    """A preset from a parsed table; `where` names the file in messages."""
    try:
        return from_table(Preset, table, where)
    except ValueError as error:
        raise PresetError(str(error)) from error
