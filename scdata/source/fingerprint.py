"""Hashing what a source holds, without its place or time."""

import json
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

# "First and last MB" of the stored values: enough to see another matrix, cheap on a matrix of terabytes
EDGE_BYTES = 1 << 20


class Sha(Protocol):
    """A hash that grows."""

    def update(self, data: Any, /) -> None: ...


def hash_facts(sha: Sha, **facts: Any) -> None:
    """Add named facts (numbers, strings, lists), as canonical JSON with its length."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    sha.update(len(text).to_bytes(8, "little") + text)


def hash_numbers(sha: Sha, array: np.ndarray[Any, Any]) -> None:
    """Add numbers, in little-endian order whatever the storage has."""
    sha.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())


def hash_column(sha: Sha, array: pa.Array) -> None:
    """Add a column or a part of one: its validity, then strings with their lengths or numbers."""
    hash_numbers(sha, array.is_valid().to_numpy(zero_copy_only=False))
    if pt.is_string(array.type):
        filled = array.fill_null("")
        hash_numbers(sha, pc.binary_length(filled).to_numpy())
        sha.update("".join(filled.to_pylist()).encode())
    else:
        filled = array.fill_null(False if pt.is_boolean(array.type) else 0)
        hash_numbers(sha, filled.to_numpy(zero_copy_only=False))
