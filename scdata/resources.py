"""Files that travel with the package: presets, recipes, demo cells.

A wheel holds them under ``scdata/_data/``; in a checkout the presets and recipes are folders of the repository root.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(name: str) -> Path:
    """Path of a folder or file that travels with the package.

    Parameters
    ----------
    name
        Relative path such as ``"tokenizers/presets"``, ``"recipes"`` or ``"demo/demo_pbmc_ifnb_1k.h5ad"``.

    Raises
    ------
    FileNotFoundError
        If it is neither in the package nor in the checkout.
    """
    places = (_PACKAGE / "_data" / name, _PACKAGE.parent / name)
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f"{name} is neither at {places[0]} nor at {places[1]}: install scdata-engine again")
