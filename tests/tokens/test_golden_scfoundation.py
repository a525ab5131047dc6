"""scFoundation against the original code: positions, values, depths, alignment of genes, and the encoder's view."""

import itertools

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import scdata
from scdata.batch.views import encoder_view
from scdata.tokens import load_tokenizer
from scdata.tokens.depth import log10_depths
from scdata.tokens.tables import DepthKeys

FILE = "scfoundation/OS_scRNA_gene_index.19264.tsv"
N_GENES, T, S, PAD = 19264, 19264, 19265, 19266
# nothing thinned, and the depth that the outputs ask for
TARGET = 'extends = "scfoundation"\n[depth]\ntarget = "{}"\n[depth.thin]\np = 0\n'
OUTPUTS = ["padded", "packed", "dense"]


def digits(numbers, n):
    """float32 numbers as printed with n significant digits."""
    return [f"{float(x):.{n}g}" for x in np.asarray(numbers, np.float32)]


def as_printed(numbers, n):
    return [f"{float(x):.{n}g}" for x in numbers]


@pytest.fixture(scope="module")
def assets(golden_demo, write_files, tmp_path_factory):
    """The gene list that the demo cells need; the other genes have made-up names."""
    known = {place: gene for gene, place in golden_demo("scfoundation")["gene_positions"].items()}
    table = {known.get(place, f"(gene {place})"): place for place in range(N_GENES)}
    return write_files(tmp_path_factory.mktemp("assets"), {FILE: table})


@pytest.fixture(scope="module")
def demo_set(demo, golden_demo, tmp_path_factory):
    """A set of the counts of the 20 demo cells, its cells in order, and the place of each in it."""
    folder = tmp_path_factory.mktemp("demo")
    rows = [cell["row"] for cell in golden_demo("scfoundation")["cells"]]
    var = pd.DataFrame({"symbol": demo.var["gene_symbol"].tolist()}, index=[f"g{i}" for i in range(demo.n_vars)])
    source = anndata.AnnData(sp.csr_matrix(demo.X[rows]), var=var)
    source.write_h5ad(folder / "demo.h5ad")
    scdata.build_shards(folder / "demo.h5ad", folder / "set")
    return folder / "set"


def test_demo_cells(demo, golden_demo, assets):
    golden = golden_demo("scfoundation")
    cells = golden["cells"]
    tokenizer = load_tokenizer("scfoundation", assets)
    assert dict(tokenizer.genes().specials) == {"<T>": T, "<S>": S, "<pad>": PAD}
    block = tokenizer.encode(demo.X[[cell["row"] for cell in cells]], demo.var["gene_symbol"].tolist())
    assert (len(cells), len(tokenizer.genes().feature_ids)) == (20, golden["n_genes"])
    assert block.vocab_counts.tolist() == [cell["total_in_19264"] for cell in cells]
    assert (block.total_counts - block.vocab_counts).tolist() == [cell["dropped_counts"] for cell in cells]
    assert block.values.dtype == np.float32
    for at, cell in enumerate(cells):
        part = slice(block.indptr[at], block.indptr[at + 1])
        assert block.token_ids[part].tolist() == cell["encoder_positions"][:-2]
        assert digits(block.values[part], 6) == as_printed(cell["encoder_values"][:-2], 6), cell["row"]


