"""Published vocabularies and medians: other people's files, read from a folder, never shipped.

The folder is laid out as the presets name their files: ``scgpt/default_census_vocab.json``,
``geneformer/v2_gc104M/token_dictionary.json.gz`` and so on. JSON only; nothing is unpickled.
"""

import gzip
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from scdata._errors import AssetsError, TokenizerError

_LIMIT = 256 << 20  # bytes of one file, unpacked: the largest published one takes 8 MB


class AssetFolder:
    """Reads JSON files of one folder and remembers the sha256 of each, for the manifest."""

    def __init__(self, folder: str | Path, preset: str) -> None:
        self.folder = Path(folder)
        self.preset = preset
        self.sha256: dict[str, str] = {}
        if not self.folder.is_dir():
            raise AssetsError(f"assets folder {folder} does not exist; {remedy(preset)}")

    def read(self, name: str) -> dict[str, Any]:
        """The JSON object in a file, gzip or not.

        Raises
        ------
        AssetsError
            If the file is not there.
        TokenizerError
            If it is not a JSON object.
        """
        path = self.folder / name
        if not path.is_file():
            raise AssetsError(f"{name} is not in the assets folder {self.folder}; {remedy(self.preset)}")
        data = path.read_bytes()
        self.sha256[name] = hashlib.sha256(data).hexdigest()
        try:
            if name.endswith(".gz"):
                with gzip.open(path) as file:
                    data = file.read(_LIMIT + 1)
            if len(data) > _LIMIT:
                raise TokenizerError(f"{path}: over {_LIMIT >> 20} MB unpacked, so it is no vocabulary")
            table = json.loads(data)
        except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
            raise TokenizerError(f"{path}: not a JSON file: {error}") from error
        if not isinstance(table, dict):
            raise TokenizerError(f"{path}: expected a JSON object, found {type(table).__name__}")
        return table


def remedy(preset: str) -> str:
    """What to do when the assets of a preset are missing."""
    return (
        f"give a folder that holds the published files (--assets DIR, assets=DIR; `scdata tokenizers show {preset}` lists"
        " them), or use the source's own genes (--assets fit, assets='fit'), whose ids are not the published ones"
    )
