"""A dataframe that pandas wrote to Parquet: obs or var."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scdata._storage import is_local
from scdata._store_files import open_ranges
from scdata.source.columns import plain, plain_type, text


class ParquetFrame:
    """Columns of one file, each read whole when it is asked for, and kept.

    Parameters
    ----------
    path
        The file, here or in a store.
    """

    def __init__(self, path: Path) -> None:
        self._file: Any = pq.ParquetFile(str(path) if is_local(path) else open_ranges(path))
        schema = self._file.schema_arrow
        self.n_rows: int = self._file.metadata.num_rows
        self._index = _index_of(schema)
        kinds = {field.name: plain_type(field.type) for field in schema if field.name != self._index}
        self.types = {name: kind for name, kind in kinds.items() if kind is not None}
        self.left_out = [name for name, kind in kinds.items() if kind is None]
        self._kept: dict[str, pa.Array] = {}

    def index(self) -> pa.Array:
        """string (n,): the index; numbers of the rows where none was written."""
        if self._index is None:
            return pa.array(map(str, range(self.n_rows)), pa.string())
        if self._index not in self._kept:
            self._kept[self._index] = text(self._read(self._index))
        return self._kept[self._index]

    def column(self, name: str) -> pa.Array:
        """One column (n,), plain."""
        if name not in self._kept:
            self._kept[name] = plain(self._read(name))
        return self._kept[name]

    def _read(self, name: str) -> pa.Array:
        return self._file.read([name], use_threads=False)[name].combine_chunks()


def _index_of(schema: pa.Schema) -> str | None:
    """The column that pandas took its index from, if it wrote one."""
    written = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    columns = [name for name in written.get("index_columns", []) if isinstance(name, str) and name in schema.names]
    return columns[0] if len(columns) == 1 else None
