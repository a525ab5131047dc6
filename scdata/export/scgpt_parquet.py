"""scGPT's scBank: Parquet files with lists of ``genes`` and ``expressions``, and ``gene_vocab.json``.

Format: bowang-lab/scGPT, ``scgpt/scbank/databank.py``; genes are ids of the vocabulary, cells without a gene have empty lists.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scdata._optional import need
from scdata.export.cells import Exported, beside

WHAT, TOKENS = "scGPT's scBank: a folder of Parquet files with genes and expressions, and gene_vocab.json", False

_TAKEN, _ADDED = ("id", "genes", "expressions"), ("id", "obs_name")


def write(cells: Exported, out: Path, advance: Any) -> None:
    """Genes as of `gene_names`; ids are the places in that list, of which ``scdata.json`` tells the feature ids."""
    out.mkdir()
    names = gene_names(cells.var)
    vocab = {name: number for number, name in enumerate(names)}
    (out / "gene_vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    cells.write_facts(out, _TAKEN, _ADDED, names)
    pandas = need("pandas", "write obs")
    writer = None
    try:
        for part in cells.parts():
            ends = part.X.indptr.astype(np.int32)
            table = pa.table(
                {
                    "id": pa.array(part.obs["cell_id"].to_numpy()),
                    "genes": pa.ListArray.from_arrays(ends, pa.array(part.X.indices.astype(np.int64))),
                    "expressions": pa.ListArray.from_arrays(ends, pa.array(part.X.data.astype(np.float32))),
                }
            )
            obs = part.obs.drop(columns=["cell_id"]).rename_axis("obs_name").reset_index()
            # categories as their strings, which every reader takes
            plain = {c: obs[c].astype(object) for c in obs if isinstance(obs[c].dtype, pandas.CategoricalDtype)}
            for name in (other := pa.Table.from_pandas(obs.assign(**plain), preserve_index=False)).column_names:
                table = table.append_column(beside(name, _TAKEN), other[name])
            if writer is None:
                writer = pq.ParquetWriter(out / "cells.datatable.parquet", _with_types(table.schema, cells))
            writer.write_table(table.cast(writer.schema))
            advance(part.n_obs)
    finally:
        if writer is not None:
            writer.close()


def _with_types(schema: pa.Schema, cells: Exported) -> pa.Schema:
    """A column of which the first part knows nothing but nulls is one of strings."""
    return pa.schema([f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in schema])


def gene_names(var: Any) -> list[str]:
    """Names of genes where they are distinct and there, else feature ids; all by feature id if one is another gene's name.

    Parameters
    ----------
    var
        Frame by feature id, with ``feature_name``.
    """
    names = var["feature_name"]
    twice = names.duplicated(keep=False) | names.isna() | (names == "")
    found = [
        feature if doubtful else str(name) for feature, name, doubtful in zip(var.index, names, twice, strict=True)
    ]
    return found if len(set(found)) == len(found) else list(var.index)
