"""Optional dependencies: imported where they are used, missing ones named with the line that installs them."""

import importlib
from typing import Any

from scdata._errors import MissingExtraError

_EXTRA_OF = {
    "torch": "torch",
    "numba": "torch",
    "scipy": "torch",
    "tiledbsoma": "build",
    "anndata": "build",
    "h5py": "build",
    "zarr": "build",
    "dask": "build",
    "distributed": "build",
    "skmisc": "build",
    "cellxgene_census": "census",
    "s3fs": "s3",
    "upath": "s3",
    "aiohttp": "s3",
    "huggingface_hub": "s3",
    "matplotlib": "plot",
    "datasets": "export",
    "webdataset": "export",
    "pandas": "build",
    "cupy": "cuda13",
}


def need(module: str, why: str) -> Any:
    """Import `module`, or say which extra brings it.

    Parameters
    ----------
    module
        Dotted name of the module, such as ``"h5py"`` or ``"scipy.sparse"``.
    why
        What it is needed for, as the end of "… is needed to <why>".

    Raises
    ------
    MissingExtraError
        If the module's distribution is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.split(".")[0]
        extra = _EXTRA_OF.get(top)
        if extra is None or (error.name or "").split(".")[0] != top:
            raise
        raise MissingExtraError(
            f"{top} is needed to {why} and is not installed: pip install 'scdata-engine[{extra}]'"
        ) from error
