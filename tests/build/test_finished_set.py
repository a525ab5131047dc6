"""A finished set of counts as a source."""

import json
import pickle

import anndata
import numpy as np
import pytest

import scdata
from scdata._errors import CorruptShardError, SourceError
from scdata.build.finished_set import FinishedSetSource
from scdata.resources import resource
from scdata.shard.shard_set import ShardSet
from scdata.source import H5adSource
from scdata.stream.blocks import BlockReader

DEMO = resource("demo/demo_pbmc_ifnb_1k.h5ad")
ARGUMENTS = {"splits": ["val=0.2"], "shard_size": 1 << 16, "block_size": 64}


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """The demo cells and some with fewer genes, as a set of counts in two splits and several shards."""
    folder = tmp_path_factory.mktemp("counts")
    other = anndata.read_h5ad(DEMO)[:100, 3000:9000].copy()
    other.obs_names = [f"other{i}" for i in range(100)]
    other.obs["age"] = np.arange(100) + 0.5
    other.write_h5ad(folder / "other.h5ad")
    scdata.build_shards([str(DEMO), str(folder / "other.h5ad")], folder / "a.set", **ARGUMENTS)
    return folder / "a.set"


def by_name(path):
    """Token ids, values, measured genes and obs of every cell, by its name in the first source."""
    shards, out = ShardSet(path), {}
    ids = np.array(shards.var["feature_id"].to_pylist(), object)
    for split in shards.splits:
        obs = shards.read_obs(split).drop_columns(["cell_id"]).to_pylist()
        place = 0
        with BlockReader(shards, split, 2) as reader:
            for number in range(len(shards.blocks(split).n_cells)):
                cells = reader.get(number).decode(shards.token_of_code)
                for i in range(cells.n_cells):
                    part = slice(cells.indptr[i], cells.indptr[i + 1])
                    measured = frozenset(ids[shards.measured[cells.dataset[i]]])
                    order = np.argsort(cells.ids[part])
                    tokens = cells.ids[part][order].tolist(), cells.values[part][order].tolist()
                    out[obs[place]["obs_name"]] = (tokens, measured, str(obs[place]))  # as text, NaN is NaN
                    place += 1
    return out


def test_counts_names_datasets_and_obs_survive(counts, tmp_path):
    source = scdata.open_source(counts)
    assert (source.name, source.n_obs, source.notes) == ("a.set", 1100, ())
    assert len(pickle.dumps(source)) < 1000
    scdata.build_shards(counts, tmp_path / "b.set", seed=1, shard_size=1 << 17)
    before, after = by_name(counts), by_name(tmp_path / "b.set")
    assert len(before) == 1100
    assert after == before
    a, b = ShardSet(counts), ShardSet(tmp_path / "b.set")
    assert a.var.drop_columns(["code", "sample_counts"]).equals(b.var.drop_columns(["code", "sample_counts"]))
    assert b.categories == a.categories
    assert not a.measured.all()


def test_rows_are_in_stored_order(counts):
    source = scdata.open_source(counts)
    stored = ShardSet(counts)
    names = [name for split in ("train", "val") for name in stored.read_obs(split)["obs_name"].to_pylist()]
    block = source.read(slice(0, 1100), ["condition", "age"])
    assert block.obs_names.to_pylist() == names
    assert block.obs["condition"].type == source.obs_schema.field("condition").type
    nnz = source.row_nnz(slice(0, 1100))
    assert (np.diff(block.indptr) == nnz).all()
    near = H5adSource(DEMO)
    row_of = {name: i for i, name in enumerate(near.read(slice(0, 1000)).obs_names.to_pylist())}
    symbols = source.var["var_name"].to_pylist()
    for rows in (slice(0, 70), slice(60, 130), slice(870, 900), slice(1099, 1100), slice(5, 5)):
        part = source.read(rows, ["condition", "age"])
        assert part.obs_names.to_pylist() == names[rows]
        assert str(part.obs.to_pylist()) == str(block.obs.to_pylist()[rows])
        assert (part.dataset == block.dataset[rows]).all()
        assert (source.dataset(rows) == block.dataset[rows]).all()
        for i, name in enumerate(names[rows]):
            own = slice(part.indptr[i], part.indptr[i + 1])
            if name in row_of:
                assert part.data[own].sum() == near.read(slice(row_of[name], row_of[name] + 1)).data.sum()
                assert source.genes.datasets[part.dataset[i]] == "demo_pbmc_ifnb_1k.h5ad"
            else:
                assert source.genes.datasets[part.dataset[i]] == "other.h5ad"
                assert part.obs["age"][i].as_py() == int(name.removeprefix("other")) + 0.5
    assert len(symbols) == len(set(source.var["feature_id"].to_pylist()))