@pytest.mark.parametrize("output", OUTPUTS)
def test_batch_of_20(golden_demo, assets, preset_file, demo_set, output):
    """Through the loader: T and S behind the genes, or beside the dense view, whose encoder view is the same."""
    golden = golden_demo("scfoundation")
    whole = golden["batch_of_20"]
    tokenizer = load_tokenizer(preset_file(TARGET.format("t4")), assets)
    options = {"pad_to": whole["longest"]} if output == "padded" else {}
    dataset = scdata.ShardDataset(demo_set, tokenizer=tokenizer, batch_size=20, output=output, **options)
    (batch,) = dataset
    if output == "dense":
        assert batch["values"].shape == (20, N_GENES)
        assert batch["depths"].dtype == torch.float32
        view = encoder_view(batch["values"], batch["depths"], pad_value=whole["pad_value"])
        ids, values, mask = view["positions"], view["values"], view["attention_mask"]
    elif output == "padded":
        ids, values, mask = batch["token_ids"], batch["values"], batch["attention_mask"]
    else:
        parts = batch["cu_seqlens"].tolist()
        rows = [slice(a, b) for a, b in itertools.pairwise(parts)]
        ids, values = [batch["token_ids"][r] for r in rows], [batch["values"][r] for r in rows]
        mask = [torch.ones(len(row), dtype=torch.bool) for row in ids]
        assert batch["max_seqlen"] == whole["longest"]
    if output != "packed":
        assert ids.shape == (20, whole["longest"])
        assert set(ids[~mask].tolist()) == {whole["pad_position"]} == {PAD}
        assert set(values[~mask].tolist()) == {whole["pad_value"] if output == "dense" else 0}
    n_equal = 0
    for i, number in enumerate(batch["cell_id"].tolist()):
        cell = golden["cells"][number]
        own = {int(p): x for p, x in zip(ids[i][mask[i]], digits(values[i][mask[i]], 6), strict=True)}
        assert list(own)[-2:] == [T, S]
        if output == "dense":  # the other outputs have the order of the set; the encoder adds positions
            assert list(own) == cell["encoder_positions"]
        printed = as_printed(cell["encoder_values"], 6)
        assert own == dict(zip(cell["encoder_positions"], printed, strict=True)), cell["row"]
        n_equal += 1
    assert n_equal == whole["cells_equal_with_right_padding"] == 20


def depth_of(target):
    return DepthKeys(tokens=("target", "source"), target=target)


def test_20_other_cells_and_the_whole_gene_list(golden, pbmc, reference):
    own = golden("scfoundation")
    tokenizer = load_tokenizer("scfoundation", reference)
    names = tokenizer.genes().feature_ids
    assert (len(names), list(names[:5]), list(names[-5:])) == (
        own["gene_order"]["n"],
        own["gene_order"]["first5"],
        own["gene_order"]["last5"],
    )
    symbols = golden("cells_pbmc10k")["genes_symbol"]
    assert tokenizer.map_ids(symbols).tolist() == own["gene_order"]["position_of_cell_genes"]
    block, cells = tokenizer.encode(pbmc, symbols), own["real"]
    assert len(cells) == 20
    assert block.vocab_counts.tolist() == [cell["total_in_19264"] for cell in cells]
    for target in ("t4", "f1", "a5"):
        found = log10_depths(depth_of(target), block.vocab_counts, block.vocab_counts)
        assert found.tolist() == [cell[f"T_S_{target}"] for cell in cells]
    for at, cell in enumerate(cells):
        part = slice(block.indptr[at], block.indptr[at + 1])
        assert block.token_ids[part].tolist() == cell["encoder_positions"][:-2]
        assert digits(block.values[part], 7) == as_printed(cell["encoder_values_float32"][:-2], 7), cell["cell_id"]
        assert cell["encoder_positions"][-2:] == [T, S]
        depths = log10_depths(depth_of(cell["tgthighres_of_values"]), block.vocab_counts, block.vocab_counts)[at]
        assert digits(depths, 7) == as_printed(cell["encoder_values_float32"][-2:], 7)


