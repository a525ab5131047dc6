"""Presets whose original code is not public, against the formulas that their papers, and notes on them, state."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

from scdata.tokens import Draws, load_tokenizer
from scdata.tokens.kernels.levels import decode_levels, n_levels
from scdata.tokens.sequence import Ragged


@pytest.fixture(scope="module")
def cells(demo, golden_demo):
    """Counts of the 20 demo cells."""
    return demo.X[[cell["row"] for cell in golden_demo("scgpt")["cells"]]]


@pytest.fixture(scope="module")
def jepa(golden_demo, write_files, tmp_path_factory):
    own = golden_demo("scgpt")
    ids = {**own["vocabulary_subset"], "(last)": own["special_ids"]["<pad>"] - 1}
    files = {"scgpt/default_census_vocab.json": ids}
    return load_tokenizer("cell-jepa", write_files(tmp_path_factory.mktemp("assets"), files))


def test_cell_jepa_bins(cells, demo, golden_demo, jepa):
    """Values 1–50: how many of 50 quantile edges of the cell's non-zero counts are at or below the count."""
    block = jepa.encode(cells, demo.var["gene_symbol"].tolist())
    golden = golden_demo("scgpt")["cells"]
    assert len(golden) == 20
    for at, cell in enumerate(golden):
        counts = np.array(cell["values"], float)
        edges = np.quantile(counts, np.linspace(0, 1, 50))
        bins = (edges[None, :] <= counts[:, None]).sum(1)
        part = slice(block.indptr[at], block.indptr[at + 1])
        found = dict(zip(block.token_ids[part].tolist(), block.values[part].tolist(), strict=True))
        assert found == dict(zip(cell["gene_ids"], bins.tolist(), strict=True))
        assert set(found.values()) <= set(range(1, 51))


def test_cell_jepa_takes_600_random_genes_behind_cls(cells, demo, jepa):
    block = jepa.encode(cells, demo.var["gene_symbol"].tolist())
    whole = Ragged(block.indptr, block.token_ids, block.values)
    cut = [jepa.finish(whole, Draws(0, epoch, np.arange(20))) for epoch in (0, 1)]
    longer = np.diff(whole.indptr) > 600
    assert 0 < longer.sum() < 20
    for at in range(20):
        own = slice(whole.indptr[at], whole.indptr[at + 1])
        bin_of = dict(zip(block.token_ids[own].tolist(), block.values[own].tolist(), strict=True))
        rows = [slice(ragged.indptr[at], ragged.indptr[at + 1]) for ragged in cut]
        ids = [ragged.token_ids[row].tolist() for ragged, row in zip(cut, rows, strict=True)]
        assert {len(i) for i in ids} == {min(len(bin_of), 600) + 1}
        assert (ids[0] == ids[1]) == (not longer[at])  # others in every epoch
        for i, ragged, row in zip(ids, cut, rows, strict=True):
            assert i[0] == jepa.genes().specials["<cls>"]
            assert ragged.values[row].tolist() == [-2, *(bin_of[gene] for gene in i[1:])]


def level(count):
    """The quantizer on which two notes agree: 0–99 as they are, then 90 steps a decade, then one level for all above 9,999."""
    if count < 100:
        return count
    if count > 9999:
        return 280
    k = math.floor(math.log10(count) + 1e-12)
    return 100 + 90 * (k - 2) + (count - 10**k) // 10 ** (k - 1)


def test_lingshu_levels_of_the_demo_cells(cells, demo):
    tokenizer = load_tokenizer("lingshu-cell")
    block = tokenizer.encode(cells, [f"g{i:05d}" for i in range(demo.n_vars)])
    for at, row in enumerate(cells):
        part = slice(block.indptr[at], block.indptr[at + 1])
        order = np.argsort(row.indices)
        assert block.token_ids[part].tolist() == row.indices[order].tolist()
        assert block.values[part].tolist() == [level(int(count)) for count in row.data[order]]
    assert (block.n_cells, max(block.values) > 100) == (20, True)


def test_lingshu_levels_of_every_count_and_back():
    tokenizer = load_tokenizer("lingshu-cell")
    value = tokenizer.preset.value
    counts = np.arange(1, 12_000)
    found = tokenizer.encode(sp.csr_matrix(counts[:, None]), ["g"]).values
    assert found.tolist() == [level(int(count)) for count in counts]
    assert (n_levels(value.level_starts, value.level_steps), value.mask) == (281, 281)
    lowest = decode_levels(found, value.level_starts, value.level_steps)
    width = np.where(counts < 100, 1, np.where(counts < 1000, 10, 100))
    below = counts < 10_000
    assert (lowest[below] == counts[below] // width[below] * width[below]).all()
    assert set(lowest[~below]) == {10_000}


def test_depth_bins_count_the_edges_of_the_cells_own_stratum():
    """Bin 1 + how many edges of the stratum are at or below ln(1 + x / n · 1e4); the stratum is the last token."""
    rng = np.random.default_rng(0)
    genes = [f"g{i:02d}" for i in range(30)]
    X = rng.poisson(rng.gamma(0.5, 2, (50, 30)) * rng.choice([1, 5, 40], 50)[:, None])
    borders = np.array([60, 300, 1000])
    edges = np.sort(rng.uniform(0, 8, (4, 49)), axis=1)
    tokenizer = load_tokenizer("depth-bins").with_genes(genes, {}).with_fitted(edges=edges, borders=borders)
    block = tokenizer.encode(sp.csr_matrix(X), genes)
    special = tokenizer.genes().specials
    seen = set()
    for at, row in enumerate(X):
        n = row.sum()
        part = slice(block.indptr[at], block.indptr[at + 1])
        ids, values = block.token_ids[part].tolist(), block.values[part].tolist()
        stratum = sum(n >= border for border in borders)
        seen.add(stratum)
        bins = [1 + sum(edge <= np.log1p(x / n * 1e4) for edge in edges[stratum]) for x in row[row > 0]]
        assert ids[:1] + ids[-1:] == [special["<cls>"], special[f"<depth:{stratum}>"]]
        assert [tokenizer.genes().token_ids[genes[i]] for i in np.flatnonzero(row)] == ids[1:-1]
        assert values == [0, *bins, 0]
    assert seen == {0, 1, 2, 3}
