"""What batches hold: against the source, in every output, for the three presets."""

import numpy as np
import pyarrow as pa
import pytest
import torch

import scdata
from scdata import ShardDataset
from scdata._errors import LayerNotFoundError, MappingError, TokenizerError
from scdata.shard import ShardSet
from scdata.tokens.stored import tokenizer_from_json, tokenizer_to_json

from scdata import _jit  # isort: skip


def cells_of(batch, token_names):
    """cell_id → {gene: value} of a batch in any output."""
    out = {}
    for i, cell in enumerate(batch["cell_id"].tolist()):
        if "cu_seqlens" in batch:
            part = slice(int(batch["cu_seqlens"][i]), int(batch["cu_seqlens"][i + 1]))
            ids, values = batch["token_ids"][part], batch["values"][part]
        elif "attention_mask" in batch:
            mask = batch["attention_mask"][i]
            ids, values = batch["token_ids"][i][mask], batch["values"][i][mask]
        else:
            ids = torch.nonzero(batch["values"][i])[:, 0]
            values = batch["values"][i][ids]
        out[cell] = {token_names[int(t)]: int(v) for t, v in zip(ids, values, strict=True)}
    return out


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("output", ["padded", "packed", "dense"])
def test_counts_equal_the_source(counts_set, expected_cells, output, jit, monkeypatch):
    if not jit:
        monkeypatch.setattr(_jit, "available", lambda: False)
    for split in ("train", "val"):
        dataset = ShardDataset(counts_set, split=split, batch_size=33, output=output)
        names = dict(enumerate(dataset.dense_feature_ids))
        if output != "dense":
            names = {token: gene for gene, token in dataset.vocab.token_ids.items()}
        for batch in dataset:
            for cell, genes in cells_of(batch, names).items():
                assert genes == expected_cells[cell]


def test_shapes_types_and_padding(counts_set):
    batch = next(iter(ShardDataset(counts_set, batch_size=8)))
    assert batch["token_ids"].dtype == batch["values"].dtype == torch.int32
    assert batch["token_ids"].shape == batch["values"].shape == batch["attention_mask"].shape == (8, 64)
    assert batch["attention_mask"].dtype == torch.bool
    assert torch.equal(batch["attention_mask"].sum(1), batch["n_tokens"])
    assert (batch["values"][~batch["attention_mask"]] == 0).all()
    assert batch["cell_id"].dtype == torch.int64
    wide = next(iter(ShardDataset(counts_set, batch_size=8, dtype=torch.int64, pad_to=100)))
    assert wide["token_ids"].dtype == torch.int64
    assert wide["token_ids"].shape == (8, 100)
    dense = next(iter(ShardDataset(counts_set, batch_size=8, output="dense", dtype=torch.float32)))
    assert dense["values"].dtype == torch.float32
    packed = next(iter(ShardDataset(counts_set, batch_size=8, output="packed")))
    assert packed["cu_seqlens"].dtype == torch.int32
    assert packed["max_seqlen"] == int(packed["cu_seqlens"].diff().max())


def test_scgpt_on_the_fly_bins_cuts_and_marks(counts_set, expected_cells):
    dataset = ShardDataset(counts_set, tokenizer="scgpt+fit", batch_size=50, context_length=12)
    vocab, cls = dataset.vocab, dataset.vocab.specials["<cls>"]
    names = dict(zip(vocab.gene_tokens.tolist(), vocab.feature_ids, strict=True))
    lengths = []
    for batch in dataset:
        assert (batch["token_ids"][:, 0] == cls).all()
        assert (batch["values"][:, 0] == -2).all()
        assert (batch["values"][~batch["attention_mask"]] == -2).all()
        assert (batch["token_ids"][~batch["attention_mask"]] == dataset.pad_id).all()
        for i, cell in enumerate(batch["cell_id"].tolist()):
            n = int(batch["n_tokens"][i])
            lengths.append(n)
            counts = np.array(list(expected_cells[cell].values()))
            edges = np.quantile(counts, np.linspace(0, 1, 50))
            for token, value in zip(batch["token_ids"][i][1:n], batch["values"][i][1:n], strict=True):
                count = expected_cells[cell][names[int(token)]]
                assert int(value) == int(np.digitize(count, edges))
            assert n == min(12, len(counts) + 1)
    assert max(lengths) == 12


