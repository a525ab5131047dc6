"""The gene table beside ragged Parquet files: which gene each id is."""

import io
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scdata._blocks import I32
from scdata._errors import SourceError
from scdata._store_files import is_file
from scdata.source.shared import shared_var
from scdata.source.written import stat_of_file

VOCAB, TABLE = "gene_vocab.json", "gene_metadata.parquet"
_ID, _SYMBOL, _ENSEMBL = "token_id", "gene_symbol", "ensembl_id"
_LARGEST_ID = 1 << 24
_HOW = f"{VOCAB} (gene name → id) or {TABLE} ({_SYMBOL}, {_ENSEMBL}, {_ID})"


class RaggedGenes:
    """Genes by rising id.

    Parameters
    ----------
    folder
        Where the files are. The table is looked for there and one folder above, also in ``metadata/``.
    uri
        Of the source, for messages.

    Raises
    ------
    SourceError
        If there is no table, or it is not as it should be.
    """

    def __init__(self, folder: Path, uri: str) -> None:
        places = [
            place / name
            for base in (folder, folder.parent)
            for place in (base, base / "metadata")
            for name in (VOCAB, TABLE)
        ]
        path = next((place for place in places if is_file(place)), None)
        if path is None:
            raise SourceError(f"{uri}: no gene table; put {_HOW} beside the files, or one folder above")
        self._path = path
        try:
            found = _of_json(path.read_bytes()) if path.name == VOCAB else _of_parquet(path.read_bytes())
        except (KeyError, ValueError, TypeError, AttributeError, pa.ArrowException, OSError) as error:
            raise SourceError(f"{path}: not a gene table ({error}); it is {_HOW}") from error
        ids = found[_ID].to_numpy()
        if not len(ids) or found[_ID].null_count or ids.min() < 0 or ids.max() > _LARGEST_ID:
            raise SourceError(f"{path}: ids of genes are whole numbers from 0 to {_LARGEST_ID}")
        twice = np.flatnonzero(np.diff(np.sort(ids)) == 0)
        if len(twice):
            raise SourceError(f"{path}: two genes have the id {np.sort(ids)[twice[0]]}")
        order = np.argsort(ids)
        self._ids = ids[order]
        self.var: pa.Table = found.drop_columns([_ID]).take(pa.array(order))

    @property
    def name(self) -> str:
        """Of the file."""
        return self._path.name

    def by_feature_id(self, ids: Mapping[str, str]) -> pa.Table | None:
        """`var` with feature ids first, and then ``feature_name``, the names of the vocabulary.

        Parameters
        ----------
        ids
            Feature ids by name.

        Returns
        -------
        pyarrow.Table, or None
            None if a name is not there, or the table says itself which ids its genes have.
        """
        names = self.var["var_name"].to_pylist()
        if self.name != VOCAB or not all(name in ids for name in names):
            return None
        return shared_var(
            pa.table({"var_name": pa.array([ids[name] for name in names], pa.string()), "feature_name": names})
        )

    @cached_property
    def column_of(self) -> I32:
        """int32 (largest id + 1,): place in `var` of each id, −1 where there is none."""
        out = np.full(int(self._ids[-1]) + 1, -1, np.int32)
        out[self._ids] = np.arange(len(self._ids), dtype=np.int32)
        return out

    def stat(self) -> Mapping[str, int]:
        """See `CountSource.stat`."""
        return stat_of_file(self._path, str(self._path))


def _of_json(data: bytes) -> pa.Table:
    table = json.loads(data)
    # <pad>, <cls> and the like are no genes
    genes = {name: own for name, own in table.items() if not (name.startswith("<") and name.endswith(">"))}
    if not all(type(own) is int for own in genes.values()):
        raise ValueError("an id is no whole number")
    names = pa.array(list(genes), pa.string())
    return pa.table({"var_name": names, _ID: pa.array(list(genes.values()), pa.int64())})


def _of_parquet(data: bytes) -> pa.Table:
    table = pq.ParquetFile(io.BytesIO(data)).read([_SYMBOL, _ENSEMBL, _ID], use_threads=False)
    if missing := {_SYMBOL, _ENSEMBL, _ID} - set(table.column_names):
        raise KeyError(f"no column {', '.join(sorted(missing))}")
    symbols, ensembl = (table[name].cast(pa.string()) for name in (_SYMBOL, _ENSEMBL))
    names = pa.compute.fill_null(pa.compute.coalesce(symbols, ensembl), "")
    return pa.table({"var_name": names, _SYMBOL: symbols, _ENSEMBL: ensembl, _ID: table[_ID].cast(pa.int64())})
