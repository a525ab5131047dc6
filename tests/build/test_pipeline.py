"""A build from end to end: what is read back through the decoder is what stands in the source."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdata
from scdata._splitmix import keys, stream
from scdata.build import Progress
from scdata.resources import resource
from scdata.shard.shard_set import ShardSet
from scdata.tokens.stored import tokenizer_from_json

SEED = 7


@pytest.fixture(scope="module")
def demo():
    path = resource("demo/demo_pbmc_ifnb_1k.h5ad")
    return path, anndata.read_h5ad(path)


@pytest.fixture(scope="module")
def demo_set(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "set"
    arguments = {"splits": ["val=0.2", "test=condition:'nothing','IFN-beta'"], "seed": SEED}
    manifest = scdata.build_shards(demo[0], out, shard_size=1 << 16, block_size=100, **arguments)
    return out, manifest


def ensembl_or_name(adata):
    """The ids that the demo's genes are known by: 23 of them have no Ensembl id."""
    return [own or name for own, name in zip(adata.var["ensembl_id"], adata.var_names, strict=True)]


def counts_by_token(adata, path):
    """{token id: count} of each cell of an AnnData, computed apart from scdata."""
    opened = ShardSet(path)
    ids, tokens = (opened.var[name].to_pylist() for name in ("feature_id", "token_id"))
    token = dict(zip(ids, tokens, strict=True))
    ids = ensembl_or_name(adata)
    x = sp.csr_matrix(adata.X)
    out = []
    for c in range(x.shape[0]):
        own = {}
        for g, v in zip(x.indices[x.indptr[c] : x.indptr[c + 1]], x.data[x.indptr[c] : x.indptr[c + 1]], strict=True):
            if v:
                own[token[ids[g]]] = own.get(token[ids[g]], 0) + int(v)
        out.append(own)
    return out


def test_every_cell_of_the_demo_is_there_once_exactly(demo, demo_set, read_cells):
    adata, (path, manifest) = demo[1], demo_set
    cells = read_cells(path)
    assert manifest["sources"][0]["feature_id"] == "ensembl_id"
    expected = counts_by_token(adata, path)
    assert sorted(cells) == list(range(adata.n_obs))
    assert [cells[i]["counts"] for i in range(adata.n_obs)] == expected
    totals = np.asarray(adata.X.sum(axis=1)).ravel().astype(int).tolist()
    assert [cells[i]["total_counts"] for i in range(adata.n_obs)] == totals
    assert [cells[i]["vocab_counts"] for i in range(adata.n_obs)] == totals
    assert manifest["total_counts"] == manifest["vocab_counts"] == sum(totals)
    assert manifest["n_cells"] == manifest["n_cells_read"] == adata.n_obs
    assert manifest["drops"] == []
    assert scdata.verify_shards(path).problems == []


def test_cells_are_in_the_right_split_and_in_order_of_their_keys(demo, demo_set, read_cells):
    cells = read_cells(demo_set[0])
    n = demo[1].n_obs
    uniform = (keys(np.arange(n), stream(SEED, "split", 0)) >> np.uint64(11)) * 2.0**-53
    stim = (demo[1].obs["condition"] == "IFN-beta").to_numpy()
    expected = np.where(uniform < 0.2, "val", np.where(stim, "test", "train"))
    assert [cells[i]["split"] for i in range(n)] == expected.tolist()
    key = keys(np.arange(n), stream(SEED, "order"))
    for split in ("train", "val", "test"):
        own = [i for i in np.argsort(key).tolist() if expected[i] == split]
        assert sorted(own, key=lambda i: cells[i]["place"]) == own


