"""Builds that fit a tokenizer to the corpus: variable genes, depth bins; and statistics over a finished set."""

import json

import numpy as np
import pytest
import scipy.sparse as sp

import scdata
from scdata._errors import BuildError, CorruptShardError, LayerNotFoundError, TokenizerError
from scdata.build import phases
from scdata.normalize.hvg_seurat import normalized_moments, select_seurat
from scdata.normalize.hvg_seurat_v3 import VarianceTrend, moments_below_clip, select_seurat_v3
from scdata.normalize.moments import GeneMoments
from scdata.shard import ShardSet
from scdata.shard.block import COUNTS
from scdata.source import SyntheticSource

N_CELLS, N_GENES = 1200, 150
SOURCE = f"synthetic:cells={N_CELLS},genes={N_GENES},mean_genes=60,seed=3"
SMALL = {"block_size": 128, "shard_size": 65536}
STRATA = 'extends = "depth-bins"\n[value]\nstrata = 4\nmin_cells = 100\n'


@pytest.fixture(scope="module")
def matrix():
    """Counts of the corpus, ids of its genes, and the code of each cell's donor."""
    source = SyntheticSource(N_CELLS, n_genes=N_GENES, mean_genes=60, seed=3)
    block = source.read(slice(0, N_CELLS))
    X = sp.csr_matrix((block.data, block.indices, block.indptr), shape=(N_CELLS, N_GENES))
    donors = source.obs(slice(0, N_CELLS), ["donor_id"])["donor_id"].to_numpy()
    assert (np.diff(X.indptr) == 0).any()  # cells that a build drops
    return X, list(source.genes.feature_ids), np.unique(donors, return_inverse=True)[1].astype(np.int32)


def most_variable(X, n, flavor, codes):
    """The genes that the kernels choose of the whole matrix at once, less cells without counts."""
    kept = np.diff(X.indptr) > 0
    X, codes = X[kept], None if codes is None else codes[kept]
    csr = X.indptr.astype(np.int64), X.indices.astype(np.int32), X.data.astype(np.int32)
    total = np.asarray(X.sum(1), np.int64).ravel()
    if flavor == "seurat":
        return select_seurat(normalized_moments(*csr, total, X.shape[1], codes), n)
    trend = VarianceTrend.fit(GeneMoments.of(*csr, X.shape[1], codes))
    return select_seurat_v3(trend.normalized_variance(moments_below_clip(*csr, trend, codes)), n)


@pytest.mark.parametrize("batch_key", [None, "donor_id"])
@pytest.mark.parametrize("flavor", ["seurat_v3", "seurat"])
def test_variable_genes(matrix, tmp_path, flavor, batch_key, monkeypatch):
    from scdata.build import drafting

    monkeypatch.setattr(drafting, "TASK_NNZ", 20_000)  # several tasks
    X, ids, donors = matrix
    out = tmp_path / "set"
    scdata.build_shards(SOURCE, out, genes=f"hvg:50:{flavor}", batch_key=batch_key, **SMALL)
    tokenizer = ShardSet(out).tokenizer
    chosen = [tokenizer.genes().feature_ids[i] for i in tokenizer.fitted.selected]
    assert chosen == sorted(ids[i] for i in most_variable(X, 50, flavor, donors if batch_key else None))
    assert (tokenizer.preset.genes.flavor, tokenizer.preset.genes.batch_key) == (flavor, batch_key)
    assert scdata.verify_shards(out).problems == []
    # a set of counts keeps all genes; its loader takes the chosen ones
    assert len(ShardSet(out).var) == N_GENES
    for batch in scdata.ShardDataset(out, output="packed"):
        names = {tokenizer.genes().feature_ids[t] for t in batch["token_ids"].tolist()}
        assert names <= set(chosen)
        for i, cell in enumerate(batch["cell_id"].tolist()):
            part = slice(int(batch["cu_seqlens"][i]), int(batch["cu_seqlens"][i + 1]))
            assert int(batch["values"][part].sum()) == X[cell, [ids.index(gene) for gene in chosen]].sum()


def test_genes_may_be_asked_for_in_place_of_the_presets(tmp_path):
    for genes, lengths in (("full", {N_GENES}), ("expressed", None)):
        out = tmp_path / genes
        scdata.build_shards(SOURCE, out, tokenizer="lingshu-cell", genes=genes, **SMALL)
        (n_tokens,) = {tuple(b["n_tokens"].tolist()) for b in scdata.ShardDataset(out, batch_size=N_CELLS)}
        assert ShardSet(out).tokenizer.preset.genes.choice == genes
        assert set(n_tokens) == lengths if lengths else len(set(n_tokens)) > 20


