"""Puts files that the user has into the cache: originals, JSON made of them, or gene lists of a vocabulary without a url."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from scdata._config import nearest
from scdata._errors import AssetsError, TokenizerError
from scdata.tokens.preset import Preset, load_preset, preset_names
from scdata.tokens.published.asset_files import IDS, LIMIT, check_role, json_bytes, read_json, read_table, unzip
from scdata.tokens.published.assets import asset_of, files_of
from scdata.tokens.published.cache import cache_folder, keep, sha256_of
from scdata.tokens.published.gene_lists import HDF5, numbered, read_gene_list
from scdata.tokens.published.unpickle import unpickle_table
from scdata.tokens.tables import AssetTable

_ENDS = (".json.gz", ".json", ".pkl", ".pickle", ".tsv", ".gz", ".txt")


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
        True if that is the file whose sha256 the preset names; None if it names none.
    n_entries
        Names in it.
    """

    name: str
    source: Mapping[str, str]
    pinned: bool | None
    n_entries: int


def import_assets(name: str, paths: Sequence[Path]) -> list[Imported]:
    """Put files that the user has into the cache; all are read before the first is kept.

    Each is known by its sha256, else by its base name (``token_dictionary_gc104M.pkl``, ``token_dictionary.json.gz``); whatever
    is left, where the vocabulary has no url, is a gene list of it, one a species.

    Parameters
    ----------
    name
        Name or path of the preset.
    paths
        The files.

    Raises
    ------
    AssetsError
        If the preset needs no files, or a file is none of those it needs.
    TokenizerError
        If a file does not hold what it should.
    """
    preset = load_preset(name)
    roles = files_of(preset)
    if not roles:
        raise AssetsError(f"preset {name!r} needs no published files")
    hashes = {path: sha256_of(path) for path in paths}
    sources: dict[str, list[Path]] = {}
    for path in hashes:
        sources.setdefault(_target(name, preset, path, hashes[path]), []).append(path)
    made = []
    for target, own in sources.items():
        asset = asset_of(preset, target)
        if _is_list(preset, asset):
            table, data = _vocabulary(own, preset, target)
        elif len(own) > 1:
            raise AssetsError(f"{' and '.join(str(path) for path in own)}: both are {target}")
        else:
            table, data = _published(own[0], asset)
        check_role(table, roles[target], str(own[0]))
        source = {path.name: hashes[path] for path in own}
        pinned = None if asset.sha256 is None else list(source.values()) == [asset.sha256]
        made.append((Imported(target, source, pinned, len(table)), data))
    for imported, data in made:
        keep(cache_folder(), imported.name, data, imported.source)
    return [imported for imported, _ in made]


def _is_list(preset: Preset, asset: AssetTable) -> bool:
    return asset.url is None and files_of(preset)[asset.name] == IDS and not asset.name.endswith(".tsv")


def _target(name: str, preset: Preset, path: Path, sha256: str) -> str:
    """Which of the preset's files this is."""
    needed = [asset_of(preset, file) for file in files_of(preset)]
    for asset in needed:
        if asset.sha256 == sha256:
            return asset.name
    for other in preset_names():
        for asset in load_preset(other).assets:
            if asset.sha256 == sha256:
                raise AssetsError(f"{path}: this is {asset.name} of the preset {other!r}, not of {name!r}")
    for asset in needed:
        if _stem(path.name) in {_stem(asset.name), _stem(asset.url or asset.name)}:
            return asset.name
    lists = [asset.name for asset in needed if _is_list(preset, asset)]
    if lists:
        return lists[0]
    if len(needed) == 1:
        return needed[0].name
    known = [PurePosixPath(asset.url or asset.name).name for asset in needed]
    raise AssetsError(f"{path}: which file of {name!r} is this? {nearest(path.name, known)}; rename it so")


def _stem(name: str) -> str:
    base = PurePosixPath(name).name
    end = next((end for end in _ENDS if base.endswith(end)), "")
    return base[: len(base) - len(end)]


def _vocabulary(paths: Sequence[Path], preset: Preset, target: str) -> tuple[dict[str, Any], bytes]:
    lists = [read_gene_list(path) for path in paths]
    if len(lists) == 1 and isinstance(lists[0], dict):  # a vocabulary already
        ids = lists[0]
    else:
        ids = numbered([_in_order(genes) for genes in lists], preset.special)
    return ids, json_bytes(ids, target)


def _in_order(genes: list[str] | dict[str, int]) -> list[str]:
    return genes if isinstance(genes, list) else [gene for _, gene in sorted((i, gene) for gene, i in genes.items())]


def _published(path: Path, asset: AssetTable) -> tuple[dict[str, Any], bytes]:
    """The table in a file, and what is kept of it: the file itself where it has the form of the asset, else JSON."""
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
