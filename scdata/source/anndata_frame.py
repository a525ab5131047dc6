"""An obs or var group in AnnData's layout, column by column and in slices of rows."""

from typing import Any

import numpy as np
import pyarrow as pa

from scdata._errors import SourceError
from scdata._optional import need
from scdata.source.columns import text

_REWRITE = "read it with anndata and write it again to get the current layout"
_DECODED = "TU"  # kinds of dtype of zarr's strings


class Frame:
    """One dataframe of an open file or store.

    Parameters
    ----------
    group
        Group of h5py or zarr in AnnData's layout (``encoding-type`` "dataframe").
    where
        File and group, for messages.
    """

    def __init__(self, group: Any, where: str) -> None:
        attrs = getattr(group, "attrs", {})
        if "_index" not in attrs or "column-order" not in attrs or "__categories" in group:
            raise SourceError(f"{where}: not a dataframe in the layout of anndata 0.8 or later; {_REWRITE}")
        self._group = group
        self._where = where
        self._categories: dict[str, pa.Array] = {}
        self._index: str = attrs["_index"]
        self._column(self._index)
        self.n_rows: int = self._size(self._column(self._index))
        self.types: dict[str, pa.DataType] = {}
        self.left_out: list[str] = []  # columns that are no strings, bools or numbers
        for name in map(str, attrs["column-order"]):
            kind = self._type(self._column(name))
            if kind is not None:
                if self._size(self._column(name)) != self.n_rows:
                    raise SourceError(
                        f"{where}: column {name!r} has {self._size(self._column(name))} rows, the index "
                        f"{self.n_rows}; the file is damaged, write it again"
                    )
                self.types[name] = kind
            else:
                self.left_out.append(name)

    def index(self, start: int, stop: int) -> pa.Array:
        """string: the index of some rows."""
        return text(self.read(self._index, start, stop))

    def read(self, name: str, start: int, stop: int) -> pa.Array:
        """Rows ``start:stop`` of one column, categoricals decoded, as a plain Arrow array."""
        item = self._column(name)
        rows = slice(start, stop)
        kind = item.attrs.get("encoding-type", "")
        if kind == "categorical":
            codes = item["codes"][rows]
            if name not in self._categories:
                self._categories[name] = text(values_of(item["categories"], slice(None)))
            categories = self._categories[name]
            if len(codes) and codes.max() >= len(categories):
                raise SourceError(
                    f"{self._where}: code {codes.max()} of column {name!r} in rows {start}:{stop} is outside "
                    f"its {len(categories)} categories; the file is damaged, write it again"
                )
            return categories.take(pa.array(codes, mask=codes < 0))
        return values_of(item, rows)

    def _column(self, name: str) -> Any:
        if name not in self._group:
            raise SourceError(f"{self._where}: column {name!r} is announced and not there; write the file again")
        return self._group[name]

    def _size(self, item: Any) -> int:
        kind = item.attrs.get("encoding-type", "")
        values = item["codes"] if kind == "categorical" else item["values"] if _is_group(item) else item
        return int(values.shape[0])

    def _type(self, item: Any) -> pa.DataType | None:
        kind = item.attrs.get("encoding-type", "")
        if kind == "categorical":
            return pa.string()
        if kind.startswith("nullable-"):
            item = item["values"]
        if _is_group(item) or len(item.shape) != 1:
            return None
        if is_text(item.dtype):
            return pa.string()
        if item.dtype.kind not in "biuf" or item.dtype.itemsize > 8:
            return None
        return pa.from_numpy_dtype(item.dtype.newbyteorder("="))


def values_of(item: Any, rows: slice) -> pa.Array:
    """Rows of a plain dataset, or of a group of values and the mask of those that are null."""
    mask = None
    if _is_group(item):
        item, mask = item["values"], item["mask"][rows]
    if item.dtype.kind in _DECODED:
        return pa.array(item[rows].astype(object), pa.string(), mask=mask)
    if is_text(item.dtype):
        # as bytes: decoding each in Python first would take three times as long
        return pa.array(item[rows].astype(object), pa.binary(), mask=mask).cast(pa.string())
    return pa.array(np.asarray(item[rows], item.dtype.newbyteorder("=")), mask=mask)


def _is_group(item: Any) -> bool:
    return not hasattr(item, "shape")


def is_text(dtype: Any) -> bool:
    """True for strings as h5py and zarr have them."""
    if dtype.kind in _DECODED:
        return True
    return dtype.kind in "OS" and need("h5py", "read AnnData files").check_string_dtype(dtype) is not None
