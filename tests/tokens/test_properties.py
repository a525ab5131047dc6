"""What holds for every preset: of the order of genes, of scale, of genes that a source lacks, of cells that come together."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata import _jit
from scdata.resources import resource
from scdata.tokens import Draws, Ragged, load_tokenizer, preset_names

N = 8
IDS = [f"ENSG{i:011d}" for i in range(N)]
MEDIANS = np.array([0.5, 1.0, 3.0, 1.0, 2.0, 0.25, 7.0, 1.5])
BORDERS = np.array([5, 40, 3000])
EDGES = np.log1p(np.linspace(100, 9000, 49) * np.array([[0.2], [0.5], [1.0], [1.05]]))
NAMES = preset_names()
# values or ranks depend on shares alone
OF_SHARES = ["scgpt", "cell-jepa", "scfoundation", "geneformer-v1", "geneformer-v2"]
# nothing is divided by a total of all genes of the source
OF_VOCABULARY = ["scgpt", "cell-jepa", "scfoundation", "transcriptformer", "lingshu-cell"]

COUNT = st.one_of(st.just(0), st.integers(0, 4), st.integers(90, 120), st.integers(0, 2**26))
FEW = settings(max_examples=30)
ROWS = st.lists(st.lists(COUNT, min_size=N, max_size=N), min_size=1, max_size=5)


def load(name):
    """The tokenizer over `IDS`, with what it would be fitted to."""
    published = "\ngenes = " in (resource("tokenizers/presets") / f"{name}.toml").read_text()
    tokenizer = load_tokenizer(name, "fit" if published else None).with_genes(IDS, {})
    if tokenizer.preset.value.kind == "rank":
        return tokenizer.with_fitted(medians=MEDIANS)
    return tokenizer.with_fitted(edges=EDGES, borders=BORDERS) if name == "depth-bins" else tokenizer


TOKENIZERS = {name: load(name) for name in NAMES}


def encode(name, X, ids=IDS):
    return TOKENIZERS[name].encode(sp.csr_matrix(np.asarray(X, np.int64)), ids)


def cells(block):
    """(token, value) of each cell, in order; values of ranks are None."""
    values = [None] * len(block.token_ids) if block.values is None else block.values.tolist()
    flat = list(zip(block.token_ids.tolist(), values, strict=True))
    return [flat[a:b] for a, b in itertools.pairwise(block.indptr.tolist())]


def sequences(name, block, epoch=0):
    """What the loader makes of cells: cut, special tokens, order, all draws."""
    tokenizer = TOKENIZERS[name]
    ragged = Ragged(block.indptr, block.token_ids, block.values)
    if tokenizer.preset.stores == "tokens":
        return cells(ragged)
    draws = Draws(0, epoch, np.arange(block.n_cells))
    return cells(tokenizer.finish(ragged, draws, depths=(block.vocab_counts, block.vocab_counts)))


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(ROWS, st.permutations(range(N)))
def test_the_order_of_genes_changes_nothing(name, rows, order):
    X = np.array(rows)
    block, moved = encode(name, X), encode(name, X[:, order], [IDS[i] for i in order])
    assert cells(moved) == cells(block)
    assert sequences(name, moved) == sequences(name, block)
    assert moved.total_counts.tolist() == block.total_counts.tolist() == X.sum(1).tolist()


@pytest.mark.parametrize("name", OF_SHARES)
@FEW
@given(ROWS, st.integers(2, 31))
def test_the_scale_of_a_cell_changes_no_bin_and_no_rank(name, rows, factor):
    X = np.array(rows)
    assert cells(encode(name, X * factor)) == cells(encode(name, X))


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(ROWS)
def test_genes_that_no_cell_has_change_nothing(name, rows):
    X = np.hstack([np.zeros((len(rows), 2), int), rows, np.zeros((len(rows), 1), int)])
    block, plain = encode(name, X, ["new", IDS[3], *IDS, "other"]), encode(name, rows)
    assert cells(block) == cells(plain)
    assert (block.total_counts.tolist(), block.vocab_counts.tolist()) == (
        plain.total_counts.tolist(),
        plain.vocab_counts.tolist(),
    )


@pytest.mark.parametrize("name", OF_VOCABULARY)
@FEW
@given(ROWS, st.lists(COUNT, min_size=5, max_size=5))
def test_genes_outside_the_vocabulary_change_nothing(name, rows, more):
    X = np.hstack([rows, np.array(more)[: len(rows), None]])
    block, plain = encode(name, X, [*IDS, "other"]), encode(name, rows)
    assert cells(block) == cells(plain)
    assert sequences(name, block) == sequences(name, plain)
    assert block.total_counts.tolist() == X.sum(1).tolist()


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(ROWS, st.integers(0, 3))
def test_cells_together_are_cells_apart(name, rows, epoch):
    together = encode(name, rows)
    apart = [encode(name, [row]) for row in rows]
    assert cells(together) == [cells(block)[0] for block in apart]
    tokenizer = TOKENIZERS[name]
    if tokenizer.preset.stores == "counts":
        own = sequences(name, together, epoch)
        for number, block in enumerate(apart):
            draws, total = Draws(0, epoch, np.array([number])), block.vocab_counts
            ragged = Ragged(block.indptr, block.token_ids, block.values)
            assert cells(tokenizer.finish(ragged, draws, depths=(total, total))) == [own[number]]


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(ROWS, st.integers(0, 3))
def test_the_same_without_numba(name, rows, epoch):
    found = cells(encode(name, rows)), sequences(name, encode(name, rows), epoch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jit, "available", lambda: False)
        assert (cells(encode(name, rows)), sequences(name, encode(name, rows), epoch)) == found


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_no_cells_and_empty_cells(name, jit, monkeypatch):
    if not jit:
        monkeypatch.setattr(_jit, "available", lambda: False)
    none = encode(name, np.zeros((0, N)))
    assert (none.n_cells, none.indptr.tolist(), len(none.token_ids)) == (0, [0], 0)
    assert sequences(name, none) == []
    block = encode(name, [[0] * N, [3, *[0] * (N - 1)], [0] * N])
    assert [len(cell) > 0 for cell in cells(block)] == [False, True, False]
    tokenizer = TOKENIZERS[name]
    preset, special = tokenizer.preset, tokenizer.genes().specials
    if preset.stores == "counts":
        ids = [[token for token, _ in cell] for cell in sequences(name, block)]
        zeros = list(tokenizer.genes().gene_tokens) if preset.genes.with_zeros else []
        depths = [special["<T>"], special["<S>"]] if preset.depth.tokens else []
        alone = [*(special[t] for t in preset.genes.prepend), *zeros, *depths]
        assert ids[0] == ids[2] == alone


LARGEST = 2**31 - 1
ONE_GENE = {
    "counts": [LARGEST],
    "scgpt": [50],
    "cell-jepa": [50],
    "scfoundation": [np.float32(np.log(10_001)).item()],
    "transcriptformer": [30],
    "lingshu-cell": [280],
    "depth-bins": [0, 50, 0],
}


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_one_gene_and_the_largest_count(name, jit, monkeypatch):
    if not jit:
        monkeypatch.setattr(_jit, "available", lambda: False)
    for count in (1, LARGEST):
        block = encode(name, [[0, 0, count, *[0] * (N - 3)]])
        tokenizer = TOKENIZERS[name]
        genes = [token for token, _ in cells(block)[0] if token in tokenizer.genes().gene_tokens]
        assert genes == [tokenizer.genes().token_ids[IDS[2]]]
        if count == LARGEST:
            assert block.values is None if name not in ONE_GENE else block.values.tolist() == ONE_GENE[name]


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(ROWS)
def test_totals_over_int32_are_exact(name, rows):
    X = np.array(rows)
    X[:, 1] = LARGEST
    X[:, 4] = LARGEST
    block = encode(name, X)
    assert block.total_counts.tolist() == block.vocab_counts.tolist() == X.sum(1).tolist()
    if name == "scfoundation":
        value = dict(cells(block)[0])[int(TOKENIZERS[name].genes().gene_tokens[1])]
        assert value == np.float32(np.log1p(LARGEST / int(X[0].sum()) * 1e4))
    if name.startswith("geneformer"):
        by_hand = sorted(np.flatnonzero(X[0]), key=lambda i: (-(X[0, i] / X[0].sum() * 1e4 / MEDIANS[i]), i))
        tokens = TOKENIZERS[name].genes().gene_tokens
        own = [token for token, _ in cells(block)[0] if token in tokens]
        assert own == [tokens[i] for i in by_hand]
