"""WebDataset with a cell a sample, for tools that insist: ``ID.genes.npy``, ``ID.counts.npy``, ``ID.json`` of obs.

Ten times the bytes and a fiftieth of the speed of a set's own shards, which any reader of WebDataset takes too (`iter_cells`).
"""

import json
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._optional import need
from scdata.export.cells import Exported

WHAT, TOKENS = "a folder of WebDataset tars with a cell a sample, and genes.json", False

_CELLS = 10_000  # of a tar


def write(cells: Exported, out: Path, advance: Any) -> None:
    """``genes`` are places in ``genes.json``, a list of feature ids and names."""
    webdataset = need("webdataset", "write a cell a sample")
    out.mkdir()
    names = [[feature, name] for feature, name in cells.var["feature_name"].items()]
    (out / "genes.json").write_text(json.dumps(names), encoding="utf-8")
    cells.write_facts(out, types=True)  # JSON has no types
    samples = _samples(cells, advance)
    # the same cells give the same bytes
    options = {"user": "", "group": "", "mode": 0o644, "mtime": 0}
    for number in range(-(-cells.n_cells // _CELLS)):
        with webdataset.TarWriter(str(out / f"cells-{number:06d}.tar"), **options) as writer:
            for sample in islice(samples, _CELLS):
                writer.write(sample)


def _samples(cells: Exported, advance: Any) -> Iterator[dict[str, Any]]:
    for part in cells.parts():
        frame = part.obs.rename_axis("obs_name").reset_index()
        # all digits of fractions; JSON has no infinities
        plain = {name: own.where(np.isfinite(own)) for name, own in frame.select_dtypes("floating").items()}
        obs = pa.Table.from_pandas(frame.assign(**plain), preserve_index=False).to_pylist()
        for row, (start, stop) in zip(obs, pairwise(part.X.indptr), strict=True):
            genes, counts = part.X.indices[start:stop], part.X.data[start:stop]
            yield {"__key__": f"{row['cell_id']:012d}", "genes.npy": genes, "counts.npy": counts, "json": row}
        advance(part.n_obs)