def test_random_cut_changes_with_the_epoch_and_not_with_the_batch(counts_set):
    def kept(epoch, batch_size):
        dataset = ShardDataset(
            counts_set, tokenizer="scgpt+fit", batch_size=batch_size, context_length=5, output="packed"
        )
        dataset.set_epoch(epoch)
        out = {}
        for batch in dataset:
            for i, cell in enumerate(batch["cell_id"].tolist()):
                part = slice(int(batch["cu_seqlens"][i]), int(batch["cu_seqlens"][i + 1]))
                out[cell] = batch["token_ids"][part].tolist()
        return out

    assert kept(0, 7) == kept(0, 100)
    assert kept(0, 7) != kept(1, 7)


def test_ranks_are_those_of_encode(ranks_set, source):
    shards = ShardSet(ranks_set)
    block = source.read(slice(0, source.n_obs))
    import scipy.sparse as sp

    X = sp.csr_matrix((block.data, block.indices, block.indptr), shape=(source.n_obs, len(source.genes)))
    encoded = shards.tokenizer.encode(X, source.genes.feature_ids)
    dataset = ShardDataset(ranks_set, output="packed", batch_size=41)
    vocab = dataset.vocab
    for batch in dataset:
        assert "values" not in batch
        for i, cell in enumerate(batch["cell_id"].tolist()):
            part = slice(int(batch["cu_seqlens"][i]), int(batch["cu_seqlens"][i + 1]))
            expected = encoded.token_ids[encoded.indptr[cell] : encoded.indptr[cell + 1]].tolist()
            assert batch["token_ids"][part].tolist() == expected
            assert expected[0] == vocab.specials["<cls>"]
            assert expected[-1] == vocab.specials["<eos>"]


def test_ranked_sets_padded_dense_and_cut(ranks_set):
    padded = next(iter(ShardDataset(ranks_set, batch_size=16)))
    assert "values" not in padded
    cut = next(iter(ShardDataset(ranks_set, batch_size=16, context_length=6)))
    dense_set = ShardDataset(ranks_set, batch_size=16, output="dense")
    dense = next(iter(dense_set))
    eos = dense_set.vocab.specials["<eos>"]
    for i in range(16):
        tokens = padded["token_ids"][i][padded["attention_mask"][i]].tolist()
        short = cut["token_ids"][i][cut["attention_mask"][i]].tolist()
        assert short == ([*tokens[:5], eos] if len(tokens) > 6 else tokens)
        column = {gene: c for c, gene in enumerate(dense_set.dense_feature_ids)}
        for place, token in enumerate(tokens[1:-1], start=1):
            gene = dense_set.vocab.feature_ids[token - 4]
            assert int(dense["values"][i, column[gene]]) == place
        assert int((dense["values"][i] > 0).sum()) == len(tokens) - 2


def test_ranks_on_the_fly_equal_ranks_at_build_time(counts_set, ranks_set):
    fitted = ShardSet(ranks_set).tokenizer
    fly = ShardDataset(counts_set, tokenizer=fitted, output="packed", batch_size=20)
    built = ShardDataset(ranks_set, output="packed", batch_size=20)

    def cells(dataset):
        out = {}
        for b in dataset:
            bounds = b["cu_seqlens"].tolist()
            for cell, start, stop in zip(b["cell_id"].tolist(), bounds[:-1], bounds[1:], strict=True):
                out[cell] = b["token_ids"][start:stop].tolist()
        return out

    assert cells(fly) == cells(built)