def test_blocks_of_a_shard_differ_by_at_most_one_cell_and_the_index_adds_up(demo_set):
    opened = ShardSet(demo_set[0])
    for split in opened.splits:
        blocks = opened.blocks(split)
        for shard in opened.shards(split):
            own = blocks.n_cells[blocks.shard == shard["shard"]]
            assert own.max() - own.min() <= 1
            assert own.max() <= 100
            assert len(own) == -(-shard["n_cells"] // 100)
            assert (own.sum(), blocks.nnz[blocks.shard == shard["shard"]].sum()) == (
                shard["n_cells"],
                shard["n_tokens"],
            )
    assert len(opened.shards("train")) > 1


def test_obs_files_stand_beside_the_blocks_row_by_row(demo, demo_set, read_cells, read_obs):
    path, adata = demo_set[0], demo[1]
    cells, rows, opened = read_cells(path), read_obs(path), ShardSet(path)
    assert sorted(rows) == sorted(cells)
    for i, row in rows.items():
        assert row["n_tokens"] == len(cells[i]["counts"])
        assert row["total_counts"] == cells[i]["total_counts"]
        assert row["obs_name"] == adata.obs_names[i]
        assert row["dataset"] == cells[i]["dataset"] == "demo_pbmc_ifnb_1k.h5ad"
        for name in adata.obs.columns:
            stored = cells[i]["obs"][name]
            if name in opened.categories:
                stored = opened.categories[name][stored] if stored >= 0 else None
            value = adata.obs[name].iloc[i]
            value = None if pd.isna(value) else value
            assert row[f"obs.{name}" if name == "dataset" else name] == value, name
            assert stored == value, name
    for split in opened.splits:
        stored = opened.read_obs(split)["cell_id"].to_pylist()
        assert stored == sorted((i for i in cells if cells[i]["split"] == split), key=lambda i: cells[i]["place"])


def test_obs_of_every_type_with_nulls(make_h5ad, tmp_path, read_cells, read_obs):
    n = 6
    obs = {
        "text": pd.Categorical(["x", None, "y", "x", "x", "y"]),
        "flag": [True, False, True, True, False, True],
        "maybe": pd.array([True, None, False, None, True, False], "boolean"),
        "small": np.arange(n, dtype=np.int8) - 3,
        "large": np.array([2**60 + i for i in range(n)]),
        "gaps": pd.array([1, None, 3, 4, 5, 6], "Int64"),
        "half": np.array([0.1, np.nan, 0.3, 0.4, 0.5, 0.6], np.float32),
        "cell_id": [f"own-{i}" for i in range(n)],
        "total_counts": np.arange(n) * 1000,
    }
    path = make_h5ad("x", np.eye(n, 3) + 1, obs=obs)
    manifest = scdata.build_shards(path, tmp_path / "set", block_size=4)
    kinds = {column["name"]: column["dtype"] for column in manifest["obs"]}
    assert [kinds[k] for k in ("text", "flag", "small", "large", "half")] == [
        "int32",
        "uint8",
        "int8",
        "int64",
        "float32",
    ]
    cells, rows = read_cells(tmp_path / "set"), read_obs(tmp_path / "set")
    for i in range(n):
        stored, row = cells[i]["obs"], rows[i]
        assert row["text"] == (obs["text"][i] if isinstance(obs["text"][i], str) else None)
        assert (stored["flag"], stored["small"], stored["large"]) == (obs["flag"][i], i - 3, 2**60 + i)
        for name in ("maybe", "gaps"):
            value = obs[name][i]
            assert np.isnan(stored[name]) if value is pd.NA else stored[name] == value, name
        assert np.array_equal(stored["half"], obs["half"][i], equal_nan=True)
        # names of our own keep their meaning, the source's stand beside them
        assert (row["cell_id"], row["obs.cell_id"]) == (i, f"own-{i}")
        assert (row["total_counts"], row["obs.total_counts"]) == (cells[i]["total_counts"], i * 1000)


def test_only_the_obs_asked_for_is_stored(demo, tmp_path):
    manifest = scdata.build_shards(demo[0], tmp_path / "a", obs=["condition"], obs_filter="condition == 'IFN-beta'")
    assert [column["name"] for column in manifest["obs"]] == ["condition"]
    kept = int((demo[1].obs["condition"] == "IFN-beta").sum())
    assert manifest["n_cells"] == kept
    assert manifest["drops"] == [
        {"dataset": "demo_pbmc_ifnb_1k.h5ad", "reason": "obs filter", "n_cells": demo[1].n_obs - kept}
    ]
    assert scdata.build_shards(demo[0], tmp_path / "b", obs=[])["obs"] == []
    assert scdata.verify_shards(tmp_path / "b").ok


def test_sources_with_different_genes(make_h5ad, tmp_path, read_cells):
    random = np.random.default_rng(0)
    xs = [random.poisson(1.0, (90, 3)), random.poisson(1.0, (70, 4))]
    names = [["g2", "g0", "g1"], ["g9", "g1", "g1.x", "g2"]]
    paths = [
        make_h5ad(f"s{i}", x, obs={"only" + str(i): np.arange(len(x))}, var={"index": name})
        for i, (x, name) in enumerate(zip(xs, names, strict=True))
    ]
    out = tmp_path / "set"
    manifest = scdata.build_shards(paths, out)
    token = {g: i for i, g in enumerate(["g0", "g1", "g1.x", "g2", "g9"])}
    cells = read_cells(out)
    for source, offset in ((0, 0), (1, 90)):
        for i, row in enumerate(xs[source]):
            counts = {token[g]: int(v) for g, v in zip(names[source], row, strict=True) if v}
            if counts:
                assert cells[offset + i]["counts"] == counts
                assert cells[offset + i]["dataset"] == f"s{source}.h5ad"
                other = cells[offset + i]["obs"][f"only{1 - source}"]
                assert np.isnan(other)
            else:
                assert offset + i not in cells
    assert manifest["n_cells"] == len(cells) == sum((x.sum(1) > 0).sum() for x in xs)
    measured = ShardSet(out).measured
    assert measured.tolist() == [[True, True, False, True, False], [False, True, True, True, True]]


def test_files_of_one_name_are_different_datasets(tmp_path, read_obs):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        anndata.AnnData(sp.csr_matrix(np.ones((3, 2), np.float32))).write_h5ad(tmp_path / folder / "x.h5ad")
    out = tmp_path / "set"
    scdata.build_shards([tmp_path / "a" / "x.h5ad", tmp_path / "b" / "x.h5ad"], out)
    assert ShardSet(out).datasets == ["x.h5ad", "x.h5ad"]
    assert len(read_obs(out)) == 6
    frame = pd.read_parquet(out / "obs" / "000" / "train-000000.parquet")
    assert frame["dataset"].astype(str).tolist() == ["x.h5ad"] * 6


def test_equal_ids_are_summed_and_a_large_count_is_kept(make_h5ad, tmp_path, read_cells):
    x = np.array([[70_000, 5, 2**24], [1, 2, 3]])
    path = make_h5ad("x", x, var={"index": ["a", "b", "c"], "gene_ids": ["k", "k", "m"]})
    scdata.build_shards(path, tmp_path / "set")
    cells = read_cells(tmp_path / "set")
    assert cells[0]["counts"] == {0: 70_005, 1: 2**24}
    assert cells[1]["counts"] == {0: 3, 1: 3}


def test_progress_as_json_lines_and_as_plain_lines(demo, tmp_path):
    import io

    stream_, lines = io.StringIO(), io.StringIO()
    scdata.build_shards(demo[0], tmp_path / "a", progress=Progress("json", stream_))
    events = [json.loads(line) for line in stream_.getvalue().splitlines()]
    assert [e["phase"] for e in events if e["event"] == "phase"] == [
        "obs",
        "sample",
        "scatter",
        "equal cells",
        "gather",
    ]
    assert all(0 <= e["done"] <= e["total"] for e in events if e["event"] == "progress")
    assert any("demo_pbmc_ifnb_1k.h5ad: " in e.get("text", "") for e in events)
    scdata.build_shards(demo[0], tmp_path / "b", progress=Progress("lines", lines))
    assert "scatter: " in lines.getvalue()
    scdata.build_shards(demo[0], tmp_path / "c", progress=Progress("bars", io.StringIO()))
    assert scdata.verify_shards(tmp_path / "c").ok


# -- tokens ------------------------------------------------------------------


def test_ranks_are_those_that_the_tokenizer_of_the_set_gives(demo, tmp_path):
    out = tmp_path / "set"
    manifest = scdata.build_shards(demo[0], out, tokenizer="geneformer-v2", assets="fit", block_size=300)
    assert (manifest["tokenizer"], manifest["encoding"]) == ("geneformer-v2+fit", "ragged-tokens-1")
    opened = ShardSet(out)
    tokenizer = tokenizer_from_json(json.loads((out / "vocab.json").read_text()), "vocab.json")
    adata, ids = demo[1], ensembl_or_name(demo[1])
    expected = tokenizer.encode(sp.csr_matrix(adata.X), ids)
    blocks, seen = opened.blocks("train"), 0
    data = opened.shard_path("train", 0).read_bytes()
    for start, length in zip(blocks.offset.tolist(), blocks.length.tolist(), strict=True):
        block = scdata.decode_block(data[start : start + length])
        assert block.values is None
        for c, cell in enumerate(block.cell_id.tolist()):
            theirs = expected.token_ids[expected.indptr[cell] : expected.indptr[cell + 1]]
            assert (block.ids[block.indptr[c] : block.indptr[c + 1]] == theirs).all()
            seen += 1
    assert seen == adata.n_obs
    # the fitted medians are within half a step of the true ones
    x = sp.csr_matrix(adata.X).astype(np.float64)
    x = sp.csc_matrix(sp.diags(1e4 / np.asarray(x.sum(axis=1)).ravel()) @ x)
    for g in range(0, x.shape[1], 97):
        own = x.data[x.indptr[g] : x.indptr[g + 1]]
        if len(own):
            fitted = tokenizer.fitted.medians[tokenizer.map_ids([ids[g]])[0]]
            assert np.isclose(fitted, np.sort(own)[(len(own) - 1) // 2], rtol=0.0051)


def test_stored_values_beside_special_tokens_keep_their_sign(demo, tmp_path):
    preset = tmp_path / "bins.toml"
    preset.write_text(
        'description = "bins"\nstores = "tokens"\n[vocab]\nspecial = ["<pad>", "<cls>"]\npad = "<pad>"\n[genes]\n'
        'prepend = ["<cls>"]\n[value]\nkind = "quantile"\nn_bins = 51\npad = -2\nspecial = -2\n'
    )
    out = tmp_path / "set"
    scdata.build_shards(demo[0], out, tokenizer=str(preset))
    opened = ShardSet(out)
    blocks = opened.blocks("train")
    data = opened.shard_path("train", 0).read_bytes()
    block = scdata.decode_block(data[int(blocks.offset[0]) : int(blocks.offset[0] + blocks.length[0])])
    assert (block.ids[block.indptr[:-1]] == 1).all()
    assert (block.values[block.indptr[:-1]] == -2).all()
    assert block.values.max() == 50


def test_odd_columns_of_obs_and_var(tmp_path):
    """What pandas makes of empty and half columns: float16, NaN for strings, text where a number is meant."""
    data = anndata.AnnData(sp.csr_matrix(np.eye(4, dtype=np.float32) * 2))
    data.obs["half"] = np.array([0.5, 1, 2, np.nan], np.float16)
    data.var["gene_symbol"] = np.nan
    data.var["feature_length"] = ["12.5", "x", "", "3"]
    data.write_h5ad(tmp_path / "odd.h5ad")
    scdata.build_shards(tmp_path / "odd.h5ad", tmp_path / "set")
    shards = ShardSet(tmp_path / "set")
    assert shards.var["feature_length"].to_pylist() == [None] * 4
    half = shards.read_obs("train").sort_by("cell_id")["half"].to_pylist()
    assert half[:3] == [0.5, 1, 2]
    assert np.isnan(half[3])


def test_columns_that_are_one_gene_are_summed_and_reported(tmp_path, capsys):
    data = anndata.AnnData(sp.csr_matrix(np.ones((3, 4), np.float32)))
    data.var["feature_id"] = ["ENSG00000000001.1", "ENSG00000000001.2", "ENSG00000000002", "ENSG00000000001"]
    data.write_h5ad(tmp_path / "a.h5ad")
    manifest = scdata.build_shards(tmp_path / "a.h5ad", tmp_path / "set", progress=Progress("lines"))
    assert "a.h5ad: 2 columns are the same gene as another one and are summed with it" in capsys.readouterr().err
    assert (manifest["n_genes"], manifest["sources"][0]["n_genes_distinct"]) == (2, 2)
    assert manifest["vocab_counts"] == 12


def test_the_obs_column_that_a_preset_divides_by_is_kept(tmp_path):
    text = 'description = "d"\nstores = "counts"\n[value]\nkind = "lognorm"\ntotal = "batch"\n'
    (tmp_path / "t.toml").write_text(text)
    source = "synthetic:cells=100,genes=30,mean_genes=10"
    scdata.build_shards(source, tmp_path / "set", tokenizer=str(tmp_path / "t.toml"), obs=["cell_type"])
    assert {column["name"] for column in ShardSet(tmp_path / "set").manifest["obs"]} == {"cell_type", "batch"}