@pytest.mark.parametrize("target", ["t4", "f1", "a5", "f2.5"])
def test_small_cells(golden, write_files, preset_file, tmp_path, target):
    """Eight genes, every target: through a set, the dense view and the encoder's."""
    (case,) = [case for case in golden("scfoundation")["tiny"] if case.get("tgthighres") == target]
    assert len([case for case in golden("scfoundation")["tiny"] if "tgthighres" in case]) == 4
    genes = [f"G{i}" for i in range(8)]
    folder = write_files(tmp_path, {FILE: {gene: i for i, gene in enumerate(genes)}})
    tokenizer = load_tokenizer(preset_file(TARGET.format(target)), folder)
    X = sp.csr_matrix(np.array(case["counts"], np.float32))
    anndata.AnnData(X, var=pd.DataFrame(index=genes)).write_h5ad(tmp_path / "a.h5ad")
    scdata.build_shards(tmp_path / "a.h5ad", tmp_path / "set")
    (batch,) = scdata.ShardDataset(tmp_path / "set", tokenizer=tokenizer, output="dense")
    order = np.argsort(batch["cell_id"].numpy())
    assert log10_depths(depth_of(target), *[np.array(case["total"], np.int64)] * 2).tolist() == case["T_S"]
    values, depths = batch["values"][order], batch["depths"][order]
    decoder = torch.cat([values, depths], 1)
    assert decoder.shape[1] == case["seq_len"]
    assert decoder.tolist() == case["decoder_data"] == case["new_data_raw"]
    assert torch.equal(batch["targets"][order], values)
    view = encoder_view(values, depths, pad_value=case["pad_token_id"])
    assert view["positions"].tolist() == case["encoder_position_gene_ids"]
    assert view["values"].tolist() == case["encoder_data"]
    assert (~view["attention_mask"]).tolist() == case["encoder_data_padding"]
    assert (decoder > 0).tolist() == case["encoder_data_labels"]


def test_gather_data(golden):
    (case,) = [case for case in golden("scfoundation")["tiny"] if case.get("name") == "gatherData"]
    data, labels = torch.tensor(case["data"]), torch.tensor(case["labels"])
    view = encoder_view(data, hidden=~labels, pad_value=case["pad_token_id"])
    assert view["values"].tolist() == case["new_data"]
    assert (~view["attention_mask"]).tolist() == case["padding_labels"]


def test_gene_selection(golden, write_files, tmp_path):
    case = golden("scfoundation")["gene_selection"]
    folder = write_files(tmp_path, {FILE: {gene: i for i, gene in enumerate(case["gene_list"])}})
    block = load_tokenizer("scfoundation", folder).encode(sp.csr_matrix(np.array([case["row"]])), case["input_columns"])
    aligned = np.zeros(len(case["gene_list"]), np.int64)
    total = sum(case["output"][0])  # over the list's genes alone
    aligned[block.token_ids] = np.round(np.expm1(block.values.astype(float)) / 1e4 * total)
    assert [aligned.tolist()] == case["output"]
    assert block.vocab_counts.tolist() == [total]


def test_equal_names_are_summed_and_a_wider_table_is_aligned(write_files, tmp_path):
    # the original keeps tables of at least 19,264 columns as they are, and both of two equal columns
    genes = ["A", "B", "C"]
    folder = write_files(tmp_path, {FILE: {gene: i for i, gene in enumerate(genes)}})
    tokenizer = load_tokenizer("scfoundation", folder)
    wide = tokenizer.encode(sp.csr_matrix(np.array([[4, 9, 1, 2, 5]])), ["B", "x", "A", "B", "y"])
    narrow = tokenizer.encode(sp.csr_matrix(np.array([[1, 6]])), ["A", "B"])
    assert wide.token_ids.tolist() == narrow.token_ids.tolist() == [0, 1]
    assert wide.values.tolist() == narrow.values.tolist()


def test_a_cell_with_one_count_keeps_its_depth_in_the_sequence(write_files, preset_file, tmp_path):
    genes = ["A", "B"]
    folder = write_files(tmp_path, {FILE: {gene: i for i, gene in enumerate(genes)}})
    anndata.AnnData(sp.csr_matrix(np.array([[0, 1]], np.float32)), var=pd.DataFrame(index=genes)).write_h5ad(
        tmp_path / "a.h5ad"
    )
    scdata.build_shards(tmp_path / "a.h5ad", tmp_path / "set")
    tokenizer = load_tokenizer(preset_file(TARGET.format("t4")), folder)
    (batch,) = scdata.ShardDataset(tmp_path / "set", tokenizer=tokenizer, output="packed")
    assert batch["token_ids"].tolist() == [1, 2, 3]
    assert batch["values"].tolist()[1:] == [4.0, 0.0]
    # the encoder's view of a dense batch leaves a depth of 0 out, as the original does
    (dense,) = scdata.ShardDataset(tmp_path / "set", tokenizer=tokenizer, output="dense")
    assert encoder_view(dense["values"], dense["depths"])["positions"].tolist() == [[1, 2]]