def test_another_tokenizer_gives_what_it_gives_from_the_first_source(counts, tmp_path):
    arguments = {"tokenizer": "geneformer-v2", "assets": "fit", "obs": ()}
    scdata.build_shards([str(DEMO), str(counts.parent / "other.h5ad")], tmp_path / "first.set", **arguments)
    scdata.build_shards(counts, tmp_path / "again.set", **arguments)

    def tokens(path):
        shards = ShardSet(path)
        names = shards.read_obs("train")["obs_name"].to_pylist()
        with BlockReader(shards, "train", 2) as reader:
            blocks = [reader.get(i).decode() for i in range(len(shards.blocks("train").n_cells))]
        cells = [b.ids[b.indptr[i] : b.indptr[i + 1]].tolist() for b in blocks for i in range(b.n_cells)]
        return dict(zip(names, cells, strict=True))

    assert tokens(tmp_path / "again.set") == tokens(tmp_path / "first.set")
    with pytest.raises(SourceError, match=r"a set of tokens of 'geneformer-v2\+fit', from which counts cannot be had"):
        scdata.build_shards(tmp_path / "again.set", tmp_path / "c.set")


def test_a_set_in_a_bucket(counts, s3):
    uri = s3.upload(counts, "finished/a.set")
    far, near = scdata.open_source(uri, endpoint=s3.endpoint, region=s3.region), FinishedSetSource(counts)
    a, b = (source.read(slice(50, 200), ["condition"]) for source in (far, near))
    assert np.array_equal(a.data, b.data)
    assert a.obs.equals(b.obs)
    assert far.fingerprint(["condition"]) == near.fingerprint(["condition"])


def test_what_is_refused(counts, tmp_path):
    with pytest.raises(ValueError, match="both a source and the output"):
        scdata.build_shards(counts, counts, overwrite=True)
    with pytest.raises(ValueError, match="a finished set of counts, which takes no dataset_column"):
        scdata.open_source(counts, dataset_column="condition")
    copy = tmp_path / "copy.set"
    scdata.build_shards("synthetic:cells=500,genes=50", copy, block_size=100)
    source = scdata.open_source(copy)
    shard = ShardSet(copy).shard_path("train", 0)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptShardError, match="differs from what was written"):
        source.read(slice(0, source.n_obs))
    ShardSet(copy).obs_path("train", 0).write_bytes(b"none")
    with pytest.raises(SourceError, match=r"train-000000.parquet: cannot be read"):
        scdata.open_source(copy).row_nnz(slice(0, 5))


def test_counts_that_are_gone_are_said(tmp_path):
    manifest = scdata.build_shards("synthetic:cells=500,genes=50", tmp_path / "a.set")
    # as a published vocabulary leaves it, which has a part of the genes
    part = {**manifest, "vocab_counts": manifest["total_counts"] * 9 // 10}
    (tmp_path / "a.set" / "manifest.json").write_text(json.dumps(part))
    [note] = scdata.open_source(tmp_path / "a.set").notes
    assert note == "10.0% of the counts were of genes that the set does not have: totals are those of its genes"
