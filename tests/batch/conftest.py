"""Small sets for the loader's tests, built once."""

import numpy as np
import pytest

import scdata
from scdata.source import SyntheticSource

N_CELLS, N_GENES = 500, 60


@pytest.fixture(scope="session")
def source():
    return SyntheticSource(N_CELLS, n_genes=N_GENES, mean_genes=20, seed=5)


@pytest.fixture(scope="session")
def counts_set(tmp_path_factory, source):
    out = tmp_path_factory.mktemp("sets") / "counts"
    scdata.build_shards(source.uri, out, splits=["val=0.2"], block_size=32, shard_size=1 << 16)
    return out


@pytest.fixture(scope="session")
def ranks_set(tmp_path_factory, source):
    out = tmp_path_factory.mktemp("sets") / "ranks"
    scdata.build_shards(source.uri, out, tokenizer="geneformer-v2", assets="fit", splits=["val=0.2"], block_size=32)
    return out


@pytest.fixture(scope="session")
def expected_cells(source):
    """cell_id → {gene id: count}, from the source itself."""
    names = source.genes.feature_ids
    cells = {}
    for row in range(source.n_obs):
        genes, counts = source.expected(row)
        if len(genes):
            cells[row] = dict(zip([names[g] for g in genes], counts.tolist(), strict=True))
    return cells


@pytest.fixture(scope="session")
def ids_in_order():
    def read(dataset):
        ids = [batch["cell_id"] for batch in dataset]
        return np.concatenate([i.numpy() for i in ids]).tolist() if ids else []

    return read
