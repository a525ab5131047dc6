"""Small sets for the loader's tests, built once."""

import numpy as np
import pytest

import scdata
from scdata.source import SyntheticSource
from tests.two_datasets import Mixed

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


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    return Mixed(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="session")
def cells_of():
    """A function: cell_id → {key: the cell's part} of batches in any output, padding cut off."""

    def read(batches):
        out = {}
        for batch in batches:
            n = len(batch["cell_id"])
            for i, cell in enumerate(batch["cell_id"].tolist()):
                assert cell not in out
                part = {}
                for key, value in batch.items():
                    if key in ("state", "cu_seqlens", "max_seqlen", "attention_mask"):
                        continue
                    if "cu_seqlens" in batch and len(value) == batch["cu_seqlens"][-1] and key != "cell_id":
                        part[key] = value[batch["cu_seqlens"][i] : batch["cu_seqlens"][i + 1]].tolist()
                    elif "attention_mask" in batch and value.shape == batch["attention_mask"].shape:
                        part[key] = value[i][batch["attention_mask"][i]].tolist()
                    else:
                        assert len(value) == n
                        part[key] = value[i].tolist()
                out[cell] = part
        return out

    return read


@pytest.fixture
def own_preset(tmp_path):
    """A function: a tokenizer of a preset of one's own."""

    def load(text, assets=None, name="own"):
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        return scdata.load_tokenizer(str(path), assets)

    return load
