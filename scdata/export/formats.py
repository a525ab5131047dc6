"""`export_set`: a set in the format of another tool."""

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from scdata._errors import OutputExistsError, ScdataError
from scdata.build.progress import Progress
from scdata.export import anndata_file, geneformer_dataset, scgpt_parquet, sparse_npz, webdataset_cells
from scdata.export.cells import Exported
from scdata.shard.block import COUNTS
from scdata.shard.shard_set import ShardSet


class Format(Protocol):
    """How one format is written: what a file in this folder has to offer.

    Attributes
    ----------
    WHAT
        What comes out and who reads it, for ``--help``.
    TOKENS
        True: it takes tokens, so sets of tokens can be exported too; False: counts.
    """

    WHAT: str
    TOKENS: bool

    def write(self, cells: Exported, out: Path, advance: Any) -> None:
        """Write to a path that does not exist yet; `advance` takes the number of cells just written."""


FORMATS: dict[str, Format] = {
    "h5ad": anndata_file.H5ad(),
    "zarr": anndata_file.Zarr(),
    "npz": sparse_npz,
    "parquet-scgpt": scgpt_parquet,
    "hf-geneformer": geneformer_dataset,
    "webdataset-cells": webdataset_cells,
}


def export_set(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    format: str,
    *,
    splits: Sequence[str] | None = None,
    tokenizer: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write the cells of a set for another tool, some at a time.

    obs has the columns ``split``, ``dataset`` and, where it is known and obs has none, ``organism``. Roles of a perturbation,
    titles and citations of datasets, which genes each measured, which obs columns are not the set's, and which set it was stand
    in ``uns["scdata"]`` of AnnData, in ``scdata.json`` and ``measured.npy`` of other folders; a build from what holds counts
    takes that over. obs columns of the set that have a name of the format's own, or of batches, are called ``obs.NAME`` until
    then; one called ``split`` stays ``obs.split``.

    Parameters
    ----------
    path
        Folder of the set, or its address.
    out
        File or folder to write; it stands there whole or not at all.
    format
        ``"h5ad"``, ``"zarr"`` (AnnData's, which annbatch reads), ``"npz"`` (a folder: SciPy's CSR, obs and var),
        ``"parquet-scgpt"`` (scGPT's scBank), ``"hf-geneformer"`` (a folder of the `datasets` library), ``"webdataset-cells"``
        (a cell a sample).
    splits
        Which, in this order; None: all. Cells come in stored order; obs column ``split`` says which.
    tokenizer
        ``"hf-geneformer"`` only, of a set of counts: ``"geneformer-v2"``, ``"geneformer-v2+fit"``. None: the set's own tokens.
    overwrite
        Replace what stands at `out`.
    progress
        Where to report; None: nowhere.

    Returns
    -------
    int
        Number of cells.

    Raises
    ------
    SetNotFoundError, CorruptShardError
        If there is no complete set, or it is damaged.
    OutputExistsError
        If `out` exists and is not to be replaced.
    ScdataError
        If the format holds counts and the set tokens.
    ValueError
        For an unknown format or split, and a tokenizer where none belongs.

    Examples
    --------
    >>> import scdata, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> _ = scdata.build_shards("synthetic:cells=300,genes=50", folder + "/set")
    >>> export_set(folder + "/set", folder + "/cells.h5ad", "h5ad")
    300
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: {', '.join(FORMATS)}")
    if tokenizer is not None and not FORMATS[format].TOKENS:
        raise ValueError(f"{format} holds counts: tokenizer={tokenizer!r} goes with hf-geneformer only")
    shards, target = ShardSet(os.fspath(path)), Path(out)
    if not FORMATS[format].TOKENS and shards.encoding != COUNTS:
        raise ScdataError(
            f"{shards.path} holds tokens of {shards.tokenizer.name!r}, and {format} holds counts: take a set that was built "
            "with --tokenizer counts, or export hf-geneformer"
        )
    cells = Exported(shards, os.fspath(path), tuple(splits or shards.splits), tokenizer)
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} exists: --overwrite (overwrite=True) replaces it, or choose another output")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with (progress or Progress()).phase(f"export {format}", cells.n_cells) as advance:
            FORMATS[format].write(cells, temporary, advance)
        _replace(temporary, target)
    finally:
        _remove(temporary)
    return cells.n_cells


def _replace(temporary: Path, target: Path) -> None:
    if target.exists() and (target.is_dir() or temporary.is_dir()):
        _remove(target)  # a folder takes the place of nothing
    temporary.replace(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
