"""The plain references against scdata on the demo cells, and the benchmark at tiny size."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from scdata.normalize.library_size import log1p_normalized
from scdata.resources import resource
from scdata.source import open_source
from scdata.tokens.kernels.binning import quantile_bins
from scdata.tokens.kernels.levels import count_levels
from scdata.tokens.kernels.rank_tokens import rank_tokens

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def plain():
    sys.path.insert(0, str(FOLDER))
    try:
        import plain_tokenizers
    finally:
        sys.path.remove(str(FOLDER))
    return plain_tokenizers


@pytest.fixture(scope="module")
def X():
    source = open_source(resource("demo/demo_pbmc_ifnb_1k.h5ad"))
    block = source.read(slice(0, 60))
    X = sp.csr_matrix((block.data.astype(np.float32), block.indices, block.indptr), (60, len(source.genes)))
    X.sort_indices()
    return X


def arrays(X):
    return X.indptr.astype(np.int64), X.indices.astype(np.int32), X.data.astype(np.int32)


def test_geneformer(plain, X):
    indptr, genes, counts = arrays(X)
    total = np.asarray(X.sum(1), np.int64).ravel() + 10
    medians = np.exp(np.random.default_rng(0).normal(0, 1, X.shape[1]))
    tokens = np.arange(X.shape[1], dtype=np.int32) + 4
    ours = rank_tokens(indptr, genes, counts, total, 1e4, medians, tokens)
    for function in (plain.geneformer_as_written, plain.geneformer_numpy):
        assert np.concatenate(function(X.astype(np.float64), total, medians, tokens)).tolist() == ours.tolist()
    # the originals' float32 may swap neighbours, and nothing else
    single = np.concatenate(plain.geneformer_as_written(X, total, medians, tokens))
    assert (single == ours).mean() > 0.99


def test_scgpt(plain, X):
    indptr, _, counts = arrays(X)
    low, high = quantile_bins(indptr, counts, 51)
    assert np.concatenate(plain.scgpt_bins(X, 51, None)).tolist() == high.tolist()
    drawn = np.concatenate(plain.scgpt_bins(X, 51, np.random.default_rng(0)))
    assert (low <= drawn).all()
    assert (drawn <= high).all()
    assert (drawn < high).any()


def test_cell_jepa(plain, X):
    indptr, genes, counts = arrays(X)
    _, high = quantile_bins(indptr, counts, 51)
    for i, (own, bins) in enumerate(plain.cell_jepa(X, 51, 300, np.random.default_rng(0))):
        row = slice(indptr[i], indptr[i + 1])
        of_gene = dict(zip(genes[row].tolist(), high[row].tolist(), strict=True))
        assert len(set(own.tolist())) == min(300, indptr[i + 1] - indptr[i])
        assert [of_gene[gene] for gene in own.tolist()] == bins.tolist()


def test_scfoundation(plain, X):
    indptr, genes, counts = arrays(X)
    total = np.asarray(X.sum(1), np.int64).ravel()
    values = log1p_normalized(indptr, counts, total, 1e4)
    for i, (positions, own) in enumerate(plain.scfoundation_encoder(X)):
        row = slice(indptr[i], indptr[i + 1])
        assert positions.tolist() == [*genes[row].tolist(), X.shape[1], X.shape[1] + 1]
        np.testing.assert_allclose(own[:-2], values[row], rtol=1e-6)
        np.testing.assert_allclose(own[-2:], np.log10(total[i]), rtol=1e-6)


def test_thinning(plain, X):
    rng, counts = np.random.default_rng(0), arrays(X)[2]
    same = np.concatenate(plain.thinned(X, 0.0, 2, 2, 0, rng))
    assert same.tolist() == counts.tolist()
    half = np.concatenate(plain.thinned(X, 1.0, 200, 200, 0, rng))
    assert 0.45 < half.sum() / counts.sum() < 0.55
    assert (half <= counts).all()


def test_transcriptformer(plain, X):
    for i, (genes, counts) in enumerate(plain.transcriptformer(X, 30, 200, np.random.default_rng(0))):
        row = X[i].toarray()[0]
        assert len(set(genes.tolist())) == len(genes) == min(200, (row > 0).sum())
        assert counts.tolist() == np.minimum(row[genes], 30).tolist()


def test_lingshu(plain):
    starts, steps = (0, 100, 1000, 10000), (1, 10, 100)
    counts = np.array([[0, 5, 99, 100, 109, 110, 999, 1000, 9999, 10000, 70000]], np.float32)
    found = plain.lingshu_levels(sp.csr_matrix(counts), starts, steps)[0]
    assert found.tolist() == count_levels(counts[0].astype(np.int32), starts, steps).tolist()


def test_bench(tmp_path):
    command = [sys.executable, str(FOLDER / "bench_tokenizers.py"), "--rounds=1", "--seconds=0", f"--out={tmp_path}"]
    done = subprocess.run(
        [*command, f"--h5ad={resource('demo/demo_pbmc_ifnb_1k.h5ad')}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert table == json.loads((tmp_path / "bench_tokenizers.json").read_text())
    assert table["skipped"] == {}
    assert {"geneformer ranks, as written", "scgpt bins, random ties"} <= {
        row["name"] for row in table["against_plain"]
    }
    assert all(row["ratio"] > 0 for row in table["against_plain"])
    assert {"counts", "depth-bins", "geneformer-v2", "scgpt"} <= {row["name"] for row in table["presets"]}
    assert "against plain code" in done.stderr
