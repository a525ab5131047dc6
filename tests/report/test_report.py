"""The report's numbers are those of the manifest and of pandas on the same cells; whatever a set holds is only text in it."""

import json
import subprocess
import sys
from itertools import pairwise

import anndata
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import scdata
from scdata._errors import CorruptShardError
from scdata.cli.main import cli
from scdata.report.page import report_page
from scdata.report.set_numbers import set_numbers
from scdata.report.tally import tally
from scdata.shard.shard_set import ShardSet
from tests.report.page import Page

N_CELLS = 894  # of the shipped 1,000 those that express 520 genes or more


@pytest.fixture(scope="module")
def cells(demo_set):
    """All cells of the set, for pandas."""
    parts = {split: scdata.to_anndata(demo_set, split=split) for split in ("train", "val")}
    return anndata.concat(parts, label="split", merge="same")


def test_the_numbers_of_the_manifest(demo_page, demo_set):
    manifest = ShardSet(demo_set).manifest
    main = demo_page.column("The main numbers", "demo.set")
    assert main["cells"] == manifest["n_cells"] == N_CELLS
    assert main["genes of the set"] == manifest["n_genes"]
    assert main["counts in the vocabulary"] == manifest["vocab_counts"] / manifest["total_counts"]
    n_bytes = sum(split["bytes"] for split in manifest["splits"].values())
    assert main["MB"] == n_bytes / 1e6
    for heading, key in (("cells", "n_cells"), ("genes", "n_tokens"), ("shards", "n_shards")):
        found = demo_page.column("Splits", heading)
        assert found == {name: split[key] for name, split in manifest["splits"].items()}
    reasons = demo_page.column("Left out, by reason", "cells")
    assert reasons == {"fewer than 520 genes": manifest["n_cells_read"] - manifest["n_cells"]}
    [(dataset, left_out)] = demo_page.column("Left out, by dataset", "left out").items()
    assert (dataset, left_out) == ("demo_pbmc_ifnb_1k.h5ad", 1000 - N_CELLS)
    hashes = demo_page.column("Hashes", "value")
    assert hashes["content_hash"] == manifest["content_hash"]
    assert hashes["manifest_sha256"] == ShardSet(demo_set).manifest_hash
    assert demo_page.column("Options of scdata build", "value")["min_genes"] == "520"


def test_values_of_columns_are_those_of_pandas(demo_page, cells):
    for name in ("condition", "is_control"):
        column = cells.obs[name]
        if name == "is_control":  # a bool, stored as 0 and 1
            column = column.map({0: "false", 1: "true"})
        expected = column.value_counts()
        assert demo_page.column(f"{name}: ", "cells") == expected.to_dict()
        assert demo_page.column(f"{name}: ", "share") == (expected / len(cells)).to_dict()
        for split in ("train", "val"):
            own = column[cells.obs["split"] == split].value_counts()
            assert demo_page.column(f"{name}: ", split) == own.reindex(expected.index, fill_value=0).to_dict()
    alike = demo_page.column("The same in all cells", "value")
    for name in ("disease", "assay", "tissue", "organism"):
        assert [alike[name]] == cells.obs[name].unique().tolist()
    # ours and the source's, which has a column of that name
    assert alike["dataset"] == "demo_pbmc_ifnb_1k.h5ad"
    assert alike["dataset (obs)"] == "kang2018_pbmc_ifnb"


def test_depths_are_those_of_pandas(demo_page, cells):
    heads, rows = demo_page.table("Counts and genes of a cell")
    counts, genes = np.asarray(cells.X.sum(axis=1)).ravel(), np.diff(cells.X.indptr)
    expected = [float(np.quantile(of, q)) for of in (counts, genes) for q in (0.5, 0.05, 0.95)]
    assert heads[2:] == [f"{of}, {q}" for of in ("counts", "genes") for q in ("median", "5 %", "95 %")]
    assert rows == [["all cells", N_CELLS, *expected], ["demo_pbmc_ifnb_1k.h5ad", N_CELLS, *expected]]
    assert f"{counts.mean():,.1f} counts" in demo_page.text
    assert "Quantiles are of all cells." in demo_page.text


def test_genes_are_those_of_pandas(demo_page, demo_numbers, cells):
    detected = pd.Series((cells.X > 0).sum(axis=0).A1, cells.var_names)
    total = pd.Series(np.asarray(cells.X.sum(axis=0)).ravel(), cells.var_names)
    heads, rows = demo_page.table("Most detected genes")
    assert heads == ["gene", "detected in", "share", "measured in", "counts", "id"]
    assert [row[1] for row in rows] == detected.sort_values(ascending=False)[:20].tolist()
    for symbol, n, share, measured, counts, gene in rows:
        assert symbol == cells.var.loc[gene, "feature_name"]
        assert (measured, n, share, counts) == (N_CELLS, detected[gene], detected[gene] / N_CELLS, total[gene])
    assert {row[1] for row in demo_page.table("Least detected genes")[1]} == {0}
    own = demo_numbers.table["genes"]
    assert own["never_detected"] == (detected == 0).sum()
    assert sum(own["histogram"]) == (detected > 0).sum()


