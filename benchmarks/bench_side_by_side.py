"""What a user would do today, beside a build, on the same cells: seconds, peak memory, bytes.

    python benchmarks/bench_side_by_side.py CELLS.h5ad [--copies 4] [--rounds 3] [--datasets PYTHON] [--annbatch PYTHON]

- `datasets folder`: Geneformer's way: cells in chunks of 512, ranks of x / n · 1e4 / median, a `datasets` folder. Its tokenizer
  is not on PyPI; the loop here does what it does (medians are all 1). PYTHON is one that has `datasets`, `anndata`, `scipy`.
- `annbatch`: a shuffled collection of zarr. PYTHON is one that has `annbatch` (Python 3.12).
- `webdataset`: a plain writer, a sample a cell, two `.npy` members each, in random order, all in memory.
- `scdata counts`, `scdata ranks`: builds with two workers.

Seconds are those of whole processes, imports included; memory is that of the largest process.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from measure import run_child, write_result

_CORPUS = """
import sys, warnings
warnings.simplefilter("ignore")
import anndata, numpy as np, scipy.sparse as sp
cells = anndata.read_h5ad(sys.argv[1])
n = cells.n_obs * int(sys.argv[3])
order = np.random.default_rng(0).permutation(n) % cells.n_obs
obs = cells.obs.iloc[order].copy()
obs.index = [f"cell-{i}" for i in range(n)]
anndata.AnnData(sp.csr_matrix(cells.X, dtype=np.float32)[order], obs=obs, var=cells.var).write_h5ad(sys.argv[2])
"""
_DATASETS = """
import sys, warnings
warnings.simplefilter("ignore")
import anndata, numpy as np, scipy.sparse as sp
from datasets import Dataset
cells = anndata.read_h5ad(sys.argv[1], backed="r")
total = np.concatenate([np.asarray(cells.X[i : i + 512].sum(axis=1)).ravel() for i in range(0, cells.n_obs, 512)])
tokens, medians = np.arange(cells.n_vars) + 4, np.ones(cells.n_vars)
input_ids = []
for start in range(0, cells.n_obs, 512):
    X = sp.csr_matrix(cells.X[start : start + 512] / total[start : start + 512, None] * 10_000 / medians)
    for i in range(X.shape[0]):
        row = X[i]
        input_ids.append(tokens[row.indices[np.argsort(-row.data)]])
Dataset.from_dict({"input_ids": input_ids}).map(
    lambda cell: {"input_ids": cell["input_ids"][:4096], "length": len(cell["input_ids"][:4096])}
).save_to_disk(sys.argv[2])
"""
_ANNBATCH = """
import sys, warnings
warnings.simplefilter("ignore")
import zarr
zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
from annbatch import DatasetCollection
if __name__ == "__main__":
    DatasetCollection(sys.argv[2]).add_adatas(adata_paths=[sys.argv[1]], shuffle=True)
"""
_WEBDATASET = """
import io, os, sys, warnings
warnings.simplefilter("ignore")
import anndata, numpy as np, webdataset
cells = anndata.read_h5ad(sys.argv[1])
os.makedirs(sys.argv[2])
X = cells.X
with webdataset.ShardWriter(f"{sys.argv[2]}/%06d.tar", maxsize=256 << 20, maxcount=10**9, verbose=0) as writer:
    for n, i in enumerate(np.random.default_rng(0).permutation(cells.n_obs)):
        part = slice(X.indptr[i], X.indptr[i + 1])
        genes, counts = X.indices[part].astype(np.uint16), X.data[part].astype(np.uint16)
        writer.write({"__key__": f"{n:09d}", "genes.npy": genes, "counts.npy": counts})
"""
_SCDATA = """
import sys, scdata
if __name__ == "__main__":
    scdata.build_shards(sys.argv[1], sys.argv[2], workers=2, tokenizer=sys.argv[3], assets=sys.argv[4] or None, min_mapped=0)
"""


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(h5ad: str, copies: int, rounds: int, pythons: dict[str, str | None], folder: Path) -> dict[str, Any]:
    """Each way once a round."""
    corpus = str(folder / "corpus.h5ad")
    run_child(_CORPUS, h5ad, corpus, str(copies))
    ways: dict[str, tuple[str, tuple[str, ...], str | None]] = {
        "scdata counts": (_SCDATA, ("counts", ""), None),
        "scdata ranks": (_SCDATA, ("geneformer-v2", "fit"), None),
        "webdataset": (_WEBDATASET, (), None),
    }
    if pythons["datasets"]:
        ways["datasets folder"] = _DATASETS, (), pythons["datasets"]
    if pythons["annbatch"]:
        ways["annbatch"] = _ANNBATCH, (), pythons["annbatch"]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, (code, more, python) in ways.items():
            out = folder / f"{name}-{number}"
            found = run_child(code, corpus, str(out), *more, python=python)
            runs[name].append({**found, "bytes": size_of(out)})
    return {
        "source": Path(h5ad).name,
        "copies": copies,
        "rounds": rounds,
        "runs": {
            name: {
                what: statistics.median(one[what] for one in own)
                for what in ("seconds", "cpu_seconds", "peak_mb", "bytes")
            }
            for name, own in runs.items()
        },
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("h5ad")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--datasets", help="Python that has datasets, anndata and scipy")
    parser.add_argument("--annbatch", help="Python that has annbatch")
    parser.add_argument("--out", help="folder for bench_side_by_side.json")
    arguments = parser.parse_args(argv)
    pythons = {"datasets": arguments.datasets, "annbatch": arguments.annbatch}
    with tempfile.TemporaryDirectory() as folder:
        result = run(arguments.h5ad, arguments.copies, arguments.rounds, pythons, Path(folder))
        write_result("bench_side_by_side", result, arguments.out)


if __name__ == "__main__":
    main()
