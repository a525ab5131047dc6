"""scGPT against the original code: binning of 20 cells of the demo file, 20 other cells, and small vectors."""

import numpy as np
import pytest
from scipy.stats import chi2

from scdata.tokens import Draws, load_tokenizer
from scdata.tokens.kernels.binning import quantile_bins

RANDOM = 'extends = "scgpt"\n[value]\nties = "random"\n'
COUNTS = 'extends = "scgpt"\n[value]\nkind = "counts"\n'


@pytest.fixture(scope="module")
def assets(golden_demo, write_files, tmp_path_factory):
    """The vocabulary that the demo cells need."""
    own = golden_demo("scgpt")
    # the last gene of the whole vocabulary gives the special tokens their published ids
    ids = {**own["vocabulary_subset"], "(last)": own["special_ids"]["<pad>"] - 1}
    return write_files(tmp_path_factory.mktemp("assets"), {"scgpt/default_census_vocab.json": ids})


def replayed(low, high, uniform):
    """What the original draws with these numbers: ceil(u · (R − L) + L) where R < L, which is low = R + 1, high = L."""
    drawn = np.ceil(uniform * (low - 1.0 - high) + high)
    return np.where(low < high, drawn, high).astype(int)


def test_demo_cells(demo, golden_demo, assets, preset_file):
    golden = golden_demo("scgpt")
    tokenizer = load_tokenizer("scgpt", assets)
    assert dict(tokenizer.genes().specials) == golden["special_ids"]
    cells, symbols = golden["cells"], demo.var["gene_symbol"].tolist()
    X = demo.X[[cell["row"] for cell in cells]]
    block = tokenizer.encode(X, symbols)
    counts = load_tokenizer(preset_file(COUNTS), assets).encode(X, symbols)
    assert len(cells) == 20
    assert block.vocab_counts.tolist() == [sum(cell["values"]) for cell in cells]
    for at, cell in enumerate(cells):
        part = slice(block.indptr[at], block.indptr[at + 1])
        order = np.argsort(cell["gene_ids"])  # ours rise by id, the original's follow the columns
        values = np.array(cell["values"])[order]
        assert block.token_ids[part].tolist() == np.array(cell["gene_ids"])[order].tolist()
        assert counts.values[part].tolist() == values.tolist()
        interval = np.array([cell["value_to_bin_interval"][str(value)] for value in values])
        assert block.values[part].tolist() == interval[:, 1].tolist(), f"row {cell['row']}"
        low, high = quantile_bins(np.array([0, len(values)]), values.astype(np.int32), golden["n_bins"])
        assert np.stack([low, high], 1).tolist() == interval.tolist()
        # with the original's random numbers the interval gives the original's draw
        uniform = np.random.RandomState(0).rand(len(values))[order]
        assert replayed(low, high, uniform).tolist() == np.array(cell["bins_seed0"])[order].tolist()


def test_random_ties_reach_every_bin_of_the_interval_and_are_uniform(demo, golden_demo, assets, preset_file):
    cells = golden_demo("scgpt")["cells"]
    tokenizer = load_tokenizer(preset_file(RANDOM), assets)
    raw = load_tokenizer(preset_file(COUNTS), assets).encode(
        demo.X[[cell["row"] for cell in cells]], demo.var["gene_symbol"].tolist()
    )
    genes = np.searchsorted(tokenizer.genes().gene_tokens, raw.token_ids).astype(np.int32)
    ids, drawn = np.arange(len(cells)), []
    for epoch in range(300):
        ragged = tokenizer.tokenize(raw.indptr, genes, raw.values, raw.total_counts, Draws(0, epoch, ids))
        drawn.append(ragged.values)
    drawn, statistic, freedom = np.array(drawn), 0.0, 0
    for at, cell in enumerate(cells):
        part = slice(raw.indptr[at], raw.indptr[at + 1])
        for value, (low, high) in cell["value_to_bin_interval"].items():
            seen = drawn[:, part][:, raw.values[part] == int(value)]
            assert set(np.unique(seen).tolist()) == set(range(low, high + 1)), (cell["row"], value)
            if low < high:
                times = np.bincount((seen - low).ravel(), minlength=high - low + 1)
                statistic += ((times - times.mean()) ** 2 / times.mean()).sum()
                freedom += high - low
    assert freedom > 500
    assert 1e-3 < chi2.sf(statistic, freedom) < 1 - 1e-3


