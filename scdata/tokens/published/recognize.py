"""Which of a preset's files each file of the user is: by its sha256, else by its name."""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from scdata._errors import AssetsError
from scdata.tokens.preset import Preset, load_preset, preset_names
from scdata.tokens.published.asset_files import IDS
from scdata.tokens.published.assets import asset_of, files_of
from scdata.tokens.tables import AssetTable

_ENDS = (".json.gz", ".json", ".pkl", ".pickle", ".tsv", ".gz", ".txt")


def recognize(
    name: str, preset: Preset, hashes: Mapping[Path, str], note: Callable[[str], Any]
) -> dict[str, list[Path]]:
    """The user's files, by the file of the preset that they are.

    One without a known sha256 or name is a gene list where the vocabulary has no url, else the file of a preset that needs only
    one. What is left is skipped.

    Parameters
    ----------
    name, preset
        The preset, and what it is called.
    hashes
        sha256 of each file.
    note
        Takes a line on each file that is skipped.

    Raises
    ------
    AssetsError
        If all are skipped.
    """
    needed = [asset_of(preset, file) for file in files_of(preset)]
    found: dict[str, list[Path]] = {}
    rest, skipped = [], []
    for path, sha256 in hashes.items():
        own = _by_sha256(needed, sha256)
        if own is None and (other := _elsewhere(sha256)) is not None:
            skipped.append(f"{path}: this is {other}, not of {name!r}")
        elif target := own or _by_name(needed, path):
            found.setdefault(target, []).append(path)
        else:
            rest.append(path)
    lists = [asset.name for asset in needed if is_list(preset, asset)]
    one = lists[0] if lists else needed[0].name if len(needed) == 1 and not found else None
    for path in rest:
        if one is not None:
            found.setdefault(one, []).append(path)
        else:
            known = ", ".join(_names(asset) for asset in needed)
            skipped.append(f"{path}: its name is none of those that {name!r} needs: {known}")
    if not found:
        raise AssetsError("; ".join(skipped))
    for text in skipped:
        note(f"skipped {text}")
    return {file: found[file] for file in files_of(preset) if file in found}


def is_list(preset: Preset, asset: AssetTable) -> bool:
    """Whether a file is a vocabulary that gene lists make."""
    return asset.url is None and files_of(preset)[asset.name] == IDS and not asset.name.endswith(".tsv")


def whose_content(content: str) -> str | None:
    """The published file of any preset whose content has this sha256, in words."""
    for name in preset_names():
        for asset in load_preset(name).assets:
            if asset.content_sha256 == content:
                return f"{asset.name} of the preset {name!r}"
    return None


def _by_sha256(needed: list[AssetTable], sha256: str) -> str | None:
    return next((asset.name for asset in needed if asset.sha256 == sha256), None)


def _elsewhere(sha256: str) -> str | None:
    for name in preset_names():
        if file := _by_sha256(list(load_preset(name).assets), sha256):
            return f"{file} of the preset {name!r}"
    return None


def _by_name(needed: list[AssetTable], path: Path) -> str | None:
    return next((a.name for a in needed if _stem(path.name) in {_stem(a.name), _stem(a.url or a.name)}), None)


def _names(asset: AssetTable) -> str:
    original, kept = PurePosixPath(asset.url or asset.name).name, PurePosixPath(asset.name).name
    return original if original == kept else f"{original} (or {kept})"


def _stem(name: str) -> str:
    base = PurePosixPath(name).name
    end = next((end for end in _ENDS if base.endswith(end)), "")
    return base[: len(base) - len(end)]
