"""Named arrays in one Arrow file: statistics of a corpus, while a build runs and beside a finished set."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._blocks import Array
from scdata.shard.files import read_arrow, write_arrow

_SCHEMA = pa.schema(
    [("name", pa.string()), ("dtype", pa.string()), ("shape", pa.list_(pa.int64())), ("data", pa.large_binary())]
)
_DTYPES = ("int32", "int64", "float64")
_FACTS, _SHA256 = b"scdata", b"sha256"


def write_arrays(path: Path, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
    """Write arrays of int32, int64 or float64, and a few facts as JSON in the schema, atomically."""
    rows: dict[str, list[Any]] = {
        "name": list(arrays),
        "dtype": [str(array.dtype) for array in arrays.values()],
        "shape": [list(array.shape) for array in arrays.values()],
        "data": [array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays.values()],
    }
    text = json.dumps(dict(facts), sort_keys=True)
    schema = _SCHEMA.with_metadata({_FACTS: text.encode(), _SHA256: _digest(rows, text).encode()})
    write_arrow(path, pa.table(rows, schema=schema), compression="zstd")


def _digest(rows: Mapping[str, list[Any]], facts: str) -> str:
    """sha256 over facts, names, types, shapes and data."""
    digest = hashlib.sha256(json.dumps([facts, rows["name"], rows["dtype"], rows["shape"]]).encode())
    for data in rows["data"]:
        digest.update(data)
    return digest.hexdigest()


def read_arrays(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and facts that `write_arrays` wrote.

    Raises
    ------
    ValueError
        If it is not such a file, or a shape does not fit its data.
    """
    try:
        table = read_arrow(path)
        if not table.schema.equals(_SCHEMA):
            raise ValueError(f"expected the columns {_SCHEMA.names}")
        metadata = table.schema.metadata or {}
        rows = {name: table[name].to_pylist() for name in ("name", "dtype", "shape")}
        rows["data"] = [data.as_buffer() for data in table["data"]]  # views: a histogram has millions of numbers
        if _digest(rows, metadata[_FACTS].decode()) != metadata[_SHA256].decode():
            raise ValueError("it differs from what was written (sha256)")
        facts = dict(json.loads(metadata[_FACTS]))
        out: dict[str, Array] = {}
        for name, dtype, shape, data in zip(*rows.values(), strict=True):
            if dtype not in _DTYPES:
                raise ValueError(f"{name} is of type {dtype!r}")
            out[name] = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(shape)
    except (pa.ArrowException, OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a file of statistics: {error}") from error
    return out, facts