def test_variable_genes_are_those_of_scanpy(demo_page, cells):
    import scanpy

    found = cells.copy()
    scanpy.pp.highly_variable_genes(found, flavor="seurat_v3", n_top_genes=2000)
    expected = found.var["variances_norm"].sort_values(ascending=False)[:20]
    rows = demo_page.table("Most variable genes")[1]
    assert [row[1] for row in rows] == pytest.approx(expected.tolist())
    assert {row[3] for row in rows} == set(expected.index)
    assert [row[2] for row in rows] == pytest.approx([cells[:, row[3]].X.mean() for row in rows])


def test_tokens_by_preset_are_those_of_the_loader(demo_page, demo_set):
    heads, rows = demo_page.table("Tokens by preset")
    found = {row[0]: dict(zip(heads, row, strict=True)) for row in rows}
    assert {"counts", "scgpt+fit", "geneformer-v2+fit", "depth-bins+fit"} <= set(found)
    for name in ("scgpt+fit", "geneformer-v2+fit"):
        ds = scdata.ShardDataset(demo_set, tokenizer=name, output="packed", batch_size=2000, shuffle=False)
        [batch] = ds
        lengths = np.diff(batch["cu_seqlens"].numpy())
        own = found[name]
        assert (own["min"], own["tokens, median"], own["max"]) == (lengths.min(), np.median(lengths), lengths.max())
        assert own["cells that fill the context"] == (lengths == own["context"]).mean()


