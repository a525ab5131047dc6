"""Published vocabularies and medians: other people's files, never shipped, looked for in a fixed order.

A folder that the user gives (``--assets DIR``) comes first, then the cache that ``scdata tokenizers fetch`` and ``import``
fill. Both are laid out as the presets name their files: ``scgpt/default_census_vocab.json`` and so on. Nothing is unpickled
here: what was published as a pickle stands there as JSON.
"""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scdata._errors import AssetsError, TokenizerError
from scdata.tokens.preset import Preset
from scdata.tokens.published.asset_files import ALIASES, AUX, IDS, MEDIANS, check_role, content_sha256, read_table
from scdata.tokens.published.cache import cache_folder, origin_of, sha256_of
from scdata.tokens.tables import AssetTable

FIT = "fit"  # instead of a folder: the source's own genes


def files_of(preset: Preset) -> dict[str, str]:
    """The files that a preset names, and what each is for."""
    aux = preset.aux.ids if preset.aux is not None else None
    names = (preset.vocab.genes, preset.vocab.aliases, preset.value.medians, aux)
    return {name: role for name, role in zip(names, (IDS, ALIASES, MEDIANS, AUX), strict=True) if name is not None}


def asset_of(preset: Preset, name: str) -> AssetTable:
    """What ``[[assets]]`` says of a file; where it says nothing, the file has no url and no pin."""
    return next((asset for asset in preset.assets if asset.name == name), AssetTable(name=name))


@dataclass(frozen=True)
class AssetState:
    """A file of a preset, and whether a folder has it.

    Parameters
    ----------
    asset
        What the preset says of it.
    role
        What it is for.
    there
        True if it is.
    pinned
        True if it is the published file, or another form of the same content; None if the preset names neither sha256, or
        it is not there.
    """

    asset: AssetTable
    role: str
    there: bool
    pinned: bool | None


def states_of(preset: Preset, folder: Path | None = None) -> list[AssetState]:
    """The state of every file that a preset names, in a folder or the cache."""
    where, states = folder or cache_folder(), []
    for name, role in files_of(preset).items():
        asset, there = asset_of(preset, name), (where / name).is_file()
        states.append(AssetState(asset, role, there, _is_pinned(where, asset) if there else None))
    return states


def _is_pinned(folder: Path, asset: AssetTable) -> bool | None:
    found = sha256_of(folder / asset.name)
    sources = [found]
    if folder == cache_folder() and (origin := origin_of(folder, asset.name)) is not None:
        if origin.kept != found:  # altered since: it will not be read
            return False
        sources = list(origin.source.values())
    if is_pinned(asset, sources, None) is not False:
        return is_pinned(asset, sources, None)
    try:
        table = read_table((folder / asset.name).read_bytes(), asset.name, asset.name)
    except TokenizerError:
        return False
    return is_pinned(asset, sources, content_sha256(table))


def is_pinned(asset: AssetTable, sources: Sequence[str], content: str | None) -> bool | None:
    """Whether a file is the published one, by the sha256 of what it was made from, else by that of its content."""
    if asset.sha256 is None and asset.content_sha256 is None:
        return None
    return list(sources) == [asset.sha256] or (content is not None and content == asset.content_sha256)


class AssetFolder:
    """Reads the files of a preset and remembers the sha256 of each, for the manifest.

    Parameters
    ----------
    folder
        A folder that the user gave, or the cache.
    name, preset
        The preset, and what it is called.

    Raises
    ------
    AssetsError
        If the folder is not there.
    """

    def __init__(self, folder: str | Path, name: str, preset: Preset) -> None:
        self.folder = Path(folder)
        self.name = name
        self.preset = preset
        self.sha256: dict[str, str] = {}
        if not self.folder.is_dir():
            meant = (
                "did you mean --assets fit? Otherwise " if str(folder).casefold() == FIT and preset.published else ""
            )
            raise AssetsError(f"assets folder {folder} does not exist; {meant}{remedy(name, preset)}")

    def read(self, file: str, role: str) -> dict[str, Any]:
        """The table in a file, checked for its role.

        Raises
        ------
        AssetsError
            If the file is not there, or is not the one that was put into the cache.
        TokenizerError
            If it does not hold what it should.
        """
        path = self.folder / file
        if not path.is_file():
            raise AssetsError(
                f"{file} is not in the assets folder {self.folder}; {remedy(self.name, self.preset, [file])}"
            )
        data = path.read_bytes()
        self.sha256[file] = hashlib.sha256(data).hexdigest()
        if self.folder == cache_folder():
            origin = origin_of(self.folder, file)
            if origin is not None and origin.kept != self.sha256[file]:
                raise AssetsError(
                    f"{path} has changed since it was kept (sha256 {self.sha256[file]}, then {origin.kept}): remove it and "
                    f"{commands(self.name, self.preset, [file])} again"
                )
        table = read_table(data, file, str(path))
        check_role(table, role, str(path))
        return table


def open_assets(name: str, preset: Preset, assets: str | None) -> AssetFolder:
    """Where the files of a preset are read: the folder given, or the cache.

    Raises
    ------
    AssetsError
        If no folder is given and the cache lacks one of the files: with the command that gets it.
    """
    if assets is not None:
        return AssetFolder(assets, name, preset)
    missing = [state.asset.name for state in states_of(preset) if not state.there]
    if missing:
        what = "has a published vocabulary" if preset.published else "needs files"
        raise AssetsError(
            f"preset {Path(name).name!r} {what}, which {'is' if preset.published else 'are'} not part of scdata, and the cache "
            f"lacks {', '.join(missing)}: {remedy(name, preset, missing)}"
        )
    return AssetFolder(cache_folder(), name, preset)


def said_of_assets(name: str, preset: Preset, assets: str | None) -> str:
    """A line on which files a tokenizer was made from, for those who build with it; empty where it needs none."""
    if assets == FIT and preset.published:
        return f"the source's own genes: token ids are not the published ones of {name}"
    if assets == FIT or not files_of(preset):
        return ""
    states = states_of(preset, None if assets is None else Path(assets))
    other = [state.asset.name for state in states if state.pinned is False]
    doubt = f"; not as published: {', '.join(other)}" if other else ""
    where = f"the cache {cache_folder()}" if assets is None else f"the folder {assets}"
    return f"published files of {name}: from {where}{doubt}"


def remedy(name: str, preset: Preset, missing: Sequence[str] | None = None) -> str:
    """What to do when files of a preset are missing; None: all of them."""
    fit = "use the source's own genes (--assets fit, assets='fit'), whose ids are not the published ones"
    return (
        f"{commands(name, preset, missing)}, or give a folder that holds them (--assets DIR, assets=DIR; `scdata tokenizers "
        f"show {shlex.quote(name)}` names them)" + (f", or {fit}" if preset.published else "")
    )


def commands(name: str, preset: Preset, missing: Sequence[str] | None = None) -> str:
    """The commands that put files of a preset into the cache: fetch for those with a url, import for the others."""
    files = list(files_of(preset) if missing is None else missing)
    own = [file for file in files if asset_of(preset, file).url is None]
    fetch = [f"`scdata tokenizers fetch {shlex.quote(name)}`"] if len(own) < len(files) else []
    bring = (
        [f"`{import_command(name)}` with your copy of {', '.join(own)} (which has no public address)"] if own else []
    )
    return "run " + " and ".join((*fetch, *bring))


def import_command(name: str) -> str:
    """How files that a user has are handed over."""
    return f"scdata tokenizers import {shlex.quote(name)} FILE..."