def test_obs_columns_are_those_of_the_source(counts_set, source):
    columns = ("cell_type", "age", "is_control", "total_counts", "measured")
    dataset = ShardDataset(counts_set, batch_size=64, columns=columns)
    obs = source.obs(slice(0, source.n_obs), ["cell_type", "age", "is_control", "dataset_id"]).to_pylist()
    for batch in dataset:
        assert batch["measured"].shape == (len(batch["cell_id"]), len(dataset.dense_feature_ids))
        assert batch["measured"].all()
        for i, cell in enumerate(batch["cell_id"].tolist()):
            code = int(batch["cell_type"][i])
            assert (dataset.categories["cell_type"][code] if code >= 0 else None) == obs[cell]["cell_type"]
            assert dataset.categories["dataset"][int(batch["dataset"][i])] == obs[cell]["dataset_id"]
            assert bool(batch["is_control"][i]) == obs[cell]["is_control"]
            age = obs[cell]["age"]
            assert np.isnan(batch["age"][i].item()) if age is None or np.isnan(age) else batch["age"][i].item() == age
            assert int(batch["total_counts"][i]) == int(source.expected(cell)[1].sum())


def test_a_column_of_a_reserved_name(tmp_path):
    import anndata
    import scipy.sparse as sp

    X = sp.csr_matrix(np.eye(6, dtype=np.float32) * 3)
    data = anndata.AnnData(X)
    data.obs["dataset"] = list("aabbcc")
    data.write_h5ad(tmp_path / "a.h5ad")
    scdata.build_shards(tmp_path / "a.h5ad", tmp_path / "set")
    dataset = ShardDataset(tmp_path / "set", batch_size=6, columns=("dataset",))
    batch = next(iter(dataset))
    names = [dataset.categories["obs.dataset"][i] for i in batch["obs.dataset"].tolist()]
    assert names == ["aabbcc"[i] for i in batch["cell_id"].tolist()]
    assert batch["dataset"].tolist() == [0] * 6


@pytest.mark.parametrize("output", ["padded", "packed", "dense"])
def test_kept_batches_keep_their_content(counts_set, output):
    dataset = ShardDataset(counts_set, batch_size=16, output=output, num_threads=2)
    kept, copies = [], []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        for batch in dataset:
            kept.append(batch)
            copies.append({k: v.clone() for k, v in batch.items() if torch.is_tensor(v)})
    for batch, copy in zip(kept, copies, strict=True):
        for key, value in copy.items():
            assert torch.equal(batch[key], value)


def test_errors_say_what_there_is(counts_set, ranks_set, tmp_path):
    with pytest.raises(LayerNotFoundError, match="did you mean 'cell_type'"):
        ShardDataset(counts_set, columns=("celltype",))
    with pytest.raises(ValueError, match="no split 'test'; it has: train, val"):
        ShardDataset(counts_set, split="test")
    with pytest.raises(ValueError, match="did you mean 'packed'"):
        ShardDataset(counts_set, output="pack")
    with pytest.raises(TokenizerError, match=r"holds tokens of 'geneformer-v2\+fit'.*--tokenizer counts"):
        ShardDataset(ranks_set, tokenizer="scgpt+fit")
    with pytest.raises(TokenizerError, match=r"needs medians of the corpus.*run `scdata fit "):
        ShardDataset(counts_set, tokenizer="geneformer-v2+fit")
    with pytest.raises(ValueError, match="has no context; give a number"):
        ShardDataset(counts_set, pad_to="context")
    with pytest.raises(ValueError, match="more than pad_to = 3"):
        list(ShardDataset(counts_set, pad_to=3))
    foreign = tokenizer_from_json({**_other_vocab(counts_set)}, "test")
    with pytest.raises(MappingError, match=r"only 0\.0% of the counts of .* belong to genes of the vocabulary"):
        ShardDataset(counts_set, tokenizer=foreign)


def _other_vocab(path):
    table = tokenizer_to_json(ShardSet(path).tokenizer)
    return {**table, "genes": {f"OTHER{i}": i for i in range(9)}, "name": "other"}


def test_categories_are_sorted_strings(counts_set):
    from scdata.shard.files import read_arrow

    table = read_arrow(counts_set / "categories.arrow")
    assert table.schema.field("categories").type == pa.list_(pa.string())
    for strings in table["categories"].to_pylist():
        assert strings == sorted(set(strings))


