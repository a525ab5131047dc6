"""Thinned cells, with the values of the whole ones as targets: scFoundation's training input, and presets like it."""

import re

import numpy as np
import pytest

from scdata.resources import resource

THINNED = "scfoundation+fit"


@pytest.fixture
def whole(own_preset):
    """scFoundation without [depth.thin]."""
    text = (resource("tokenizers/presets") / "scfoundation.toml").read_text()
    return own_preset(re.sub(r"(?m)^\[depth\.thin\][^\[]*", "", text), "fit", "whole")


def dense(mixed, cells_of, tokenizer, epoch=0):
    """cell → its dense part, and the genes of the columns."""
    dataset, batches = mixed.stream(tokenizer, "dense", epoch)
    return cells_of(batches), dataset.dense_feature_ids


def total(mixed, number):
    return sum(mixed.cells[number].values())


def test_dense_targets_are_the_values_of_the_whole_cell(mixed, cells_of, whole):
    thinned, genes = dense(mixed, cells_of, THINNED)
    plain, same = dense(mixed, cells_of, whole)
    assert genes == same
    for number, cell in thinned.items():
        assert "targets" not in plain[number]
        assert cell["targets"] == plain[number]["values"]


def test_what_is_left_are_some_of_the_counts_and_depths_say_how_many(mixed, cells_of):
    cells, genes = dense(mixed, cells_of, THINNED)
    shares = []
    for number, cell in cells.items():
        counts = np.array([mixed.cells[number].get(gene, 0) for gene in genes])
        target, source = cell["depths"]
        assert target == np.float32(np.log10(counts.sum()))
        n = round(10**source)
        left = np.rint(np.expm1(np.array(cell["values"])) / 1e4 * n).astype(int)
        assert (left >= 0).all()
        assert (left <= counts).all()
        assert left.sum() == n
        assert cell["values"] == np.log1p(left / n * 1e4).astype(np.float32).tolist()
        if n < counts.sum():
            assert counts.sum() > 1000
            assert source < target
            shares.append(n / counts.sum())
        else:
            assert cell["values"] == cell["targets"]
    deep = sum(total(mixed, number) > 1000 for number in cells)
    assert 0.4 < len(shares) / deep < 0.6  # p = 0.5
    assert 0.43 < np.mean(shares) < 0.57  # Beta(2, 2)
    assert 0.17 < np.std(shares) < 0.28  # sqrt(1 / 20) = 0.22


def test_other_cells_are_thinned_in_every_epoch_and_the_same_again(mixed, cells_of):
    first, second = (dense(mixed, cells_of, THINNED, epoch)[0] for epoch in (0, 1))
    assert first == dense(mixed, cells_of, THINNED)[0]
    changed = {number for number in first if first[number]["values"] != second[number]["values"]}
    deep = {number for number in first if total(mixed, number) > 1000}
    assert changed <= deep
    assert 0.6 < len(changed) / len(deep) < 0.9  # 1 − 0.5²
    assert all(first[number]["targets"] == second[number]["targets"] for number in first)


BASE = 'extends = "scfoundation"\n'
VARIANTS = {
    "as it is": BASE,
    "a random cut": BASE + 'context_length = 32\n[genes]\ncut = "random"\n',
    "a weighted cut": BASE + 'context_length = 32\n[genes]\ncut = "weighted"\n',
    "falling values": BASE + 'context_length = 32\n[genes]\norder = "descending"\n',
    "a random order": BASE + '[genes]\norder = "random"\n',
    "all genes": BASE + '[genes]\nchoice = "full"\n',
    "all genes, marked": BASE + '[genes]\nchoice = "full"\n[value]\nmissing = -1\n',
    "some of all genes": BASE + 'context_length = 50\n[genes]\nchoice = "full"\ncut = "random"\n',
    "filled up": BASE + 'context_length = 150\n[genes]\nfill = "unexpressed"\n',
    "counts": BASE + '[value]\nkind = "counts"\n[depth]\ntokens = []\n',
    "variable genes": BASE + '[genes]\nchoice = "hvg"\nn = 40\n[value]\ntotal = "vocab"\n',
}


@pytest.mark.parametrize("output", ["padded", "packed"])
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_sequences_and_their_targets_agree_with_the_dense_view(mixed, cells_of, own_preset, variant, output):
    """Whatever genes are chosen and in whatever order: each token's value and target are those of its gene."""
    tokenizer = own_preset(VARIANTS[variant], "fit")
    dataset, batches = mixed.stream(tokenizer, output)
    wide, columns = dense(mixed, cells_of, tokenizer)
    special = dataset.vocab.specials
    column = {dataset.vocab.token_ids[gene]: i for i, gene in enumerate(columns)}
    n_depths = len(tokenizer.preset.depth.tokens)
    cells = cells_of(batches)
    for number, cell in cells.items():
        ids, stop = cell["token_ids"], len(cell["token_ids"]) - n_depths
        assert len(cell["values"]) == len(cell["targets"]) == len(ids) == len(set(ids))
        assert ids[stop:] == [special["<T>"], special["<S>"]][:n_depths]
        assert cell["values"][stop:] == cell["targets"][stop:] == wide[number].get("depths", [])
        at = [column[token] for token in ids[:stop]]
        assert cell["values"][:stop] == [wide[number]["values"][i] for i in at], number
        assert cell["targets"][:stop] == [wide[number]["targets"][i] for i in at], number
        if tokenizer.preset.genes.order == "descending":
            assert cell["values"][:stop] == sorted(cell["values"][:stop], reverse=True)
        if variant == "as it is":
            assert len(at) == sum(value > 0 for value in wide[number]["values"])
    if "all genes" in variant or variant == "filled up":
        hidden = [
            target
            for cell in cells.values()
            for value, target in zip(cell["values"], cell["targets"], strict=True)
            if value == 0 and target > 0
        ]
        assert len(hidden) > 100  # genes whose molecules are all gone keep their targets
    if variant == "all genes, marked":
        assert any(-1 in cell["targets"] for cell in cells.values())