def test_the_page_stands_on_its_own(demo_numbers, demo_page, demo_set):
    assert all(link.startswith("#") and link[1:] in demo_page.ids for link in demo_page.links)
    assert len(set(demo_page.ids)) == len(demo_page.ids)
    assert set(demo_page.labels) <= set(demo_page.ids)
    html = report_page([demo_numbers])
    assert "url(http" not in html
    assert "@import" not in html
    assert str(demo_set.parent) not in html
    [policy] = [
        found["content"] for tag, found in demo_page.tags if found.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'")


def test_people_who_do_not_see_it_can_read_and_sort_it(demo_page):
    tags = [tag for tag, _ in demo_page.tags]
    levels = [int(tag[1]) for tag in tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(caption and all(heads) for caption, heads, _ in demo_page.tables)
    assert all(found.get("role") == "img" and found["aria-labelledby"] for tag, found in demo_page.tags if tag == "svg")
    assert tags.count("svg") == 6
    heads = [found for tag, found in demo_page.tags if tag == "th" and "aria-sort" in found]
    assert len(heads) == tags.count("button") > 50
    assert all(found["scope"] == "col" for found in heads)
    assert ("html", {"lang": "en"}) in demo_page.tags


def test_what_a_set_holds_is_only_text(make_set):
    evil = "<script>alert(1)</script>"
    names = [evil, "\"><img src=x onerror='x'>", "$\\frac{", "--></svg>", "ключ 細胞", "\x1b[31m"]
    X = np.random.default_rng(0).poisson(1.0, (240, 30))
    obs = {"a<b>&": [names[i % 6] for i in range(240)], "style": ["';}</style>"] * 240}
    page = set_numbers(make_set("evil", X, obs, [f"<b>gene{i}</b>" for i in range(30)], splits=["val=0.2"]))
    html = report_page([page])
    found = Page(html)
    assert found.column("a<b>&: 6 values", "cells") == {name.replace("\x1b", "\ufffd"): 40 for name in names}
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert {"img", "b"} & {tag for tag, _ in found.tags} <= {"b"}  # ours are around names of presets
    assert not any(key.startswith("on") for _, attributes in found.tags for key in attributes)
    assert evil not in html
    assert any(row[0].startswith("<b>gene") for row in found.table("Most detected genes")[1])


def test_names_of_datasets_in_figures_are_only_text(make_h5ad, tmp_path):
    names = ["</svg><script>x</script>", "$\\frac{", "細胞", "a" * 300]
    for i, name in enumerate(names):
        make_h5ad(name.replace("/", "∕")[:80], np.random.default_rng(i).poisson(2.0, (50, 30)))
    scdata.build_shards(sorted(tmp_path.glob("*.h5ad")), tmp_path / "all.set")
    found = Page(report_page([set_numbers(tmp_path / "all.set")]))
    assert len(found.column("dataset: 4 values", "cells")) == 4
    assert [tag for tag, _ in found.tags].count("script") == 1


def test_two_sets_stand_side_by_side(demo_numbers, make_set):
    other = set_numbers(make_set("other", np.random.default_rng(1).poisson(2.0, (60, 40)), {"donor": ["x", "y"] * 30}))
    page = Page(report_page([demo_numbers, other]))
    assert page.column("The main numbers", "demo.set")["cells"] == N_CELLS
    assert page.column("The main numbers", "other.set")["cells"] == 60
    assert page.column("Throughput", "cells/s", 1).keys() == {"packed", "padded", "dense"}
    assert page.column("donor: 2 values", "cells") == {"x": 30, "y": 30}
    assert len(set(page.ids)) == len(page.ids)
    same = Page(report_page([other, other]))
    assert same.table("The main numbers")[0][1:] == ["other.set (1)", "other.set (2)"]


@pytest.mark.parametrize(("tokenizer", "name"), [("geneformer-v2", "geneformer-v2+fit"), ("depth-bins", "depth-bins")])
def test_a_set_of_tokens(tmp_path, tokenizer, name):
    out = tmp_path / "tokens.set"
    scdata.build_shards("synthetic:cells=300,genes=80,mean_genes=20", out, tokenizer=tokenizer, assets="fit")
    found = set_numbers(out)
    page = Page(report_page([found]))
    shards = ShardSet(out)
    [row] = page.table("Tokens by preset")[1]
    assert row[0] == name
    assert "This set holds tokens" in page.text
    detected = np.zeros(shards.tokenizer.genes().n_tokens, int)
    for cell in scdata.ShardDataset(out, output="packed", batch_size=50, shuffle=False):
        detected += np.bincount(cell["token_ids"].numpy(), minlength=len(detected))
    of_genes = detected[shards.var["token_id"].to_numpy()]
    heads, rows = page.table("Most detected genes")
    assert "counts" not in heads
    assert [row[1] for row in rows] == sorted(of_genes.tolist(), reverse=True)[:20]


def test_a_set_of_one_cell(make_set):
    path = make_set("one", [[3, 0, 1, 0]], {"age": [np.nan], "n": [7]})
    page = Page(report_page([set_numbers(path)]))
    assert page.column("The main numbers", "one.set")["cells"] == 1
    assert page.table("obs columns of numbers")[1] == [["age", 0, 1, "–", "–", "–", "–"]]
    assert page.column("The same in all cells", "value") == {"dataset": "one.h5ad", "n": "7"}
    assert "One cell cannot be shuffled." in page.text
    assert "run scdata fit one.set" in page.text


def test_how_far_two_sets_are_apart(make_set):
    X = np.random.default_rng(1).poisson(2.0, (60, 40))
    donors = [["x", "y", "y"] * 20, ["y", "z", "z"] * 20]
    sets = [set_numbers(make_set(f"s{i}", X, {"donor": own, "n": range(60)})) for i, own in enumerate(donors)]
    page = Page(report_page(sets))
    heads, rows = page.table("How far apart they are")
    assert heads == ["column", "distance", "values of both", "only s0.set", "only s1.set"]
    assert rows == [["dataset", 1, 0, 1, 1], ["donor", pytest.approx(2 / 3), 1, 1, 1]]


def test_leaks_are_told(make_set):
    rng = np.random.default_rng(5)
    X = rng.integers(1, 9, (40, 60))
    X[20:30] = X[:10]
    part = ["train"] * 20 + ["val"] * 20
    obs = {"part": part, "donor_id": ["x", "y"] * 20}
    path = make_set("leaky", X, obs, splits=["val=part:'val'"])
    found = ShardSet(path).manifest
    assert found["duplicates"]["leaked"] == 10
    page = Page(report_page([set_numbers(path)]))
    assert "10 cells are copies of others (10 groups); 10 of them stand in another split than the first" in page.text
    assert "leak: 10 cells of train equal 10 of val" in page.text
    assert page.column("Balance", "distance")["part"] == 0.5


def test_a_damaged_set_gives_no_page(make_set, tmp_path):
    path = make_set("damaged", np.random.default_rng(1).poisson(2.0, (60, 40)))
    [shard] = path.glob("shards/**/*.tar")
    data = bytearray(shard.read_bytes())
    data[900] ^= 1
    shard.write_bytes(data)
    done = CliRunner().invoke(cli, ["report", str(path), "-o", str(tmp_path / "x.html")])
    assert isinstance(done.exception, CorruptShardError)
    assert not (tmp_path / "x.html").exists()


def test_an_empty_split(make_set):
    path = make_set(
        "gap", np.random.default_rng(1).poisson(2.0, (60, 40)), {"donor": ["x", "y"] * 30}, splits=["val=0.3"]
    )
    manifest = json.loads((path / "manifest.json").read_text())
    # as another writer may have it; builds refuse to make one
    manifest["splits"]["test"] = {"bytes": 0, "n_cells": 0, "n_shards": 0, "n_tokens": 0}
    (path / "manifest.json").write_text(json.dumps(manifest))
    page = Page(report_page([set_numbers(path)]))
    assert page.column("Splits", "cells")["test"] == 0
    assert page.column("donor: 2 values", "test") == {"x": 0, "y": 0}
    assert {row[1] for row in page.table("Balance")[1]} == {"train", "val"}


def test_numbers_and_a_sample(make_set):
    rng = np.random.default_rng(3)
    age = rng.normal(50, 9, 400)
    age[::7] = np.nan
    batch = rng.integers(0, 100, 400)
    plate = [None, 1, 2, 2] * 100
    obs = {"age": age, "batch": batch, "plate": plate}
    path = make_set("numbers", rng.poisson(1.0, (400, 30)), obs, block_size=64)
    kept = scdata.to_anndata(path).obs
    page = Page(report_page([set_numbers(path)]))
    rows = {row[0]: row[1:] for row in page.table("obs columns of numbers")[1]}
    # whole numbers with nulls, which are stored as float64
    assert page.column("plate: 2 values", "cells") == {"2": 200, "1": 100, "null": 100}
    column = kept["age"]
    assert rows["age"] == pytest.approx(
        [column.count(), column.isna().sum(), column.min(), column.median(), column.mean(), column.max()]
    )
    assert rows["batch"][2:] == pytest.approx(
        [kept["batch"].min(), kept["batch"].median(), kept["batch"].mean(), kept["batch"].max()]
    )
    # depths of a sample are those of the first cells, sums are of all
    found = tally(ShardSet(path), most=100)
    assert found.sampled
    assert found.total_counts.tolist() == kept["total_counts"][:100].tolist()
    assert found.n_cells == 400


def test_a_set_in_an_object_store(make_set, s3):
    X = np.random.default_rng(1).poisson(2.0, (60, 40))
    local = make_set("far", X, {"donor": ["x", "y"] * 30})
    far = s3.upload(local, "report/far.set")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
        patch.setenv("AWS_REGION", s3.region)
        found, here = set_numbers(far), set_numbers(local)
    assert {key: found.table[key] for key in ("columns", "depths", "genes", "cells")} == {
        key: here.table[key] for key in ("columns", "depths", "genes", "cells")
    }
    assert found.name == "far.set"
    assert "s3://" not in report_page([found])


def test_a_set_is_called_by_its_name_wherever_one_stands(make_set, monkeypatch):
    path = make_set("here", np.random.default_rng(1).poisson(2.0, (60, 40)))
    monkeypatch.chdir(path)
    html = report_page([set_numbers(".")])
    assert "<h1>here.set</h1>" in html
    assert "<code>scdata fit here.set</code>" in html
    assert str(path.parent) not in html


def test_the_command(make_set, tmp_path):
    out = tmp_path / "a" / "page.html"
    path = make_set("try", np.random.default_rng(1).poisson(2.0, (60, 40)))
    done = CliRunner().invoke(cli, ["report", str(path), "-o", str(out), "--json"])
    assert done.exit_code == 0, done.output
    table = json.loads(done.stdout)
    assert table["sets"][0]["n_cells"] == Page(out.read_text()).column("The main numbers", "try.set")["cells"] == 60
    done = CliRunner().invoke(cli, ["report", "a", "b", "c"])
    assert done.exit_code == 2
    assert "room for 2" in done.output


def run_without(module, path, out):
    code = f"import sys; sys.modules[{module!r}] = None; from scdata.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "report", str(path), "-o", str(out)]
    return subprocess.run(command, capture_output=True, text=True)


def test_without_matplotlib_it_says_what_to_install(demo_set, tmp_path):
    done = run_without("matplotlib", demo_set, tmp_path / "x.html")
    assert done.returncode == 1
    assert "pip install 'scdata-engine[plot]'" in done.stderr
    assert not (tmp_path / "x.html").exists()


def test_without_torch_all_else_is_there(demo_set, tmp_path):
    done = run_without("torch", demo_set, tmp_path / "x.html")
    assert done.returncode == 0, done.stderr
    page = Page((tmp_path / "x.html").read_text())
    assert page.text.count("pip install 'scdata-engine[torch]'") == 2
    assert page.column("The main numbers", "demo.set")["cells"] == N_CELLS