def test_dense_ranks_begin_at_one_in_stored_sets_and_on_the_fly(counts_set, ranks_set):
    stored = ShardDataset(ranks_set, output="dense", batch_size=400)
    fly = ShardDataset(counts_set, output="dense", batch_size=400, tokenizer=ShardSet(ranks_set).tokenizer)
    rows = [
        {int(c): v for c, v in zip(b["cell_id"], b["values"], strict=True)}
        for b in (next(iter(stored)), next(iter(fly)))
    ]
    assert rows[0].keys() == rows[1].keys()
    for cell, ranks in rows[0].items():
        assert torch.equal(ranks, rows[1][cell])
        assert int(ranks[ranks > 0].min()) == 1


def test_stored_bins_verify_and_stream_as_int32(tmp_path):
    text = 'description = "bins"\nstores = "tokens"\n[value]\nkind = "quantile"\nn_bins = 11\n'
    (tmp_path / "bins.toml").write_text(text)
    out = tmp_path / "set"
    scdata.build_shards("synthetic:cells=200,genes=50,mean_genes=20", out, tokenizer=str(tmp_path / "bins.toml"))
    assert scdata.verify_shards(out).problems == []
    batch = next(iter(ShardDataset(out, output="packed")))
    assert batch["values"].dtype == torch.int32
    assert set(batch["values"].tolist()) <= set(range(1, 11))


def test_a_vocabulary_with_few_genes_but_most_counts_is_enough(tmp_path):
    import anndata
    import scipy.sparse as sp

    counts = np.ones((80, 100), np.float32)
    counts[:, :30] = 200
    anndata.AnnData(sp.csr_matrix(counts)).write_h5ad(tmp_path / "a.h5ad")
    scdata.build_shards(tmp_path / "a.h5ad", tmp_path / "set")
    table = tokenizer_to_json(ShardSet(tmp_path / "set").tokenizer)
    some = tokenizer_from_json({**table, "name": "some", "genes": {str(i): i for i in range(30)}}, "test")
    batch = next(iter(ShardDataset(tmp_path / "set", tokenizer=some, output="packed", batch_size=80)))
    assert set(batch["values"].tolist()) == {200}
    few = tokenizer_from_json({**table, "name": "few", "genes": {str(i): i for i in range(50, 100)}}, "test")
    with pytest.raises(MappingError, match=r"only \d\.\d% of the counts"):
        ShardDataset(tmp_path / "set", tokenizer=few)


@pytest.mark.parametrize("missing", [False, True])
def test_first_cut_keeps_the_lowest_ids_whether_all_genes_map_or_not(counts_set, missing):
    table = tokenizer_to_json(ShardSet(counts_set).tokenizer)
    genes = dict(sorted(table["genes"].items())[1 if missing else 0 :])
    other = tokenizer_from_json({**table, "name": "other", "genes": genes}, "test")
    dataset = ShardDataset(counts_set, tokenizer=other, output="packed", batch_size=50, context_length=4)
    whole = ShardDataset(counts_set, tokenizer=other, output="packed", batch_size=50)
    for short, full in zip(dataset, whole, strict=True):
        for i in range(len(short["cell_id"])):
            kept = short["token_ids"][short["cu_seqlens"][i] : short["cu_seqlens"][i + 1]].tolist()
            every = full["token_ids"][full["cu_seqlens"][i] : full["cu_seqlens"][i + 1]].tolist()
            assert kept == sorted(every)[:4]


def test_what_would_fail_later_fails_when_the_loader_is_made(counts_set, tmp_path):
    with pytest.raises(ValueError, match="context_length 1 leaves no room beside 1 special tokens"):
        ShardDataset(counts_set, tokenizer="scgpt+fit", context_length=1)
    text = 'description = "d"\nstores = "counts"\n[value]\nkind = "lognorm"\ntotal = "cell_type"\n'
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(
        TokenizerError, match=r"divides by the obs column 'cell_type', which .* does not hold as a number"
    ):
        ShardDataset(counts_set, tokenizer=scdata.load_tokenizer(str(tmp_path / "t.toml")))
    with pytest.raises(ValueError, match=r"dtype = torch\.float16: for output='dense' one of"):
        ShardDataset(counts_set, output="dense", dtype=torch.float16)