REFUSED = {
    "scgpt": 'genes.cut = "random"',
    "cell-jepa": 'genes.cut = "random"',
    "transcriptformer": 'genes.cut = "random"',
    "scfoundation": "depth.thin",
    "lingshu-cell": "zeros",
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_is_drawn_at_stream_time_is_not_stored(tmp_path, name):
    assets = None if name == "lingshu-cell" else "fit"
    with pytest.raises(ValueError, match="made at stream time; store counts") as error:
        scdata.build_shards(SOURCE, tmp_path / "set", tokenizer=name, assets=assets, store="tokens")
    assert f'stores = "tokens" with {REFUSED[name]}' in str(error.value)
    assert not (tmp_path / "set" / "manifest.json").exists()


RANDOM = {
    'value.ties = "random"': '[value]\nkind = "quantile"\nties = "random"\n',
    'genes.cut = "weighted"': 'context_length = 9\n[genes]\ncut = "weighted"\n[value]\nkind = "counts"\n',
    'genes.order = "random"': '[genes]\norder = "random"\n[value]\nkind = "counts"\n',
    'genes.fill = "unexpressed"': 'context_length = 9\n[genes]\nfill = "unexpressed"\n[value]\nkind = "counts"\n',
}


@pytest.mark.parametrize("what", list(RANDOM))
def test_the_reason_names_the_key(tmp_path, what):
    (tmp_path / "own.toml").write_text('description = "d"\nstores = "counts"\n' + RANDOM[what])
    with pytest.raises(ValueError, match="made at stream time") as error:
        scdata.build_shards(SOURCE, tmp_path / "set", tokenizer=str(tmp_path / "own.toml"), store="tokens")
    assert what in str(error.value)


def test_the_same_ranks_from_counts_and_from_tokens(matrix, tmp_path):
    X, ids, _ = matrix
    found = {}
    for store in ("counts", "tokens"):
        out = tmp_path / store
        scdata.build_shards(SOURCE, out, tokenizer="geneformer-v2", assets="fit", store=store, **SMALL)
        assert (ShardSet(out).encoding == COUNTS) == (store == "counts")
        dataset, found[store] = scdata.ShardDataset(out, output="packed"), {}
        for batch in dataset:
            for i, cell in enumerate(batch["cell_id"].tolist()):
                own = batch["token_ids"][batch["cu_seqlens"][i] : batch["cu_seqlens"][i + 1]]
                found[store][cell] = own.tolist()
    block = dataset.tokenizer.encode(X, ids)  # of the set of tokens
    encoded = [row.tolist() for row in np.split(block.token_ids, block.indptr[1:-1])]
    assert found["counts"] == found["tokens"] == {cell: row for cell, row in enumerate(encoded) if row}


@pytest.fixture
def depth_bins(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(STRATA)
    return str(path)


def test_depth_bins_of_an_h5ad_and_of_two_sources(matrix, make_h5ad, depth_bins, tmp_path):
    X, ids, _ = matrix
    whole = make_h5ad("whole", X, var={"index": ids})
    order = np.random.default_rng(0).permutation(N_GENES)
    parts = [
        make_h5ad("one", X[:500], var={"index": ids}),
        make_h5ad("two", X[500:][:, order], var={"index": [ids[i] for i in order]}),
    ]
    scdata.build_shards(whole, tmp_path / "a", tokenizer=depth_bins, **SMALL)
    scdata.build_shards(parts, tmp_path / "b", tokenizer=depth_bins, **SMALL)
    a, b = (ShardSet(tmp_path / name) for name in "ab")
    assert a.tokenizer.fitted.to_json() == b.tokenizer.fitted.to_json()
    assert len(a.tokenizer.fitted.borders) == 3
    block, special = a.tokenizer.encode(X, ids), a.tokenizer.genes().specials
    strata = {special[f"<depth:{i}>"] for i in range(4)}
    for name in "ab":
        assert scdata.verify_shards(tmp_path / name).problems == []
        last = set()
        for batch in scdata.ShardDataset(tmp_path / name, output="packed"):
            for i, cell in enumerate(batch["cell_id"].tolist()):
                own = slice(int(batch["cu_seqlens"][i]), int(batch["cu_seqlens"][i + 1]))
                there = slice(block.indptr[cell], block.indptr[cell + 1])
                assert batch["token_ids"][own].tolist() == block.token_ids[there].tolist()
                assert batch["values"][own].tolist() == block.values[there].tolist()
                last.add(int(batch["token_ids"][own][-1]))
        assert last == strata


def fitted_arguments(tokenizer):
    return {"source": SOURCE, "tokenizer": tokenizer, "genes": "hvg:40", "splits": ["val=0.1"], **SMALL}


def test_the_same_bytes_with_two_workers(depth_bins, build_process, tree, tmp_path):
    arguments = fitted_arguments(depth_bins)
    scdata.build_shards(out=tmp_path / "one", **arguments)
    process = build_process(out=str(tmp_path / "two"), workers=2, **arguments)  # in smaller tasks
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


class Killed(Exception):
    """Stands for what ends a process."""


@pytest.mark.parametrize("phase", ["fit_trend", "clipped_task", "fit", "scatter_task", "gather_task"])
def test_a_build_that_ends_after_its_statistics_goes_on(depth_bins, tree, tmp_path, monkeypatch, phase):
    from scdata.build import drafting

    monkeypatch.setattr(drafting, "TASK_NNZ", 20_000)
    arguments = fitted_arguments(depth_bins)
    scdata.build_shards(out=tmp_path / "whole", **arguments)

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(phases, phase, killed)
        with pytest.raises(Killed):
            scdata.build_shards(out=tmp_path / "set", **arguments)
    assert not (tmp_path / "set" / "manifest.json").exists()
    # what was collected is not collected again
    monkeypatch.setattr(phases, "statistics_task", killed)
    if phase in ("scatter_task", "gather_task"):
        monkeypatch.setattr(phases, "fit", killed)
    scdata.build_shards(out=tmp_path / "set", **arguments)
    assert tree(tmp_path / "set") == tree(tmp_path / "whole")
    assert scdata.verify_shards(tmp_path / "set").problems == []


def test_inspect_shows_a_fitted_set(depth_bins, tmp_path):
    from click.testing import CliRunner

    from scdata.cli.main import cli

    scdata.build_shards(out=tmp_path / "set", **fitted_arguments(depth_bins))
    shown = CliRunner().invoke(cli, ["inspect", str(tmp_path / "set")])
    assert shown.exit_code == 0, shown.output
    assert "own.toml" in shown.output
    as_json = CliRunner().invoke(cli, ["inspect", str(tmp_path / "set"), "--json"])
    assert as_json.exit_code == 0
    assert json.loads(as_json.output.splitlines()[-1])


def test_more_variable_genes_than_there_are(tmp_path):
    for genes in ("hvg:151", "hvg:151:seurat"):
        with pytest.raises(BuildError, match="151 variable genes were asked for, but the sources have 150"):
            scdata.build_shards(SOURCE, tmp_path / "set", genes=genes)
    scdata.build_shards(SOURCE, tmp_path / "set", genes="hvg:150", **SMALL)
    assert len(ShardSet(tmp_path / "set").tokenizer.fitted.selected) == 150


FEW = "synthetic:cells=300,genes=12,mean_genes=6"


def test_too_few_genes_for_the_local_regression(tmp_path):
    with pytest.raises(TokenizerError, match=r'local regression .* fails on its 12 genes .*use flavor = "seurat"'):
        scdata.build_shards(FEW, tmp_path / "set", genes="hvg:5")
    # with what the message says
    scdata.build_shards(FEW, tmp_path / "other", genes="hvg:5:seurat")
    assert len(ShardSet(tmp_path / "other").tokenizer.fitted.selected) == 5


def test_a_set_with_few_genes_is_fitted_less_that_flavor(tmp_path, depth_bins):
    scdata.build_shards(FEW, tmp_path / "set")
    found = scdata.fit_set(tmp_path / "set")
    assert found.variability[None].variance is None
    for name in ("geneformer-v1+fit", scdata.load_tokenizer(depth_bins)):
        assert sum(len(b["cell_id"]) for b in scdata.ShardDataset(tmp_path / "set", tokenizer=name)) > 290
    own = tmp_path / "hvg.toml"
    text = 'description = "d"\nstores = "counts"\n[genes]\nchoice = "hvg"\nn = 5\nflavor = "{}"\n[value]\nkind = "counts"\n'
    own.write_text(text.format("seurat"))
    scdata.ShardDataset(tmp_path / "set", tokenizer=scdata.load_tokenizer(str(own)))
    own.write_text(text.format("seurat_v3"))
    with pytest.raises(
        TokenizerError,
        match=r"needs variable genes by flavor 'seurat_v3' without batches, which the",
    ):
        scdata.ShardDataset(tmp_path / "set", tokenizer=scdata.load_tokenizer(str(own)))
    again = scdata.fit_set(tmp_path / "set", batch_key="donor_id")
    assert set(again.variability) == {None, "donor_id"}
    assert again.variability["donor_id"].normalized is not None


def test_fitting_needs_a_set_of_counts_and_a_column_that_is_there(depth_bins, tmp_path):
    scdata.build_shards(SOURCE, tmp_path / "tokens", tokenizer=depth_bins, **SMALL)
    with pytest.raises(TokenizerError, match=r"holds tokens of 'own\.toml'.*--tokenizer counts"):
        scdata.fit_set(tmp_path / "tokens")
    scdata.build_shards(SOURCE, tmp_path / "counts", **SMALL)
    with pytest.raises(LayerNotFoundError, match="no obs column 'donor' of strings: did you mean 'donor_id'"):
        scdata.fit_set(tmp_path / "counts", batch_key="donor")


def test_statistics_are_bound_to_their_set(tmp_path):
    scdata.build_shards(SOURCE, tmp_path / "one", **SMALL)
    scdata.fit_set(tmp_path / "one")
    scdata.build_shards(SOURCE, tmp_path / "two", seed=1, **SMALL)
    (tmp_path / "two" / "stats.arrow").write_bytes((tmp_path / "one" / "stats.arrow").read_bytes())
    with pytest.raises(TokenizerError, match=r"stats\.arrow is of another set or version: run `scdata fit "):
        scdata.ShardDataset(tmp_path / "two", tokenizer="geneformer-v2+fit")
    # they hold no order of cells: fitted again, they are the same
    scdata.fit_set(tmp_path / "two")
    own = [
        scdata.ShardDataset(tmp_path / name, tokenizer="geneformer-v2+fit").tokenizer.fitted.to_json()
        for name in ("one", "two")
    ]
    assert own[0] == own[1]
    assert scdata.verify_shards(tmp_path / "one").problems == []


@pytest.mark.parametrize("change", ["bit", "shape", "negative", "genes"])
def test_damaged_statistics_are_named(tmp_path, change):
    from scdata.shard.arrays import read_arrays, write_arrays

    out = tmp_path / "set"
    scdata.build_shards(SOURCE, out)
    scdata.fit_set(out)
    path = out / "stats.arrow"
    if change == "bit":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        arrays, facts = read_arrays(path)
        if change == "shape":
            arrays["depth.values"] = arrays["depth.values"].ravel()
        elif change == "negative":
            arrays["histogram.count"] = -arrays["histogram.count"]
        else:
            facts["n_genes"] = 10**12
        write_arrays(path, arrays, facts)
    with pytest.raises(CorruptShardError, match=r"stats\.arrow: .*delete it and run `scdata fit "):
        scdata.ShardDataset(out, tokenizer="geneformer-v2+fit")
    (problem,) = scdata.verify_shards(out).problems
    assert "stats.arrow" in problem
    scdata.fit_set(out)
    assert scdata.verify_shards(out).problems == []


def test_batches_are_strings(make_h5ad, tmp_path):
    path = make_h5ad(
        "x", np.random.default_rng(0).poisson(1.0, (60, 40)).astype(np.float32), obs={"share": np.arange(60) / 7}
    )
    with pytest.raises(LayerNotFoundError, match="batch key 'share': no obs column of strings is called so"):
        scdata.build_shards(path, tmp_path / "set", genes="hvg:5:seurat", batch_key="share")


def test_no_gene_varies(make_h5ad, tmp_path):
    path = make_h5ad("x", np.ones((60, 40), np.float32))
    with pytest.raises(TokenizerError, match="chooses variable genes, and no gene varies"):
        scdata.build_shards(path, tmp_path / "set", genes="hvg:5:seurat", tokenizer="depth-bins")


def test_no_cell_is_left(make_h5ad, tmp_path):
    path = make_h5ad("x", np.zeros((60, 40), np.float32))
    for arguments in ({"genes": "hvg:5"}, {"tokenizer": "depth-bins"}):
        with pytest.raises(BuildError, match="no cell is left"):
            scdata.build_shards(path, tmp_path / "set", overwrite=True, **arguments)


def test_too_many_batches_are_refused_before_any_is_counted(monkeypatch, tmp_path):
    from scdata.normalize import moments

    monkeypatch.setattr(moments, "_MOST_SUMS", 100)
    with pytest.raises(TokenizerError, match=r"batch key 'donor_id' has \d+ batches: .* over the limit of 100"):
        scdata.build_shards(SOURCE, tmp_path / "set", genes="hvg:5", batch_key="donor_id")
    scdata.build_shards(SOURCE, tmp_path / "counts")
    with pytest.raises(TokenizerError, match=r"batch key 'donor_id' has \d+ batches"):
        scdata.fit_set(tmp_path / "counts", batch_key="donor_id")
