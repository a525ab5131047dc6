"""Which genes a loader takes: weighted by counts, filled up, the most variable ones; and what was fitted, against a build."""

import json
import shutil

import numpy as np
import pytest

import scdata
from scdata._errors import TokenizerError
from scdata.shard import ShardSet

N = 440  # cells of the mixed set
HVG = 'description = "d"\nstores = "counts"\n[genes]\nchoice = "hvg"\nn = {}\n{}[value]\nkind = "counts"\n'
WEIGHTED = (
    'description = "d"\nstores = "counts"\ncontext_length = {}\n[genes]\ncut = "weighted"\n[value]\nkind = "counts"\n'
)
STRATA = 'extends = "depth-bins"\n[value]\nstrata = 4\nmin_cells = 40\n'


@pytest.fixture
def by_name(cells_of):
    """A function: cell → {gene: value} of packed batches."""

    def read(dataset, batches):
        names = {token: gene for gene, token in dataset.vocab.token_ids.items()}
        return {
            number: {names[t]: v for t, v in zip(cell["token_ids"], cell["values"], strict=True) if t in names}
            for number, cell in cells_of(batches).items()
        }

    return read


@pytest.fixture(scope="module")
def build(mixed, tmp_path_factory):
    """A function: a set built from the two files of the mixed set."""

    def make(preset, **options):
        folder = tmp_path_factory.mktemp("built")
        (folder / "own.toml").write_text(preset)
        sources = [mixed.path.parent / f"{name}.h5ad" for name in "ab"]
        scdata.build_shards(sources, folder / "set", tokenizer=str(folder / "own.toml"), block_size=32, **options)
        return folder / "set"

    return make


def test_a_weighted_cut_to_one_gene_takes_it_by_its_share_of_the_counts(mixed, own_preset, by_name):
    tokenizer = own_preset(WEIGHTED.format(1))
    hits = expected = spread = 0.0
    for epoch in range(3):
        for number, kept in by_name(*mixed.stream(tokenizer, "packed", epoch)).items():
            own = mixed.cells[number]
            top, share = max(own, key=own.get), max(own.values()) / sum(own.values())
            ((gene, value),) = kept.items()
            assert own[gene] == value
            hits, expected, spread = hits + (gene == top), expected + share, spread + share * (1 - share)
    assert abs(hits - expected) < 4 * np.sqrt(spread)
    assert spread > 100


def test_a_weighted_cut_prefers_high_counts_and_is_new_in_every_epoch(mixed, own_preset, by_name):
    tokenizer = own_preset(WEIGHTED.format(20))
    first, second = (by_name(*mixed.stream(tokenizer, "packed", epoch)) for epoch in (0, 1))
    assert first == by_name(*mixed.stream(tokenizer, "packed", batch_size=9))
    assert sum(first[number].keys() != second[number].keys() for number in first) > N / 2
    kept, of_all = [], []
    for number, cell in first.items():
        own = mixed.cells[number]
        assert len(cell) == min(20, len(own))
        if len(own) > 40:
            kept.append(np.mean(list(cell.values())))
            of_all.append(np.mean(list(own.values())))
    assert np.mean(kept) > 1.5 * np.mean(of_all)


@pytest.mark.parametrize("more", ["", 'order = "descending"\n', 'choice = "full"\n'])
def test_a_weighted_cut_is_the_same_whatever_order_or_zeros_follow(mixed, own_preset, by_name, more):
    text = WEIGHTED.format(20)
    plain = by_name(*mixed.stream(own_preset(text), "packed"))
    dataset, batches = mixed.stream(own_preset(text.replace("[genes]\n", "[genes]\n" + more), name="more"), "packed")
    found = by_name(dataset, batches)
    for number, cell in plain.items():
        assert {gene: value for gene, value in found[number].items() if value} == cell
        assert found[number].keys() <= mixed.measured[number]
        assert len(found[number]) == (20 if "full" in more else len(cell))


def test_cells_are_filled_up_with_genes_that_were_measured(mixed, own_preset, by_name):
    text = 'extends = "counts"\ncontext_length = 100\n[genes]\ncut = "random"\nfill = "unexpressed"\n'
    tokenizer = own_preset(text)
    first, second = (by_name(*mixed.stream(tokenizer, "packed", epoch)) for epoch in (0, 1))
    others = 0
    for number, cell in first.items():
        own, measured = mixed.cells[number], mixed.measured[number]
        assert len(cell) == 100 < len(measured)
        assert cell.keys() <= measured
        expressed = {gene: value for gene, value in cell.items() if value}
        assert expressed.items() <= own.items()
        assert len(expressed) == min(100, len(own))
        others += cell.keys() != second[number].keys()
    assert others > 0.9 * N


