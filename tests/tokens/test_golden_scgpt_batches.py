"""scGPT's collator and its tokenizing for fine-tuning, as the original code ran them, against what the loader gives.

Which genes of an over-long cell stay is drawn, by another generator than the original's; everything else is compared exactly.
"""

import numpy as np
import pytest
import scipy.sparse as sp

import scdata
from scdata.tokens import Draws, load_tokenizer
from scdata.tokens.tokenizer import Ragged

CASES = [
    "main_mlm_len64",
    "main_mlm_len1200",
    "main_truncate_no_sampling_len64",
    "pretrain_pcpt_len64",
    "pretrain_gen_len64",
    "pretrain_both_len65",
    "pretrain_both_len1200",
    "main_mlm_padding_len5000",
]
PAIRS = [("gene", "expr"), ("pcpt_gene", "pcpt_expr"), ("gen_gene", "gen_expr_target")]
CLS, PAD = 60695, 60694
FIRST = "extends = 'scgpt'\n[genes]\ncut = 'first'\n"


def original(golden, name):
    (case,) = [case for case in golden("scgpt")["collator"] if case["name"] == name]
    return case


def streamed(pbmc_set, tokenizer, **options):
    """cell → (token ids, values, width) from the loader; the number in `pbmc_names` is the cell's id."""
    (batch,) = scdata.ShardDataset(pbmc_set, tokenizer=tokenizer, batch_size=20, **options)
    return {
        int(cell): (batch["token_ids"][i].tolist(), batch["values"][i].tolist())
        for i, cell in enumerate(batch["cell_id"])
    }


def test_these_are_all_cases(golden):
    assert [case["name"] for case in golden("scgpt")["collator"]] == CASES
    assert len(golden("scgpt")["tokenize_and_pad_batch"]) == 3


@pytest.mark.parametrize("name", CASES)
def test_what_the_original_collates_are_our_genes_and_bins(golden, pbmc_bins, name):
    case = original(golden, name)
    exact = name.startswith("pretrain")
    for genes_key, values_key in PAIRS:
        rows = zip(case["cells"], case["output"].get(genes_key, []), case["output"].get(values_key, []), strict=False)
        for cell, genes, values in rows:
            begin = 0
            if genes_key != "gen_gene":
                assert (genes[0], values[0]) == (CLS, -2)
                begin = 1
            for gene, value in zip(genes[begin:], values[begin:], strict=True):
                if gene == PAD:
                    assert value == -2
                else:
                    low, high = pbmc_bins[cell][gene]
                    # the pretraining branch takes the upper end; main draws inside the interval
                    assert value == high if exact else low <= value <= high
    if name.startswith("pretrain_both"):
        # the split in perceived and generated genes is drawn by the objective; both are parts of one sequence of ours
        for cell, seen, made in zip(
            case["cells"], case["output"]["pcpt_gene"], case["output"]["gen_gene"], strict=True
        ):
            assert not set(seen) & set(made)
            assert set(seen) | set(made) <= {*pbmc_bins[cell], CLS}


@pytest.mark.parametrize("name", [name for name in CASES if "truncate" not in name and "both" not in name])
def test_batches_have_the_originals_shape(golden, pbmc_bins, pbmc_names, pbmc_set, reference, name):
    case = original(golden, name)
    genes_key = "pcpt_gene" if name == "pretrain_gen_len64" else "gene"
    theirs = case["output"][genes_key]
    width = len(theirs[0])
    longest = max(len(pbmc_bins[cell]) + 1 for cell in case["cells"])
    assert width == min(case["params"]["max_length"], longest)
    # a batch of ours is rounded up to 64, or as wide as one says
    limit = case["params"]["max_length"]
    ours = streamed(pbmc_set, load_tokenizer("scgpt", reference), context_length=limit, pad_to=max(width, limit))
    for cell, other in zip(case["cells"], theirs, strict=True):
        ids, values = ours[pbmc_names.index(cell)]
        n = min(limit, len(pbmc_bins[cell]) + 1)
        assert (len(ids), ids.index(PAD) if PAD in ids else len(ids)) == (max(width, limit), n)
        assert sum(token != PAD for token in other) == n
        assert (ids[0], values[0]) == (CLS, -2)
        assert set(ids[n:]) <= {PAD}
        assert set(values[n:]) <= {-2}
        assert len(set(ids[1:n])) == n - 1
        assert all(pbmc_bins[cell][gene][1] == value for gene, value in zip(ids[1:n], values[1:n], strict=True))
        if n < limit:
            assert set(ids[:n]) == set(other[:n])  # nothing was cut


