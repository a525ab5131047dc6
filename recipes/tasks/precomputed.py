"""Embeddings that models give or gave: rows of a file, or of a checkpoint, put beside the cells of the sets."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .cells import Cells
from .progress import PROGRESS


def read_file(path: str, cells: Cells) -> np.ndarray:
    """Embeddings from a Parquet file.

    Parameters
    ----------
    path
        Columns ``cell_id`` (int64) and ``embedding`` (a fixed-size list of floats), one row a cell in any order; where `cells`
        come from several sets also ``set`` (an integer, from 0).
    cells
        N cells.

    Returns
    -------
    ndarray
        float32 (N, d).

    Raises
    ------
    ValueError
        If a column is not there or of another type, if a cell has no row or several, if a row belongs to no cell of the sets,
        or a value is not finite.
    """
    if not Path(path).is_file():
        raise ValueError(f"file:{path}: there is no such file")
    table = pq.read_table(path)
    for name in ("cell_id", "embedding"):
        if name not in table.column_names:
            raise ValueError(f"{path} has no column {name!r}: it has {', '.join(map(repr, table.column_names))}")
    kind = table.schema.field("embedding").type
    if not (pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type)):
        raise ValueError(f"{path}: embedding is of type {kind}, expected a fixed-size list of float32")
    if table["cell_id"].null_count or table["embedding"].null_count:
        raise ValueError(f"{path} has nulls in cell_id or embedding: a row for each cell, and no other")
    ids = table.select([name for name in ("set", "cell_id") if name in table.column_names]).to_pandas()
    values = table["embedding"].combine_chunks()
    array = values.flatten().to_numpy(zero_copy_only=False).reshape(len(table), kind.list_size)
    return _aligned(array, ids, cells, path)


def read_obsm(path: str, key: str, cells: Cells) -> np.ndarray:
    """Embeddings from an AnnData file's ``obsm[key]``: float32 (N, d).

    Rows are found by the obs columns ``cell_id`` (and ``set``, of several sets) where they are there, else by their names,
    which must then be those of the sets' sources and no two the same. Raises as `read_file` does.
    """
    if not Path(path).is_file():
        raise ValueError(f"obsm:{path}:{key}: there is no file {path}")
    data = anndata.read_h5ad(path, backed="r")
    try:
        if key not in data.obsm:
            raise ValueError(f"{path} has no obsm {key!r}: it has {', '.join(map(repr, data.obsm)) or 'none'}")
        found, obs = data.obsm[key], data.obs
        array = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
    finally:
        data.file.close()
    if "cell_id" in obs:
        return _aligned(array, obs[[name for name in ("set", "cell_id") if name in obs]], cells, path)
    names = cells.obs["obs_name"]
    if not names.is_unique:
        twice = names[names.duplicated()].iloc[0]
        raise ValueError(
            f"{path} has no obs column cell_id, and names do not tell the cells of the set apart ({twice!r} stands there "
            "more than once): add cell_id"
        )
    order = pd.Index(obs.index).get_indexer(names) if obs.index.is_unique else None
    if order is None or (order < 0).any():
        what = "has a name twice" if order is None else f"has no row named {names[order < 0].iloc[0]!r}"
        raise ValueError(
            f"{path} {what}: its obs names, or an obs column cell_id, have to tell which row is which cell"
        )
    return _checked(array[order], cells, path)


def embed_checkpoint(path: str, cells: Cells) -> np.ndarray:
    """What the model of a recipe's checkpoint makes of the cells, on the CPU: float32 (N, d). Raises as `load_trained` does."""
    # brings torch and the recipe, which others do not need
    from common.trained import load_trained
    from embed import iter_embeddings

    ids, arrays, n = [], [], 0
    for place, (source, splits) in enumerate(cells.sources):
        PROGRESS.starts(f"embedding the cells of {source} by {path}, on the CPU")
        trained = load_trained(source, Path(path))
        for split in splits:
            for own, rows in iter_embeddings(source, trained, split):
                ids.append(pd.DataFrame({"set": place, "cell_id": own}))
                arrays.append(rows)
                n += len(own)
                PROGRESS.done(f"{n:,} cells embedded")
    return _aligned(np.concatenate(arrays), pd.concat(ids, ignore_index=True), cells, path)


def _aligned(array: np.ndarray, ids: pd.DataFrame, cells: Cells, path: str) -> np.ndarray:
    """The rows of `array`, which belong to `ids`, in the order of the cells."""
    if "set" not in ids:
        if len(cells.ids) > 1:
            raise ValueError(
                f"{path} has no column 'set': cells of {len(cells.ids)} sets need it (0 is the first --set)"
            )
        ids = ids.assign(set=0)
    index = pd.MultiIndex.from_frame(ids[["set", "cell_id"]].astype("int64"))
    if not index.is_unique:
        twice = index[index.duplicated()]
        raise ValueError(
            f"{path} has {len(twice):,} rows more for cells that have one, cell_id {twice[0][1]} first: one a cell"
        )
    if cells.whole:
        known = [np.isin(ids["cell_id"], own) & (ids["set"] == place) for place, own in enumerate(cells.ids)]
        strange = ids["cell_id"][~np.any(known, axis=0)]
        if len(strange):
            raise ValueError(
                f"{path} has {len(strange):,} of {len(ids):,} rows for cells that are not in the set, "
                f"cell_id {strange.iloc[0]} first: is it the embedding of another set?"
            )
    order = index.get_indexer(pd.MultiIndex.from_frame(cells.obs[["set", "cell_id"]]))
    missing = cells.obs["cell_id"][order < 0]
    if len(missing):
        raise ValueError(
            f"{path} has no row for {len(missing):,} of {len(cells):,} cells, cell_id {missing.iloc[0]} first"
        )
    return _checked(array[order], cells, path)


def _checked(array: np.ndarray, cells: Cells, path: str) -> np.ndarray:
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"{path}: an embedding of shape {array.shape}, expected (cells, dimensions)")
    array = array.astype(np.float32)
    wrong = cells.obs["cell_id"][~np.isfinite(array).all(1)]
    if len(wrong):
        raise ValueError(
            f"{path}: the embedding of cell_id {wrong.iloc[0]} is not finite, as of {len(wrong):,} cells in all"
        )
    return array
