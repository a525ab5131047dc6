"""`from_anndata`: a set from cells in memory."""

import os
import tempfile
from pathlib import Path
from typing import Any

from scdata.build.pipeline import build_shards

_NAME = "cells.h5ad"  # what the manifest calls the source


def from_anndata(adata: Any, out: str | os.PathLike[str], **options: Any) -> dict[str, Any]:
    """Build a set from an AnnData in memory: for small data, and for what was filtered or joined in a notebook.

    The cells are written once to a temporary h5ad file beside `out`. The same cells and options give the same bytes.

    Parameters
    ----------
    adata
        `anndata.AnnData` with raw counts in ``X``, in ``raw.X``, or in the layer that ``layer=`` names.
    out
        Folder of the set.
    **options
        As of `build_shards`, without ``source``.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    TypeError
        If `adata` is no AnnData.
    ScdataError, ValueError
        As `build_shards` does.

    Examples
    --------
    >>> import anndata, numpy as np, scdata, tempfile
    >>> adata = anndata.AnnData(np.array([[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]], dtype="float32"))
    >>> adata.var_names = ["A1BG", "CD3D", "MS4A1"]
    >>> from_anndata(adata, tempfile.mkdtemp() + "/set")["n_cells"]
    2
    """
    if not hasattr(adata, "write_h5ad"):
        raise TypeError(f"{type(adata).__name__} is no AnnData: files and addresses are for build_shards")
    target = Path(out).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        path = Path(folder) / _NAME
        # a copy: writing turns text columns of the caller's tables into categories
        adata.copy().write_h5ad(path)
        return build_shards(path, out, **options)
