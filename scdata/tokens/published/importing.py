"""Puts files that the user has into the cache: originals, JSON made of them, or gene lists of a vocabulary without a url."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scdata._errors import AssetsError, TokenizerError
from scdata.tokens.preset import Preset, load_preset
from scdata.tokens.published.asset_files import (
    LIMIT,
    check_role,
    content_sha256,
    json_bytes,
    read_json,
    read_table,
    unzip,
)
from scdata.tokens.published.assets import asset_of, files_of, is_pinned
from scdata.tokens.published.cache import cache_folder, keep, origin_of, sha256_of
from scdata.tokens.published.gene_lists import HDF5, is_gene_id, numbered, read_gene_list
from scdata.tokens.published.recognize import is_list, recognize, whose_content
from scdata.tokens.published.unpickle import unpickle_table
from scdata.tokens.tables import AssetTable


@dataclass(frozen=True)
class Imported:
    """A file that now stands in the cache.

    Parameters
    ----------
    name
        Its name there.
    source
        sha256 of each file it was made from, by base name.
    pinned
        True if that is the published file, or another form of its content; None if the preset names neither sha256.
    n_entries
        Names in it.
    there
        True if the cache had that content, and keeps the file it has.
    """

    name: str
    source: Mapping[str, str]
    pinned: bool | None
    n_entries: int
    there: bool


def import_assets(
    name: str, paths: Sequence[Path], *, force: bool = False, note: Callable[[str], Any] = lambda text: None
) -> list[Imported]:
    """Put files that the user has into the cache; all are read before the first is kept.

    Parameters
    ----------
    name
        Name or path of the preset.
    paths
        The files, known as `recognize` says.
    force
        Also files that are not the published ones, and in place of others.
    note
        Takes a line on each file that is skipped, or is taken in spite of a doubt.

    Raises
    ------
    AssetsError
        If the preset needs no files, or none of these; without `force`, if one is neither the published file nor another form
        of its content, or would replace a file of other content.
    TokenizerError
        If a file does not hold what it should.
    """
    preset = load_preset(name)
    roles = files_of(preset)
    if not roles:
        raise AssetsError(f"preset {name!r} needs no published files")
    hashes = {path: sha256_of(path) for path in paths}
    made, doubts = [], []
    for target, own in recognize(name, preset, hashes, note).items():
        asset = asset_of(preset, target)
        if is_list(preset, asset):
            table, data = _vocabulary(own, preset, target, note)
        elif len(own) > 1:
            raise AssetsError(f"{' and '.join(str(path) for path in own)}: both are {target}")
        else:
            table, data = _published(own[0], asset)
        check_role(table, roles[target], str(own[0]))
        source, content = {path.name: hashes[path] for path in own}, content_sha256(table)
        pinned = is_pinned(asset, list(source.values()), content)
        if pinned is False:
            doubts.append(_another(own[0], asset, hashes[own[0]], content))
        there, said = _compared(target, content)
        if said:
            which = "the published one" if pinned else "another"
            doubts.append(f"{said}; {which} comes from {', '.join(source)}, {len(table):,} entries")
        made.append((Imported(target, source, pinned, len(table), there and not force), data))
    if doubts and not force:
        raise AssetsError(f"{'; '.join(doubts)}. Nothing was imported; --force does it all the same")
    for text in doubts:
        note(f"warning: {text}")
    for imported, data in made:
        if not imported.there:
            keep(cache_folder(), imported.name, data, imported.source)
    return [imported for imported, _ in made]


def _another(path: Path, asset: AssetTable, sha256: str, content: str) -> str:
    """That a file is not the one of the preset, and which it is if that is known."""
    if asset.content_sha256 is None:
        return f"{path} is not {asset.name} as published (sha256 {sha256}, the preset names {asset.sha256})"
    other = whose_content(content)
    what = f"it is {other}" if other else f"content_sha256 {content}, the preset names {asset.content_sha256}"
    return f"{path} is not {asset.name} as published ({what})"


def _compared(target: str, content: str) -> tuple[bool, str]:
    """Whether the cache has a file of this content, and what it has instead; a file that nobody can read counts for nothing."""
    path = cache_folder() / target
    if not path.is_file():
        return False, ""
    origin = origin_of(cache_folder(), target)
    if origin is not None and origin.kept != sha256_of(path):
        return False, ""
    try:
        table = read_table(path.read_bytes(), target, str(path))
    except TokenizerError:
        return False, ""
    if content_sha256(table) == content:
        return True, ""
    where = ", ".join(origin.source) if origin is not None else "a copy by hand"
    return False, f"the cache holds {target}, {len(table):,} entries from {where}"


def _vocabulary(
    paths: Sequence[Path], preset: Preset, target: str, note: Callable[[str], Any]
) -> tuple[dict[str, Any], bytes]:
    lists = [read_gene_list(path) for path in paths]
    if preset.vocab.ids == "Ensembl ids":
        for path, genes in zip(paths, lists, strict=True):
            other = [gene for gene in genes if gene not in preset.vocab.special and not is_gene_id(gene)]
            if len(other) > len(genes) / 2:
                note(
                    f"warning: {path}: {len(other):,} of {len(genes):,} names do not look like {preset.vocab.ids}, such as "
                    f"{other[0]!r}: genes of cells that have {preset.vocab.ids} would find no token"
                )
    if len(lists) == 1 and isinstance(lists[0], dict):  # a vocabulary already
        ids = lists[0]
    else:
        ids = numbered([_in_order(genes) for genes in lists], preset.special)
    return ids, json_bytes(ids, target)


def _in_order(genes: list[str] | dict[str, int]) -> list[str]:
    return genes if isinstance(genes, list) else [gene for _, gene in sorted((i, gene) for gene, i in genes.items())]


def _published(path: Path, asset: AssetTable) -> tuple[dict[str, Any], bytes]:
    """The table in a file, and what is kept of it: the file itself where it has the form of the asset, else JSON."""
    if not path.is_file():
        raise TokenizerError(f"{path}: not a regular file")
    if path.stat().st_size > LIMIT:
        raise TokenizerError(f"{path}: over {LIMIT >> 20} MB, so it is no vocabulary")
    data, where = path.read_bytes(), str(path)
    if data.startswith(HDF5):
        raise TokenizerError(f"{path}: HDF5, expected {asset.name} or its original")
    if asset.name.endswith(".tsv"):
        return read_table(data, asset.name, where), data
    if data.startswith(b"\x80"):
        table = unpickle_table(data, where)
        return table, json_bytes(table, asset.name)
    packed = data.startswith(b"\x1f\x8b")
    found = read_json(unzip(data, where) if packed else data, where)
    if not isinstance(found, dict):
        raise TokenizerError(f"{where}: expected a JSON object, found {type(found).__name__}")
    return found, data if packed == asset.name.endswith(".gz") else json_bytes(found, asset.name)
