"""TranscriptFormer against the original dataset class: demo cells, 20 other cells, and small runs of every setting."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdata
from scdata.tokens import Draws, load_tokenizer
from scdata.tokens.sequence import Ragged

VOCAB, ASSAYS = "transcriptformer/vocab.json.gz", "transcriptformer/assay_vocab.json"
# the class as it is run for inference: nothing drawn
STORED = 'extends = "transcriptformer"\ncontext_length = {}\n[genes]\norder = "{}"\ncut = "first"\n{}[value]\n{}'
RANDOM = 'extends = "transcriptformer"\ncontext_length = {}\n'
PLAIN = STORED.format(2047, "stored", "", "")
TINY = {
    "default_pad_to_12": STORED.format(12, "stored", "", ""),
    "truncate_4": STORED.format(4, "stored", "", ""),
    "sort_genes": STORED.format(12, "descending", "", ""),
    "no_clip": STORED.format(8, "stored", "", "clip = 10_000_000_000"),
    "normalize_1000_then_clip": STORED.format(8, "stored", "", "scale = 1000.0"),
    "keep_zero_tokens": STORED.format(8, "stored", 'fill = "unexpressed"\n', ""),
    "with_assay": STORED.format(8, "stored", "", ""),
    "randomize_seed0": RANDOM.format(12),
    "randomize_truncate_seed1": RANDOM.format(3),
}
DRAWN = {"keep_zero_tokens", "randomize_seed0", "randomize_truncate_seed1"}


@pytest.fixture(scope="module")
def load(write_files, preset_file, tmp_path_factory):
    """A function: the tokenizer of a preset with a vocabulary, and ids of assays."""

    def tokenizer(text, vocab, assays=None):
        files = {VOCAB: vocab, ASSAYS: assays or {"unknown": 0}}
        return load_tokenizer(preset_file(text), write_files(tmp_path_factory.mktemp("assets"), files))

    return tokenizer


@pytest.fixture(scope="module")
def demo_tokenizer(golden_demo, load):
    golden = golden_demo("transcriptformer")
    return load(PLAIN, {**golden["special_tokens"], **golden["vocabulary_subset"]})


def expected(cells):
    return [c["gene_token_indices"] for c in cells], [c["gene_counts"] for c in cells]


def found(block, rows_of):
    return rows_of(block), rows_of(block, values=True)


def first_columns(ids):
    """Columns less those of an id that stood before, and of none."""
    return sorted({gene: i for i, gene in reversed(list(enumerate(ids))) if gene}.values())


def test_demo_cells(demo, golden_demo, demo_tokenizer, rows_of):
    """The class keeps the first of two columns of an id: given those columns, all cells are the same."""
    golden = golden_demo("transcriptformer")
    cells, ids = golden["cells"], demo.var["ensembl_id"].tolist()
    X = demo.X[[cell["row"] for cell in cells]]
    first = first_columns(ids)
    block = demo_tokenizer.encode(X[:, first], [ids[i] for i in first])
    assert len(cells) == 20
    assert dict(demo_tokenizer.genes().specials) == golden["special_tokens"]
    assert found(block, rows_of) == expected(cells)
    assert block.n_tokens.tolist() == [cell["n_tokens"] for cell in cells]
    assert max(cell["max_count_before_clip"] for cell in cells) > max(block.values) == 30


def test_repeated_ids_are_summed_where_the_original_loses_the_second(demo, golden_demo, demo_tokenizer, rows_of):
    golden = golden_demo("transcriptformer")
    summed = {cell["row"]: cell for cell in golden["cells_where_summing_repeated_ids_differs"]}
    cells = [summed.get(cell["row"], cell) for cell in golden["cells"]]
    assert sorted(summed) == [222, 444, 555, 569, 666]
    block = demo_tokenizer.encode(demo.X[[cell["row"] for cell in cells]], demo.var["ensembl_id"].tolist())
    assert found(block, rows_of) == expected(cells)
    for cell in golden["cells"]:
        if cell["row"] in summed:
            assert cell["second_columns_expressed_and_dropped"]
            assert cell["gene_counts"] != summed[cell["row"]]["gene_counts"]


def test_a_run_of_512_keeps_the_first_512(demo, golden_demo, demo_tokenizer):
    cells, ids = golden_demo("transcriptformer")["cells"], demo.var["ensembl_id"].tolist()
    first = first_columns(ids)
    block = demo_tokenizer.encode(demo.X[[cell["row"] for cell in cells]][:, first], [ids[i] for i in first])
    cut = demo_tokenizer.finish(Ragged(block.indptr, block.token_ids, block.values), None, 512)
    assert len(cells) == 20
    assert max(cell["n_tokens"] for cell in cells) > 512 >= np.diff(cut.indptr).max()
    for at, cell in enumerate(cells):
        part = slice(cut.indptr[at], cut.indptr[at + 1])
        assert cut.token_ids[part].tolist() == cell["gene_token_indices"][:512]
        assert cut.values[part].tolist() == cell["gene_counts"][:512]


@pytest.fixture(scope="module")
def other(golden, pbmc, load):
    """All genes of the 20 other cells, from ids with versions, and the tokenizers of the stored and of a random order."""
    own = golden("transcriptformer")
    genes = golden("cells_pbmc10k")["genes_ensembl"]
    kept = [gene for i, gene in enumerate(genes) if i % 10]
    vocab = {**own["params"]["special"], **{gene: 7 + i for i, gene in enumerate(kept)}}
    assert len(vocab) == own["params"]["vocab_size"]
    stored = load(PLAIN, vocab)
    block = stored.encode(pbmc, [f"{gene}.3" for gene in genes])
    return Ragged(block.indptr, block.token_ids, block.values), stored, load(RANDOM.format(2047), vocab)


def test_20_other_cells(golden, other, rows_of):
    cells = golden("transcriptformer")["real"]
    whole, stored, _ = other
    cut = stored.finish(whole, None)
    assert len(cells) == 20
    assert found(cut, rows_of) == expected(cells)
    assert np.diff(cut.indptr).tolist() == [cell["n_tokens"] for cell in cells]
    assert sum(np.diff(whole.indptr) > 2047) == 2  # cut after their first 2,047 genes
    assert max(cell["max_count_before_clip"] for cell in cells) > 30


def test_a_random_order_holds_the_same_genes_and_their_counts(golden, other):
    """The order is another generator's than the original's."""
    whole, _, tokenizer = other
    ragged = tokenizer.finish(whole, Draws(0, 0, np.arange(20)))
    assert len(golden("transcriptformer")["real"]) == 20
    for at, cell in enumerate(golden("transcriptformer")["real"]):
        own, part = (slice(r.indptr[at], r.indptr[at + 1]) for r in (whole, ragged))
        count_of = dict(zip(whole.token_ids[own].tolist(), whole.values[own].tolist(), strict=True))
        ids, theirs = ragged.token_ids[part].tolist(), cell["random_order_token_indices"]
        n = cell["n_tokens"]
        assert len(ids) == len(set(ids)) == n
        assert ragged.values[part].tolist() == [count_of[gene] for gene in ids]
        assert set(theirs[:n]) <= set(count_of)
        assert set(theirs[n:]) <= {5}
        assert ids not in (theirs[:n], sorted(ids))
        if n == len(count_of):
            assert sorted(ids) == sorted(theirs[:n])


def test_these_are_all_small_runs(golden):
    assert sorted(case["name"] for case in golden("transcriptformer")["tiny"]) == sorted(TINY)
    assert len(TINY) == 9


@pytest.mark.parametrize("name", sorted(TINY))
def test_small_runs(golden, load, tmp_path, name):
    """Every setting through the loader, padded to the context."""
    (case,) = [case for case in golden("transcriptformer")["tiny"] if case["name"] == name]
    assays = (case["aux_vocab"] or {"assay": {"unknown": 0}})["assay"]
    tokenizer = load(TINY[name], case["vocab"], assays)
    X = sp.csr_matrix(np.array(case["counts"], np.float32))
    obs = pd.DataFrame({"assay": case["obs_assay"] or ["a"] * 3}, index=list("abc"))
    anndata.AnnData(X, obs=obs, var=pd.DataFrame(index=case["genes"])).write_h5ad(tmp_path / "a.h5ad")
    scdata.build_shards(tmp_path / "a.h5ad", tmp_path / "set")
    (batch,) = scdata.ShardDataset(tmp_path / "set", tokenizer=tokenizer, pad_to="context")
    order = np.argsort(batch["cell_id"].numpy())
    ids, counts = batch["token_ids"][order].tolist(), batch["values"][order].tolist()
    theirs, their_counts = case["output"]["gene_token_indices"], case["output"]["gene_counts"]
    if name not in DRAWN:
        assert ids == theirs
        assert np.allclose(counts, their_counts, rtol=1e-6, atol=0)
        if name != "normalize_1000_then_clip":
            assert counts == their_counts
    for row, own, own_counts, other, other_counts in zip(X.toarray(), ids, counts, theirs, their_counts, strict=True):
        clipped = {7 + i: min(int(count), 30) for i, count in enumerate(row)}
        n = min(int((row > 0).sum()), len(own))
        assert len(own) == case["params"]["max_len"]
        if name in DRAWN:
            assert [clipped[gene] for gene in own[:n]] == own_counts[:n]
            assert len(set(own[:n])) == n
            assert all(clipped[gene] for gene in [*own[:n], *other[:n]])
            assert own_counts[n:] == other_counts[n:] == [0] * (len(own) - n)
            if name == "keep_zero_tokens":  # the original has them by column, ours are drawn
                assert own[:n] == other[:n]
                assert sorted(own) == sorted(other)
            else:
                assert set(own[n:]) == set(other[n:]) <= {5}
            if name != "randomize_truncate_seed1":
                assert sorted(zip(own, own_counts, strict=True)) == sorted(zip(other, other_counts, strict=True))
    if case["obs_assay"]:
        ids = batch["aux_token_ids"][order]
        assert [[i] for i in ids.tolist()] == case["output"]["aux_token_indices"]
    else:
        assert batch["aux_token_ids"].tolist() == [0, 0, 0]


def test_without_a_random_order_the_lowest_ids_stay_and_in_the_original_the_first_columns(load):
    genes = [f"ENSG{i:011d}" for i in range(6)]
    vocab = {"unknown": 0, "[START]": 1, "[END]": 2, "[RD]": 3, "[CELL]": 4, "[PAD]": 5, "[MASK]": 6}
    tokenizer = load(STORED.format(3, "stored", "", ""), {**vocab, **{g: 7 + i for i, g in enumerate(genes)}})
    block = tokenizer.encode(sp.csr_matrix(np.array([[1, 2, 3, 4, 5, 6]])), genes[::-1])
    cut = tokenizer.finish(Ragged(block.indptr, block.token_ids, block.values), None)
    assert (cut.token_ids.tolist(), cut.values.tolist()) == ([7, 8, 9], [6, 5, 4])