def test_random_ties_belong_to_the_token_the_cell_and_the_epoch(assets, preset_file):
    tokenizer = load_tokenizer(preset_file(RANDOM), assets)
    n = 1000
    ones, genes = np.ones(n, np.int32), np.arange(n, dtype=np.int32)

    def draw(order, epoch, cell):
        draws = Draws(1, epoch, np.array([cell]))
        return tokenizer.tokenize(np.array([0, n]), genes[order], ones, np.array([n]), draws).values

    times = np.bincount(np.concatenate([draw(slice(None), epoch, 5) for epoch in range(50)]), minlength=51)[1:]
    assert chi2.sf(((times - n) ** 2 / n).sum(), 49) > 1e-3  # all 50 edges are 1
    back = np.arange(n)[::-1]
    assert draw(back, 3, 5)[::-1].tolist() == draw(slice(None), 3, 5).tolist()
    assert (draw(slice(None), 3, 5) != draw(slice(None), 4, 5)).any()
    assert (draw(slice(None), 3, 5) != draw(slice(None), 3, 6)).any()


def test_20_other_cells_and_the_whole_vocabulary(golden, pbmc, reference):
    own = golden("scgpt")
    cells, tokenizer = own["real_binning"], load_tokenizer("scgpt", reference)
    block = tokenizer.encode(pbmc, golden("cells_pbmc10k")["genes_symbol"])
    of_column = np.array(own["gene_ids_for_cells"]["ids"])
    assert dict(tokenizer.genes().specials) == own["special_ids"]
    assert len(tokenizer.genes().feature_ids) == own["provenance"]["vocab"]["n"] == 60694
    assert len(cells) == 20
    for at, cell in enumerate(cells):
        part = slice(block.indptr[at], block.indptr[at + 1])
        row = pbmc[[at]]
        known = of_column[row.indices] >= 0
        ids, counts = of_column[row.indices][known], row.data[known]
        order = np.argsort(ids)
        assert block.token_ids[part].tolist() == ids[order].tolist()
        interval = np.array([cell["value_to_digit_interval"][str(count)] for count in counts])
        assert block.values[part].tolist() == interval[order, 1].tolist(), cell["cell_id"]
        assert len(ids) == cell["n_in_vocab"]
        low, high = quantile_bins(np.array([0, len(counts)]), counts.astype(np.int32), 51)
        assert np.stack([low, high], 1).tolist() == interval.tolist()
        uniform = np.random.RandomState(cell["numpy_legacy_seed"]).rand(len(counts))
        assert replayed(low, high, uniform).tolist() == cell["binned"], cell["cell_id"]


def test_small_vectors(golden):
    cases = golden("scgpt")["tiny"]
    assert len(cases) == 27
    for case in cases:
        values = np.array(case["values"])
        # values that are no counts are scaled to whole numbers, which changes no bin
        counts = np.round(values * 10**7).astype(np.int64) if case["name"] == "log1p_like" else values
        nonzero = counts[counts > 0].astype(np.int32)
        low, high = quantile_bins(np.array([0, len(nonzero)]), nonzero, case["n_bins"])
        assert high.tolist() == case.get("side_one", []), case["name"]
        interval = {float(v): d for v, d in case.get("value_to_digit_interval", {}).items()}
        expected = [interval[min(interval, key=lambda k, v=v: abs(k - v))] for v in values[values > 0]]
        assert [list(pair) for pair in zip(low.tolist(), high.tolist(), strict=True)] == expected
        binned = np.zeros(len(values), int)
        binned[values > 0] = replayed(low, high, np.array(case["rands_for_nonzeros"]))
        assert binned.tolist() == case["binned"], (case["name"], case["numpy_legacy_seed"])
