"""What tests of the build share: hashes of a tree, decoded cells, small h5ad files, sets that are built once."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp

import scdata
from scdata.shard.shard_set import ShardSet

# 20 shards of train and 3 of val, in a dozen scatter tasks
CORPUS = "synthetic:cells=20000,genes=300,mean_genes=60"
CORPUS_ARGUMENTS = {"splits": ["val=0.1:donor_id"], "shard_size": 65536, "block_size": 256}
TASK_NNZ = 100_000

_SCRIPT = """
import sys, json, scdata
from scdata.build import drafting
drafting.TASK_NNZ = {task_nnz}
arguments = json.loads(sys.argv[1])
try:
    scdata.build_shards(**arguments)
except scdata.ScdataError as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
"""


@pytest.fixture(scope="session")
def tree():
    """A function: sha256 of every file below a folder, by relative path."""

    def hashes(folder):
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }

    return hashes


@pytest.fixture
def remote_tree(s3):
    """A function: sha256 of every object below an address, by relative key."""

    def hashes(uri):
        prefix = uri.removeprefix(f"s3://{s3.bucket}/") + "/"
        pages = s3.client.get_paginator("list_objects_v2").paginate(Bucket=s3.bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {
            key.removeprefix(prefix): hashlib.sha256(
                s3.client.get_object(Bucket=s3.bucket, Key=key)["Body"].read()
            ).hexdigest()
            for key in keys
        }

    return hashes


@pytest.fixture
def small_tasks(monkeypatch):
    """Builds of this process cut their work into small tasks, as those of `build_process` do."""
    from scdata.build import drafting

    monkeypatch.setattr(drafting, "TASK_NNZ", TASK_NNZ)


@pytest.fixture(scope="session")
def build_process():
    """A function: start a build of its own process, which prints the error that it ends with."""

    def start(before="", **arguments):
        command = [sys.executable, "-c", before + _SCRIPT.format(task_nnz=TASK_NNZ), json.dumps(arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Arguments of a build in many small tasks, and the set that it gives when nothing interrupts it."""
    from scdata.build import drafting

    out = tmp_path_factory.mktemp("corpus") / "set"
    arguments = {"source": CORPUS, **CORPUS_ARGUMENTS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drafting, "TASK_NNZ", TASK_NNZ)
        scdata.build_shards(out=out, **arguments)
    return arguments, out


@pytest.fixture(scope="session")
def read_cells():
    """A function: cell_id → (split, place, {token id: count}, totals) of a set of counts, and checks on the way."""

    def read(path):
        opened = ShardSet(path)
        cells = {}
        for split in opened.splits:
            blocks, place = opened.blocks(split), 0
            for i in range(len(blocks.shard)):
                data = opened.shard_path(split, int(blocks.shard[i])).read_bytes()
                start = int(blocks.offset[i])
                block = scdata.decode_block(data[start : start + int(blocks.length[i])], opened.token_of_code)
                for c in range(block.n_cells):
                    part = slice(block.indptr[c], block.indptr[c + 1])
                    counts = dict(zip(block.ids[part].tolist(), block.values[part].tolist(), strict=True))
                    cell_id = int(block.cell_id[c])
                    assert cell_id not in cells, "a cell is stored twice"
                    assert len(counts) == part.stop - part.start, "a gene stands twice in a cell"
                    cells[cell_id] = {
                        "split": split,
                        "place": place,
                        "counts": counts,
                        "total_counts": int(block.total_counts[c]),
                        "vocab_counts": int(block.vocab_counts[c]),
                        "dataset": opened.datasets[block.dataset[c]],
                        "obs": {name: column[c].item() for name, column in block.obs.items()},
                    }
                    place += 1
        return cells

    return read


@pytest.fixture
def make_h5ad(tmp_path):
    """A function: write a matrix with obs and var columns as an h5ad."""

    def make(name, x, obs=None, var=None, **more):
        x = sp.csr_matrix(np.asarray(x, np.float32)) if not sp.issparse(x) else x
        obs = pd.DataFrame(obs or {}, index=[f"{name}-{i}" for i in range(x.shape[0])])
        var = dict(var or {})
        index = var.pop("index", [f"g{i}" for i in range(x.shape[1])])
        var = pd.DataFrame(var, index=index)
        path = tmp_path / f"{name}.h5ad"
        anndata.AnnData(x, obs=obs, var=var, **more).write_h5ad(path)
        return path

    return make


@pytest.fixture(scope="session")
def read_obs():
    """A function: the obs of all splits of a set, by cell_id."""

    def read(path):
        opened = ShardSet(path)
        rows = pa.concat_tables([opened.read_obs(split) for split in opened.splits], promote_options="default")
        return {row["cell_id"]: row for row in rows.to_pylist()}

    return read
