"""AnnData files, h5ad and zarr, written as the cells come: X grows, obs and var are written at the end."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from scdata._blocks import Array
from scdata._optional import need
from scdata.export.cells import Exported, joined_obs
from scdata.source.export_facts import UNS_KEY

_CHUNK = 1 << 20  # elements


class _AnnData(ABC):
    """What both have in common: groups and growing arrays."""

    TOKENS = False

    @abstractmethod
    def _root(self, out: Path) -> AbstractContextManager[Any]:
        """The new file, open."""

    @abstractmethod
    def _array(self, group: Any, name: str, dtype: str) -> Any:
        """An array of length 0 that can grow."""

    def write(self, cells: Exported, out: Path, advance: Any) -> None:
        anndata = need("anndata", "write AnnData")
        frames = []
        with self._root(out) as root:
            root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            X = root.create_group("X")
            indices, data = (_Growing(self._array(X, name, "int32")) for name in ("indices", "data"))
            lengths = [np.zeros(1, np.int64)]
            for part in cells.parts():
                indices.append(part.X.indices)
                data.append(part.X.data)
                lengths.append(np.diff(part.X.indptr).astype(np.int64))
                frames.append(part.obs)
                advance(part.n_obs)
            indices.end()
            data.end()
            indptr = np.cumsum(np.concatenate(lengths))
            anndata.io.write_elem(X, "indptr", indptr)
            shape = [len(indptr) - 1, len(cells.var)]
            X.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
            tables = anndata.AnnData(obs=joined_obs(frames), var=cells.var)
            tables.strings_to_categoricals()  # files have no strings that are null
            anndata.io.write_elem(root, "obs", tables.obs)
            anndata.io.write_elem(root, "var", tables.var)
            for name in ("obsm", "varm", "obsp", "varp", "layers"):
                anndata.io.write_elem(root, name, {})
            anndata.io.write_elem(root, "uns", {UNS_KEY: cells.facts})


class _Growing:
    """A one-dimensional array on disk that is written in whole chunks.

    Parameters
    ----------
    array
        Of length 0, with ``resize``.
    """

    def __init__(self, array: Any) -> None:
        self._array, self._waiting, self._n = array, [np.zeros(0, array.dtype)], 0

    def append(self, part: Array) -> None:
        self._waiting.append(part)
        if sum(map(len, self._waiting)) >= _CHUNK:
            self._flush(_CHUNK)

    def end(self) -> None:
        self._flush(1)

    def _flush(self, multiple: int) -> None:
        part = np.concatenate(self._waiting)
        n = len(part) // multiple * multiple
        if n:
            self._array.resize((self._n + n,))
            self._array[self._n : self._n + n] = part[:n]
            self._n += n
        self._waiting = [part[n:]]


class H5ad(_AnnData):
    """One HDF5 file."""

    WHAT = "one AnnData file"

    @contextmanager
    def _root(self, out: Path) -> Iterator[Any]:
        with need("h5py", "write h5ad files").File(out, "w") as file:
            yield file

    def _array(self, group: Any, name: str, dtype: str) -> Any:
        shape = {"shape": (0,), "maxshape": (None,), "chunks": (_CHUNK,)}
        return group.create_dataset(name, dtype=dtype, compression="gzip", compression_opts=1, shuffle=True, **shape)


class Zarr(_AnnData):
    """A folder of zarr, format 2, which all readers of AnnData take."""

    WHAT = "an AnnData folder of zarr, as annbatch reads it"

    @contextmanager
    def _root(self, out: Path) -> Iterator[Any]:
        zarr = need("zarr", "write zarr")
        with warnings.catch_warnings():
            # AnnData's strings in format 2
            warnings.simplefilter("ignore")
            yield zarr.open_group(str(out), mode="w", zarr_format=2)

    def _array(self, group: Any, name: str, dtype: str) -> Any:
        return group.create_array(name, shape=(0,), chunks=(_CHUNK,), dtype=dtype)
