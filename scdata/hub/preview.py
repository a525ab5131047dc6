"""A few cells of a set as a table that people and the Hub's viewer can read."""

import io
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scdata._blocks import Array
from scdata._errors import CorruptShardError
from scdata._store_files import read_ranges
from scdata.shard.block import parse_block
from scdata.shard.shard_set import ShardSet

PREVIEW = "preview/cells.parquet"
N_CELLS = 1000
_ROWS_A_GROUP = 100  # what a viewer reads for one page
_TOP = 8  # genes in the line for the eye


def preview_table(shards: ShardSet, n: int = N_CELLS) -> pa.Table:
    """The first cells of the largest split: a uniform sample of it, because a set is stored in random order.

    Parameters
    ----------
    n
        How many at most.

    Returns
    -------
    pyarrow.Table
        One row a cell: ``split``, ``top`` (its first genes in one line), the columns of ``obs/``, ``genes`` (list of
        symbols, of ids where a gene has none) and, unless the set has ranks only, ``counts`` or ``values`` of the same
        lengths. Genes of counts come by falling count, tokens as they are.
    """
    split = max(shards.splits, key=lambda name: shards.manifest["splits"][name]["n_cells"])
    parts: list[pa.Table] = []
    blocks, missing = shards.blocks(split), n
    for i in range(len(blocks.n_cells)):
        if missing <= 0:
            break
        parts.append(_cells(shards, split, i, missing))
        missing -= parts[-1].num_rows
    if not parts:
        return pa.table({"split": pa.array([], pa.string())})
    return pa.concat_tables(parts)


def preview_bytes(shards: ShardSet) -> bytes:
    """`preview_table` as a Parquet file."""
    out = io.BytesIO()
    pq.write_table(preview_table(shards), out, compression="zstd", row_group_size=_ROWS_A_GROUP)
    return out.getvalue()


def _cells(shards: ShardSet, split: str, block: int, most: int) -> pa.Table:
    """The first cells of a block, with their obs."""
    blocks = shards.blocks(split)
    shard = int(blocks.shard[block])
    path = shards.shard_path(split, shard)
    [data] = read_ranges([(path, int(blocks.offset[block]), int(blocks.length[block]))])
    stored = parse_block(data)
    shards.check_block(stored)
    cells = stored.decode(shards.token_of_code if stored.coded is not None else None)
    n = min(most, cells.n_cells)
    first = int(blocks.n_cells[(blocks.shard == shard) & (blocks.block < blocks.block[block])].sum())
    obs = shards.read_obs_of(split, shard).slice(first, n)
    if obs["cell_id"].to_pylist() != cells.cell_id[:n].tolist():
        raise CorruptShardError(f"{path}: its cells are not those of {shards.obs_path(split, shard)}: restore both")
    names = _names(shards)
    genes, values = [], []
    for i in range(n):
        part = slice(cells.indptr[i], cells.indptr[i + 1])
        ids = cells.ids[part]
        order = np.arange(len(ids))
        if cells.values is not None:
            if stored.coded is not None:  # genes of counts have no order of their own, tokens do
                order = np.argsort(-cells.values[part], kind="stable")
            values.append(cells.values[part][order])
        genes.append([names[int(token)] for token in ids[order]])
    columns = {"split": pa.array([split] * n, pa.string()), "top": pa.array(list(_lines(genes, values)), pa.string())}
    columns |= {name: _plain(obs[name]) for name in obs.column_names if name not in columns}
    columns["genes"] = pa.array(genes, pa.list_(pa.string()))
    if cells.values is not None:
        columns["counts" if stored.coded is not None else "values"] = pa.array(values)
    return pa.table(columns)


def _lines(genes: list[list[str]], values: list[Array]) -> Iterator[str]:
    for i, own in enumerate(genes):
        told = [f"{gene} {value}" for gene, value in zip(own[:_TOP], values[i], strict=False)] if values else own[:_TOP]
        yield ", ".join(told) + (" …" if len(own) > _TOP else "")


def _names(shards: ShardSet) -> dict[int, str]:
    """What each token is called."""
    var = shards.var
    rows = zip(*(var[name].to_pylist() for name in ("token_id", "feature_id", "feature_name")), strict=True)
    specials = {token: text for text, token in shards.tokenizer.genes().specials.items()}
    return {token: symbol or id_ for token, id_, symbol in rows} | specials


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary as strings: readers of Parquet differ in what they make of one."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
