"""One copy of what the files of a corpus have in common: a thousand files of one study hold the same table of genes."""

from collections import OrderedDict

import pyarrow as pa
import xxhash

# Tables kept in case the next file has an equal one; who uses a table keeps it alive
_KEPT = 16

_tables: OrderedDict[bytes, tuple[pa.Table, tuple[str, ...]]] = OrderedDict()


def shared_var(table: pa.Table) -> pa.Table:
    """`table`, or an equal one that was seen lately, so that equal ones are the same object."""
    return _shared(table)[0]


def shared_ids(var: pa.Table) -> tuple[str, ...]:
    """The names of the genes of a var table; of equal tables the same object."""
    return _shared(var)[1]


def _shared(table: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    digest = xxhash.xxh3_128(str(table.schema).encode())
    for column in table.columns:
        for chunk in column.chunks:
            digest.update(f"{chunk.offset},{len(chunk)};".encode())
            for buffer in chunk.buffers():
                digest.update(b"-" if buffer is None else memoryview(buffer))
    key = digest.digest()
    found = _tables.pop(key, None) or (table, tuple(table["var_name"].to_pylist()))
    _tables[key] = found
    while len(_tables) > _KEPT:
        _tables.popitem(last=False)
    return found
