"""What the original code of Geneformer and scGPT gives for cells of the demo file (golden_demo/README.md)."""

import gzip
import hashlib
import json
from pathlib import Path

import anndata
import numpy as np
import pytest

import scdata
from scdata.resources import resource
from scdata.tokens import Draws, load_tokenizer

GOLDEN = Path(__file__).resolve().parents[1] / "golden_demo"
V2 = "geneformer/v2_gc104M"
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:anndata")


def read(name):
    return json.loads(gzip.decompress((GOLDEN / name).read_bytes()))


def write(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(table).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture(scope="module")
def demo():
    return anndata.read_h5ad(resource("demo/demo_pbmc_ifnb_1k.h5ad"))


@pytest.fixture(scope="module")
def geneformer(tmp_path_factory):
    golden = read("geneformer.json.gz")["V2"]
    assets = tmp_path_factory.mktemp("assets")
    write(assets / V2 / "token_dictionary.json.gz", {**golden["special"], **golden["tokens"]})
    write(assets / V2 / "gene_median_dictionary.json.gz", golden["medians"])
    write(assets / V2 / "ensembl_mapping_dict.json.gz", golden["alias"])
    return load_tokenizer("geneformer-v2", str(assets)), golden


@pytest.fixture(scope="module")
def scgpt_assets(tmp_path_factory):
    golden = read("scgpt.json.gz")
    assets = tmp_path_factory.mktemp("assets")
    # the last gene of the whole vocabulary gives the special tokens their published ids
    ids = {**golden["vocabulary_subset"], "(last)": golden["special_ids"]["<pad>"] - 1}
    write(assets / "scgpt" / "default_census_vocab.json", ids)
    return str(assets), golden


def test_the_demo_file_is_the_one_the_goldens_are_of():
    data = resource("demo/demo_pbmc_ifnb_1k.h5ad").read_bytes()
    assert hashlib.sha256(data).hexdigest() == read("scgpt.json.gz")["inputs"]["sha256"]


@pytest.mark.parametrize("which", ["cells", "repeated_id_cells"])
def test_geneformer_v2(demo, geneformer, which):
    tokenizer, golden = geneformer
    cells = golden[which]
    rows = [cell["row"] for cell in cells]
    block = tokenizer.encode(demo.X[rows], demo.var["ensembl_id"].tolist())
    assert len(cells) == {"cells": 20, "repeated_id_cells": 2}[which]
    assert block.total_counts.tolist() == [cell["n_counts"] for cell in cells]
    assert block.n_tokens.tolist() == [cell["length"] for cell in cells]
    for at, cell in enumerate(cells):
        assert cell["tie_groups"] == []
        found = block.token_ids[block.indptr[at] : block.indptr[at + 1]]
        assert found.tolist() == cell["input_ids"], f"row {cell['row']}"
    assert block.values is None
    assert block.token_ids.dtype == np.uint16


def test_scgpt(demo, scgpt_assets):
    assets, golden = scgpt_assets
    tokenizer = scdata.load_tokenizer("scgpt", assets=assets)
    assert dict(tokenizer.vocab.specials) == golden["special_ids"]
    rows = [cell["row"] for cell in golden["cells"]]
    symbols = demo.var["gene_symbol"].tolist()
    block = tokenizer.encode(demo.X[rows], symbols)
    counts = tokenizer_with_counts(assets).encode(demo.X[rows], symbols)
    assert len(rows) == 20
    for at, cell in enumerate(golden["cells"]):
        part = slice(block.indptr[at], block.indptr[at + 1])
        order = np.argsort(cell["gene_ids"])  # ours rise by id, the original's follow the columns
        values = np.array(cell["values"])[order]
        assert block.token_ids[part].tolist() == np.array(cell["gene_ids"])[order].tolist()
        assert counts.values[part].tolist() == values.tolist()
        upper = [cell["value_to_bin_interval"][str(value)][1] for value in values]
        assert block.values[part].tolist() == upper, f"row {cell['row']}"
    assert block.vocab_counts.tolist() == [sum(cell["values"]) for cell in golden["cells"]]


def preset_file(folder, name, old, new):
    text = (resource("tokenizers/presets") / "scgpt.toml").read_text()
    assert old in text
    path = Path(folder) / f"{name}.toml"
    path.write_text(text.replace(old, new))
    return str(path)


def tokenizer_with_counts(assets):
    """scGPT's vocabulary with raw counts."""
    return load_tokenizer(preset_file(assets, "raw", 'kind = "quantile"', 'kind = "counts"'), assets)


def test_scgpt_with_random_ties_draws_every_bin_of_the_interval(demo, scgpt_assets):
    assets, golden = scgpt_assets
    tokenizer = load_tokenizer(preset_file(assets, "drawn", 'ties = "upper"', 'ties = "random"'), assets)
    counts = tokenizer_with_counts(assets)
    cells = golden["cells"]
    raw = counts.encode(demo.X[[cell["row"] for cell in cells]], demo.var["gene_symbol"].tolist())
    genes = np.searchsorted(tokenizer.vocab.gene_tokens, raw.token_ids).astype(np.int32)
    interval = np.array(
        [
            cell["value_to_bin_interval"][str(value)]
            for at, cell in enumerate(cells)
            for value in raw.values[raw.indptr[at] : raw.indptr[at + 1]]
        ]
    )
    ids = np.arange(len(cells))
    epochs = []
    for epoch in range(300):
        draws = Draws(0, epoch, ids)
        epochs.append(tokenizer.tokenize(raw.indptr, genes, raw.values, raw.total_counts, draws).values)
    drawn = np.array(epochs)
    assert (drawn >= interval[:, 0]).all()
    assert (drawn <= interval[:, 1]).all()
    for at, cell in enumerate(cells):
        part = slice(raw.indptr[at], raw.indptr[at + 1])
        for value, (low, high) in cell["value_to_bin_interval"].items():
            seen = drawn[:, part][:, raw.values[part] == int(value)]
            assert set(np.unique(seen).tolist()) == set(range(low, high + 1)), (cell["row"], value)


def test_random_ties_are_uniform_and_belong_to_the_token(demo, scgpt_assets):
    assets, _ = scgpt_assets
    tokenizer = load_tokenizer(preset_file(assets, "drawn2", 'ties = "upper"', 'ties = "random"'), assets)
    n = 1000
    ones = np.ones(n, np.int32)
    genes = np.arange(n, dtype=np.int32)

    def draw(order, epoch, cell):
        draws = Draws(1, epoch, np.array([cell]))
        return tokenizer.tokenize(np.array([0, n]), genes[order], ones, np.array([n]), draws).values

    drawn = np.concatenate([draw(slice(None), epoch, 5) for epoch in range(50)])
    shares = np.bincount(drawn, minlength=51)[1:] / len(drawn)  # all 50 edges are 1
    assert abs(shares * 50 - 1).max() < 0.15
    back = np.arange(n)[::-1]
    assert draw(back, 3, 5)[::-1].tolist() == draw(slice(None), 3, 5).tolist()
    assert (draw(slice(None), 3, 5) != draw(slice(None), 4, 5)).any()
    assert (draw(slice(None), 3, 5) != draw(slice(None), 3, 6)).any()
