"""For people with a reader of their own: a block decoded in one line, a dict a cell."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scdata._blocks import I32
from scdata._storage import is_remote
from scdata.shard.block import COUNTS, parse_block
from scdata.shard.cells import Cells, reserved_name
from scdata.shard.code_table import token_of_code_of
from scdata.shard.shard_set import ShardSet


def decode_block(data: Any, token_of_code: I32 | None = None) -> Cells:
    """Decode a block: one sample of a shard, whatever read it.

    Parameters
    ----------
    data
        The bytes of a ``.arrow`` member.
    token_of_code
        int32 (G,): the token id of each gene code (``var.parquet``: `token_id` in order of `code`). Without it, cells of
        a counts set come with gene codes; sets of tokens need none.

    Returns
    -------
    Cells
        ``indptr``, ``ids``, ``values``, ``cell_id``, ``dataset``, ``total_counts``, ``vocab_counts``, ``obs``.

    Raises
    ------
    CorruptShardError
        If the bytes are no block, or do not decode.
    """
    return parse_block(data).decode(token_of_code)


def iter_cells(samples: Iterable[Mapping[str, Any]], set_path: Any = None) -> Iterator[dict[str, Any]]:
    """A dict a cell, from the samples of any WebDataset reader: ``wds.WebDataset(urls).compose(scdata.iter_cells)``.

    Parameters
    ----------
    samples
        Dicts with the bytes of a block under ``"arrow"``, and ``__url__`` (the path of the shard).
    set_path
        The set's folder, which holds ``var.parquet``, or its address; None finds a folder from ``__url__``, two above the
        shard's.

    Yields
    ------
    dict
        ``__key__``, ``cell_id``, ``dataset``, ``token_ids`` int32 (L,), ``values`` (L,) where the set has values,
        ``total_counts``, ``vocab_counts``, and the obs columns that the set stores.
    """
    opened = ShardSet(set_path) if isinstance(set_path, str) and is_remote(set_path) else None
    for sample in samples:
        if opened is None:
            codes = token_of_code_of(set_path, sample.get("__url__"))
        else:
            codes = opened.token_of_code if opened.encoding == COUNTS else None
        cells = decode_block(sample["arrow"], codes)
        for i in range(cells.n_cells):
            part = slice(cells.indptr[i], cells.indptr[i + 1])
            yield {
                "__key__": f"{sample['__key__']}-{i:04d}",
                "cell_id": int(cells.cell_id[i]),
                "dataset": int(cells.dataset[i]),
                "token_ids": cells.ids[part],
                **({"values": cells.values[part]} if cells.values is not None else {}),
                "total_counts": int(cells.total_counts[i]),
                "vocab_counts": int(cells.vocab_counts[i]),
                **{reserved_name(name): column[i].item() for name, column in cells.obs.items()},
            }