@pytest.mark.parametrize("flavor", ["seurat_v3", "seurat"])
@pytest.mark.parametrize("batch_key", [None, "batch"])
def test_variable_genes_are_those_of_a_build(mixed, build, own_preset, by_name, tmp_path, flavor, batch_key):
    more = f'flavor = "{flavor}"\n' + (f'batch_key = "{batch_key}"\n' if batch_key else "")
    built = build(HVG.format(40, more))
    path = tmp_path / "set"
    shutil.copytree(mixed.path, path)
    if batch_key:
        scdata.fit_set(path, batch_key=batch_key)
    dataset = scdata.ShardDataset(path, tokenizer=own_preset(HVG.format(40, more)), output="packed", batch_size=64)
    own, theirs = dataset.tokenizer.fitted.selected, ShardSet(built).tokenizer.fitted.selected
    names = [dataset.vocab.feature_ids[i] for i in own]
    assert names == [ShardSet(built).tokenizer.genes().feature_ids[i] for i in theirs]
    assert len(names) == len(set(names)) == 40
    fly, stored = by_name(dataset, dataset), scdata.ShardDataset(built, output="packed", batch_size=64)
    assert fly == by_name(stored, stored)
    assert all(cell == {g: x for g, x in mixed.cells[n].items() if g in names} for n, cell in fly.items())
    dense = scdata.ShardDataset(path, tokenizer=dataset.tokenizer, output="dense", batch_size=64)
    assert sorted(dense.dense_feature_ids) == sorted(names)


def test_variable_genes_with_their_zeros(mixed, own_preset, by_name):
    dataset, batches = mixed.stream(own_preset(HVG.format(40, "zeros = true\n")), "packed")
    names = {dataset.vocab.feature_ids[i] for i in dataset.tokenizer.fitted.selected}
    for number, cell in by_name(dataset, batches).items():
        assert cell == {gene: mixed.cells[number].get(gene, 0) for gene in names & mixed.measured[number]}


def test_variable_genes_of_a_published_vocabulary(mixed, own_preset, by_name, tmp_path):
    """Some genes of the set under other ids, and some that the set lacks: the most variable of those that it has."""
    rng = np.random.default_rng(2)
    genes = [f"ENSG{i:011d}" for i in range(0, 200) if i % 9]
    ids = dict(zip(genes, rng.permutation(1000)[: len(genes)].tolist(), strict=True))
    folder = tmp_path / "assets" / "scgpt"
    folder.mkdir(parents=True)
    (folder / "default_census_vocab.json").write_text(json.dumps(ids))
    text = 'extends = "scgpt"\n[genes]\nchoice = "hvg"\nn = 30\n[value]\nkind = "counts"\n'
    tokenizer = own_preset(text, str(tmp_path / "assets"))
    dataset, batches = mixed.stream(tokenizer, "packed")
    variance = scdata.fit_set(mixed.path).variability[None].variance[0]
    ranked = [f"ENSG{i:011d}" for i in np.argsort(-variance, kind="stable")]
    chosen = set([gene for gene in ranked if gene in ids][:30])
    assert {dataset.vocab.feature_ids[i] for i in dataset.tokenizer.fitted.selected} == chosen
    for number, cell in by_name(dataset, batches).items():
        assert cell == {gene: x for gene, x in mixed.cells[number].items() if gene in chosen}
    assert all(dataset.vocab.token_ids[gene] == ids[gene] for gene in chosen)


def test_depth_bins_are_those_of_a_build(mixed, build, own_preset, cells_of):
    built = scdata.ShardDataset(build(STRATA), output="packed", batch_size=64)
    dataset, batches = mixed.stream(own_preset(STRATA), "packed")
    own, theirs = dataset.tokenizer.fitted, built.tokenizer.fitted
    assert own.borders.tolist() == theirs.borders.tolist()
    assert own.edges.tolist() == theirs.edges.tolist()
    assert own.edges.shape == (4, 49)
    found, stored = cells_of(batches), cells_of(built)
    assert found.keys() == stored.keys()
    assert all(cell["token_ids"] == stored[n]["token_ids"] for n, cell in found.items())
    assert all(cell["values"] == stored[n]["values"] for n, cell in found.items())
    last = {cell["token_ids"][-1] for cell in found.values()}
    assert last == {dataset.vocab.specials[f"<depth:{i}>"] for i in range(4)}


def test_medians_are_those_of_a_build(mixed, cells_of, tmp_path):
    sources = [mixed.path.parent / f"{name}.h5ad" for name in "ab"]
    scdata.build_shards(sources, tmp_path / "set", tokenizer="geneformer-v2", assets="fit", block_size=32)
    built = scdata.ShardDataset(tmp_path / "set", output="packed", batch_size=64)
    dataset, batches = mixed.stream("geneformer-v2+fit", "packed")
    assert dataset.tokenizer.fitted.medians.tolist() == built.tokenizer.fitted.medians.tolist()
    found, stored = cells_of(batches), cells_of(built)
    assert {n: cell["token_ids"] for n, cell in found.items()} == {n: cell["token_ids"] for n, cell in stored.items()}


def test_what_the_statistics_do_not_hold_is_said(mixed, own_preset):
    def refused(text, message):
        with pytest.raises(TokenizerError, match=message):
            scdata.ShardDataset(mixed.path, tokenizer=own_preset(text))

    refused(HVG.format(161, ""), "chooses 161 genes, but there are only 160")
    refused(HVG.format(5, 'batch_key = "batch"\n'), r"batch key 'batch'.*scdata fit SET --batch-key batch")
    edges = 'description = "d"\nstores = "counts"\n[value]\nkind = "edges"\n'
    refused(edges + "target_sum = 100\n", "needs values scaled to 100, which the statistics here do not hold")
    refused(edges + 'total = "vocab"\n', "needs counts divided by 'vocab'")
