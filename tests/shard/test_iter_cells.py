import shutil

import numpy as np
import pytest
import webdataset as wds

import scdata
from scdata._errors import SetNotFoundError
from scdata.shard import ShardSet

# webdataset leaves the closing of shards to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def urls(path):
    return sorted(str(tar) for tar in path.glob("shards/*/*.tar"))


def stock(paths, compose):
    return wds.WebDataset(paths, shardshuffle=False).compose(compose)


def test_a_stock_reader_gives_each_cell_once_as_the_source_has_it(built_set, source_uri):
    source = scdata.open_source(source_uri)
    tokens = scdata.load_tokenizer("counts").with_genes(source.genes.feature_ids, {}).genes().token_ids
    categories = ShardSet(built_set).categories
    obs = source.obs(slice(0, 700), ["cell_type", "dataset_id"])
    seen = []
    for cell in stock(urls(built_set), scdata.iter_cells):
        row = cell["cell_id"]
        genes, counts = source.expected(row)
        found = dict(zip(cell["token_ids"].tolist(), cell["values"].tolist(), strict=True))
        assert found == {tokens[source.genes.feature_ids[g]]: c for g, c in zip(genes, counts.tolist(), strict=True)}
        assert cell["total_counts"] == cell["vocab_counts"] == counts.sum()
        assert categories["cell_type"][cell["cell_type"]] == obs["cell_type"][row].as_py()
        seen.append(row)
    empty = [row for row in range(700) if len(source.expected(row)[0]) == 0]
    assert sorted(seen + empty) == list(range(700))
    assert len(empty) > 0


def test_a_stock_reader_leaves_blocks_as_bytes(built_set):
    index = ShardSet(built_set).index
    samples = list(wds.WebDataset(urls(built_set), shardshuffle=False))
    assert len(samples) == len(index)
    cells = [scdata.decode_block(sample["arrow"]) for sample in samples]
    assert sorted(c.n_cells for c in cells) == sorted(index["n_cells"].to_pylist())


def test_keys_are_unique_and_the_set_may_be_named(built_set, tmp_path):
    alone = shutil.copy(urls(built_set)[0], str(tmp_path / "elsewhere.tar"))
    found = list(stock([alone], lambda samples: scdata.iter_cells(samples, built_set)))
    expected = list(stock(urls(built_set)[:1], scdata.iter_cells))
    assert len({cell["__key__"] for cell in found}) == len(found) > 1
    for a, b in zip(found, expected, strict=True):
        assert a["__key__"] == b["__key__"]
        np.testing.assert_array_equal(a["token_ids"], b["token_ids"])


@pytest.mark.parametrize("url", [None, "train.tar", "/nowhere/shards/000/train-000000.tar"])
def test_a_shard_without_its_set_is_an_error(built_set, url):
    sample = next(iter(wds.WebDataset(urls(built_set)[:1], shardshuffle=False)))
    with pytest.raises(SetNotFoundError):
        next(scdata.iter_cells([{**sample, "__url__": url}]))


def test_another_set_at_the_same_place_is_read_anew(tmp_path):
    out = tmp_path / "set"
    for seed in (0, 1):
        source = f"synthetic:cells=80,genes=60,mean_genes=20,seed={seed}"
        scdata.build_shards(source, out, overwrite=True)
        rule = scdata.open_source(source)
        for cell in stock(urls(out), scdata.iter_cells):
            assert sorted(cell["token_ids"].tolist()) == rule.expected(cell["cell_id"])[0].tolist()


def test_token_sets_need_no_table(tmp_path):
    out = tmp_path / "ranks"
    scdata.build_shards(
        "synthetic:cells=60,genes=80,mean_genes=20", out, tokenizer="geneformer-v2", assets="fit", codec="none"
    )
    cells = list(stock(urls(out), scdata.iter_cells))
    assert {(cell["token_ids"][0], cell["token_ids"][-1]) for cell in cells} == {(2, 3)}
    assert all("values" not in cell for cell in cells)
    assert scdata.verify_shards(out).ok
