"""A folder that SciPy, NumPy and pandas read: ``X.npz`` (CSR), ``obs.parquet``, ``var.parquet``."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from scdata.export.cells import Exported, joined_obs

WHAT, TOKENS = "a folder: X.npz (scipy.sparse.load_npz), obs.parquet, var.parquet", False


def write(cells: Exported, out: Path, advance: Any) -> None:
    """Cells are read twice, for indices and for counts: an array of an npz file has to be written in one go."""
    out.mkdir()
    frames, lengths = [], [np.zeros(1, np.int64)]
    with zipfile.ZipFile(out / "X.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("indices", "data"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                header = {"descr": "<i4", "fortran_order": False, "shape": (cells.nnz,)}
                np.lib.format.write_array_header_1_0(file, header)
                for part in cells.parts():
                    file.write(np.ascontiguousarray(getattr(part.X, name), "<i4").tobytes())
                    if name == "indices":
                        lengths.append(np.diff(part.X.indptr).astype(np.int64))
                        frames.append(part.obs)
                        advance(part.n_obs)
        indptr = np.cumsum(np.concatenate(lengths))
        shape = np.array([len(indptr) - 1, len(cells.var)])
        for name, array in (("indptr", indptr), ("shape", shape), ("format", np.array(b"csr"))):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    joined_obs(frames).to_parquet(out / "obs.parquet")
    cells.var.to_parquet(out / "var.parquet")
    cells.write_facts(out)