def test_a_batch_is_as_wide_as_its_longest_cell_rounded_up(pbmc_bins, pbmc_names, pbmc_set, reference):
    ours = streamed(pbmc_set, load_tokenizer("scgpt", reference), context_length=5000)
    longest = max(len(genes) + 1 for genes in pbmc_bins.values())
    assert {len(ids) for ids, _ in ours.values()} == {-(-longest // 64) * 64}


def test_cut_first_keeps_the_lowest_ids_and_the_original_the_first_columns(
    golden, pbmc_bins, pbmc_names, pbmc_set, reference, preset_file
):
    case = original(golden, "main_truncate_no_sampling_len64")
    ours = streamed(pbmc_set, load_tokenizer(preset_file(FIRST), reference), context_length=64)
    of_column = golden("scgpt")["gene_ids_for_cells"]["ids"]
    for cell, theirs in zip(case["cells"], case["output"]["gene"], strict=True):
        columns = [gene for gene in of_column if gene in pbmc_bins[cell]]
        assert theirs == [CLS, *columns[:63]]
        ids, values = ours[pbmc_names.index(cell)]
        assert sorted(ids[1:]) == sorted(columns)[:63]
        assert ids[0] == CLS
        assert values[1:] == [pbmc_bins[cell][gene][1] for gene in ids[1:]]


def fine_tuning(preset_file, reference, genes, n, zeros):
    """The tokenizer of a fixed list of genes, values as they come, 0 beside <cls>."""
    text = (
        f'extends = "scgpt"\ncontext_length = {n}\n[genes]\nchoice = "hvg"\nn = {len(genes)}\nzeros = {zeros}\n'
        '[value]\nkind = "counts"\nspecial = 0\n'
    )
    tokenizer = load_tokenizer(preset_file(text), reference)
    place = np.searchsorted(tokenizer.genes().gene_tokens, np.sort(genes))
    return tokenizer.with_fitted(selected=place.astype(np.int32))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_tokenize_and_pad_for_fine_tuning(golden, reference, preset_file, number):
    case = golden("scgpt")["tokenize_and_pad_batch"][number]
    zeros, genes = case["include_zero_gene"], np.array(case["gene_ids"])
    tokenizer = fine_tuning(preset_file, reference, genes, case["max_len"], str(zeros).lower())
    assert (genes >= 0).all()
    X = sp.csr_matrix(np.array(case["counts"]))
    place = np.searchsorted(tokenizer.genes().gene_tokens, genes)
    symbols = [tokenizer.genes().feature_ids[i] for i in place]
    block = tokenizer.encode(X, symbols)
    draws = Draws(0, 0, np.arange(X.shape[0]))
    ragged = tokenizer.finish(Ragged(block.indptr, block.token_ids, block.values), draws)
    rows = zip(case["counts"], case["genes"], case["values"], np.diff(ragged.indptr), ragged.indptr, strict=False)
    for counts, their_genes, their_values, n, start in rows:
        ids, values = ragged.token_ids[start : start + n].tolist(), ragged.values[start : start + n].tolist()
        whole = {int(g): c for g, c in zip(genes, counts, strict=True) if zeros or c}
        theirs = [(g, v) for g, v in zip(their_genes, their_values, strict=True) if g != PAD]
        assert (ids[0], values[0]) == theirs[0] == (CLS, 0)
        assert n == len(theirs) == min(case["max_len"], len(whole) + 1)
        assert all(whole[g] == v for g, v in theirs[1:])
        assert len(set(ids)) == n
        assert all(whole[g] == v for g, v in zip(ids[1:], values[1:], strict=True))
        if n == len(whole) + 1:  # nothing is cut; the original has them by column, ours by id
            assert sorted(zip(ids, values, strict=True)) == sorted(theirs)
        pads = [v for g, v in zip(their_genes, their_values, strict=True) if g == PAD]
        assert set(pads) <= {tokenizer.preset.value.pad}


def test_fine_tuning_keeps_every_zero_where_there_is_room(golden, reference, preset_file):
    case = golden("scgpt")["tokenize_and_pad_batch"][1]
    genes = np.array(case["gene_ids"])
    tokenizer = fine_tuning(preset_file, reference, genes, 61, "true")
    symbols = [tokenizer.genes().feature_ids[i] for i in np.searchsorted(tokenizer.genes().gene_tokens, genes)]
    block = tokenizer.encode(sp.csr_matrix(np.array(case["counts"])), symbols)
    ragged = tokenizer.finish(Ragged(block.indptr, block.token_ids, block.values), None)
    order = np.argsort(genes)
    for at, counts in enumerate(case["counts"]):
        part = slice(ragged.indptr[at], ragged.indptr[at + 1])
        assert ragged.token_ids[part].tolist() == [CLS, *genes[order]]
        assert ragged.values[part].tolist() == [0, *np.array(counts)[order]]
