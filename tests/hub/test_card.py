"""The card says what the manifest says, in Markdown and YAML that hold whatever a source is called."""

import getpass
import re
import subprocess
import sys

import anndata
import numpy as np
import pyarrow.parquet as pq
import yaml

import scdata
from scdata.hub.card import dataset_card, tag_of
from scdata.hub.origins import origins
from scdata.hub.preview import preview_bytes, preview_table
from scdata.resources import resource
from scdata.shard.shard_set import ShardSet
from tests.two_datasets import Mixed


def front_matter(card):
    head, text = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    return yaml.safe_load(head), text


def test_a_card_says_what_the_manifest_says(demo_set):
    head, text = front_matter(dataset_card(demo_set, "ann/pbmc"))
    manifest = demo_set.manifest
    assert head["configs"] == [
        {
            "config_name": "preview",
            "default": True,
            "data_files": [{"split": "preview", "path": "preview/cells.parquet"}],
        }
    ]
    assert head["size_categories"] == ["1K<n<10K"]
    assert head["license"] == "unknown"
    for split, own in manifest["splits"].items():
        assert f"| {split} | {own['n_cells']:,} | {own['n_tokens']:,} | {own['n_shards']} |" in text
    for told in (manifest["content_hash"], demo_set.manifest_hash, f"hf://datasets/ann/pbmc@{tag_of(demo_set)}"):
        assert told in text
    assert "`condition` (2 categories)" in text
    assert "| `demo_pbmc_ifnb_1k.h5ad` | Homo sapiens | 1,000 | 14,053 of 14,053 |" in text
    # the same set, the same card, so that it need not be uploaded twice
    assert dataset_card(ShardSet(demo_set.path), "ann/pbmc") == dataset_card(demo_set, "ann/pbmc")


def test_genes_that_were_not_measured(demo_set, tmp_path):
    mixed = dataset_card(ShardSet(Mixed(tmp_path).path))
    assert "- Datasets measured different genes: `measured.arrow` says which." in mixed
    assert "measured.arrow" not in dataset_card(demo_set).partition("## Limits")[2]  # one dataset, which measured all


def test_a_card_tells_nothing_of_the_machine(demo_set):
    text = dataset_card(demo_set)
    assert str(demo_set.path.parent) not in text
    assert "/tmp" not in text
    assert not re.search(rf"\b{getpass.getuser()}\b", text)


def test_drops_and_leaks_are_told(tmp_path):
    out = tmp_path / "set"
    scdata.build_shards("synthetic:cells=600,genes=80,mean_genes=20", out, splits=["val=0.3"], min_genes=15)
    shards = ShardSet(out)
    drops = [drop["n_cells"] for drop in shards.manifest["drops"] if drop["reason"] == "fewer than 15 genes"]
    assert len(drops) > 1  # of several datasets
    assert f"| fewer than 15 genes | {sum(drops)} |" in dataset_card(shards)


def test_titles_of_others_stay_in_their_line():
    datasets = [
        {"id": "a", "title": "T | cells\n# not a heading <script>", "collection": "`c`", "doi": "10.1000/x_y"},
        {"id": "b", "doi": "javascript:alert(1)", "citation": "Publication: [click](javascript:x)"},
    ]
    source = {"name": "census:2025-11-08/homo_sapiens", "n_obs": 5, "n_genes": 9, "n_genes_mapped": 8}
    lines = list(origins([{**source, "datasets": datasets}]))
    assert r"| T ¦ cells \# not a heading ‹script› | 'c' | [10.1000/x\_y](https://doi.org/10.1000/x_y) |" in lines
    assert not any("](javascript" in line.replace("\\]", "") for line in lines)
    assert any("CC BY 4.0" in line for line in lines)
    assert not any("not known" in line for line in lines)


def test_many_datasets_are_counted():
    datasets = [{"id": f"d{i}"} for i in range(1000)]
    source = {
        "name": "census:2025-11-08/homo_sapiens",
        "n_obs": 5,
        "n_genes": 9,
        "n_genes_mapped": 8,
        "datasets": datasets,
    }
    lines = list(origins([source]))
    assert len(lines) < 330
    assert "The first 300 of 1,000 datasets; `manifest.json` names all." in lines


def test_a_preview_holds_the_cells_as_the_source_has_them(demo_set):
    table = preview_table(demo_set, 300)
    assert table.num_rows == 300  # of three blocks
    source = anndata.read_h5ad(resource("demo/demo_pbmc_ifnb_1k.h5ad"))
    counts = source.X.toarray()
    symbols = np.asarray(source.var_names)
    for row in table.take([0, 150, 299]).to_pylist():
        at = row["cell_id"]
        assert row["obs_name"] == source.obs_names[at]
        assert row["condition"] == source.obs["condition"].iloc[at]
        assert sum(row["counts"]) == counts[at].sum() == row["total_counts"]
        assert row["counts"] == sorted(row["counts"], reverse=True)
        first = row["genes"][0]
        assert row["counts"][0] == counts[at, symbols == first].sum()
        assert row["top"].startswith(f"{first} {row['counts'][0]}, ")


def test_a_preview_of_ranks_has_genes_in_their_order(tmp_path):
    out = tmp_path / "set"
    scdata.build_shards("synthetic:cells=200,genes=80,mean_genes=20", out, tokenizer="geneformer-v2", assets="fit")
    shards = ShardSet(out)
    table = preview_table(shards)
    assert table.num_rows == shards.manifest["n_cells"] > 190
    assert {"counts", "values"}.isdisjoint(table.column_names)
    row = table.slice(0, 1).to_pylist()[0]
    assert len(row["genes"]) == row["n_tokens"]
    assert row["genes"][0] == "<cls>"


def test_the_command(demo_set, tmp_path):
    file = tmp_path / "preview.parquet"
    command = [sys.executable, "-m", "scdata.cli.main", "card", demo_set.path, "--repo", "a/b", "--preview", file]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == dataset_card(demo_set, "a/b") + "\n"
    assert file.read_bytes() == preview_bytes(demo_set)
    assert pq.read_metadata(file).num_row_groups == 9
    assert len(file.read_bytes()) < 2 << 20
