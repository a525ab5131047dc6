"""Exports read by the tools that they are for, and built from again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scdata
from scdata._errors import OutputExistsError, ScdataError, TokenizerError
from scdata.export.formats import FORMATS
from scdata.resources import resource


@pytest.fixture(scope="module")
def counts_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "counts.set"
    scdata.build_shards(resource("demo/demo_pbmc_ifnb_1k.h5ad"), out, splits=["val=0.1"], block_size=128)
    scdata.fit_set(out)
    return out


@pytest.fixture(scope="module")
def cells(counts_set: Path) -> anndata.AnnData:
    """All cells as the set has them, in stored order, train first."""
    parts = [scdata.to_anndata(counts_set, split=split) for split in ("train", "val")]
    return anndata.concat(parts, merge="same")


def counts_by_gene(found: anndata.AnnData) -> pd.DataFrame:
    """Counts of all cells, genes by name of their column, cells by what is in them: comparable however they are numbered."""
    frame = pd.DataFrame(found.X.toarray(), columns=found.var_names)
    frame = frame.loc[:, frame.sum() > 0].T.sort_index().T
    return frame.sort_values(list(frame.columns[frame.sum().argsort()[::-1][:200]])).reset_index(drop=True)


@pytest.mark.parametrize("format", ["h5ad", "zarr"])
def test_anndata(counts_set: Path, cells: anndata.AnnData, tmp_path: Path, format: str) -> None:
    out = tmp_path / f"cells.{format}"
    assert scdata.export_set(counts_set, out, format) == 1000
    found = (anndata.read_h5ad if format == "h5ad" else anndata.read_zarr)(out)
    assert (found.X != cells.X).nnz == 0
    assert found.X.dtype == np.int32
    assert list(found.obs_names) == list(cells.obs_names)
    assert list(found.var_names) == list(cells.var_names)
    assert found.obs["condition"].tolist() == cells.obs["condition"].tolist()
    assert found.obs["split"].tolist() == ["train"] * 900 + ["val"] * 100
    assert found.var["gene_symbol"].astype(object).equals(cells.var["gene_symbol"].astype(object))


def test_npz(counts_set: Path, cells: anndata.AnnData, tmp_path: Path) -> None:
    scdata.export_set(counts_set, tmp_path / "npz", "npz")
    X = sparse.load_npz(tmp_path / "npz" / "X.npz")
    assert X.shape == cells.shape
    assert (X != cells.X).nnz == 0
    obs, var = (pd.read_parquet(tmp_path / "npz" / f"{name}.parquet") for name in ("obs", "var"))
    assert list(obs.index) == list(cells.obs_names)
    assert list(var.index) == list(cells.var_names)


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"hf-geneformer"}))
def test_what_was_exported_is_built_again(
    counts_set: Path, cells: anndata.AnnData, tmp_path: Path, format: str
) -> None:
    out, again = tmp_path / ("cells.h5ad" if format == "h5ad" else "cells"), tmp_path / "again.set"
    scdata.export_set(counts_set, out, format)
    scdata.build_shards(out, again)
    found = scdata.to_anndata(again)
    pd.testing.assert_frame_equal(counts_by_gene(found), counts_by_gene(cells), check_dtype=False)


def test_scgpt_reads_its_table(counts_set: Path, cells: anndata.AnnData, tmp_path: Path) -> None:
    """The columns and vocabulary that scBank's code asks for, value by value."""
    import pyarrow.parquet as pq

    scdata.export_set(counts_set, tmp_path / "bank", "parquet-scgpt")
    table = pq.read_table(tmp_path / "bank" / "cells.datatable.parquet")
    vocab = json.loads((tmp_path / "bank" / "gene_vocab.json").read_text())
    assert sorted(vocab.values()) == list(range(cells.n_vars))
    assert {"ISG15", "CD3D"} <= set(vocab)
    row = table.slice(7, 1).to_pylist()[0]
    own = cells.X[7]
    assert row["id"] == cells.obs["cell_id"].iloc[7]
    assert row["condition"] == cells.obs["condition"].iloc[7]
    assert row["genes"] == own.indices.tolist()
    assert row["expressions"] == own.data.tolist()


# the library leaves its last tar to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cell_a_sample(counts_set: Path, cells: anndata.AnnData, tmp_path: Path) -> None:
    import webdataset as wds

    scdata.export_set(counts_set, tmp_path / "wds", "webdataset-cells", splits=["val"])
    urls = sorted(str(path) for path in (tmp_path / "wds").glob("*.tar"))
    names = json.loads((tmp_path / "wds" / "genes.json").read_text())
    val = cells[cells.obs["split"] == "val"] if "split" in cells.obs else cells[900:]
    samples = list(wds.WebDataset(urls, shardshuffle=False).decode())
    assert len(samples) == 100
    for sample, cell in zip(samples, val, strict=True):
        assert sample["json"]["cell_id"] == cell.obs["cell_id"].iloc[0] == int(sample["__key__"])
        np.testing.assert_array_equal(sample["genes.npy"], cell.X.indices)
        np.testing.assert_array_equal(sample["counts.npy"], cell.X.data)
    assert [feature for feature, _ in names] == list(cells.var_names)


def test_geneformer_trains_on_its_dataset(counts_set: Path, tmp_path: Path) -> None:
    """Read by `datasets`, batched by transformers' masked-LM collator with dynamic padding."""
    import datasets
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    scdata.export_set(counts_set, tmp_path / "hf", "hf-geneformer", tokenizer="geneformer-v2+fit")
    found = datasets.load_from_disk(str(tmp_path / "hf"))
    loader = scdata.ShardDataset(
        counts_set, tokenizer="geneformer-v2+fit", output="packed", shuffle=False, batch_size=900
    )
    batch = next(iter(loader))
    assert found.num_rows == 1000
    assert found[:900]["cell_id"] == batch["cell_id"].tolist()
    ends = batch["cu_seqlens"].tolist()
    assert found[5]["input_ids"] == batch["token_ids"][ends[5] : ends[6]].tolist()
    assert found[5]["length"] == len(found[5]["input_ids"])
    assert set(found["condition"]) == {"control", "IFN-beta"} or len(set(found["condition"])) == 2
    specials = loader.vocab.specials
    words = WordLevel({**specials, **loader.vocab.token_ids}, unk_token="<pad>")
    own = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), pad_token="<pad>", mask_token="<mask>")
    collate = DataCollatorForLanguageModeling(own, mlm_probability=0.15)
    torch.manual_seed(0)
    made = collate([{"input_ids": row["input_ids"]} for row in found.select(range(4))])
    longest = max(found[:4]["length"])
    assert made["input_ids"].shape == (4, longest)
    masked = made["input_ids"] == specials["<mask>"]
    # 15 % of the genes, of which the collator masks four of five
    assert 0.09 < masked.sum() / sum(found[:4]["length"]) < 0.15
    assert (made["labels"][masked] > 0).all()


def test_what_cannot_be_exported(counts_set: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown format 'loom'"):
        scdata.export_set(counts_set, tmp_path / "x", "loom")
    with pytest.raises(ValueError, match="has no split 'test': it has train, val"):
        scdata.export_set(counts_set, tmp_path / "x", "h5ad", splits=["test"])
    with pytest.raises(ValueError, match="goes with hf-geneformer only"):
        scdata.export_set(counts_set, tmp_path / "x", "h5ad", tokenizer="geneformer-v2+fit")
    with pytest.raises(TokenizerError, match="give --tokenizer geneformer-v2"):
        scdata.export_set(counts_set, tmp_path / "x", "hf-geneformer")
    ranks = tmp_path / "ranks.set"
    scdata.build_shards("synthetic:cells=60,genes=400", ranks, tokenizer="geneformer-v2", assets="fit")
    with pytest.raises(ScdataError, match="h5ad holds counts: take a set that was built"):
        scdata.export_set(ranks, tmp_path / "x", "h5ad")
    n_cells = scdata.ShardDataset(ranks).n_cells
    assert scdata.export_set(ranks, tmp_path / "own", "hf-geneformer") == n_cells
    with pytest.raises(OutputExistsError, match="own exists: --overwrite"):
        scdata.export_set(ranks, tmp_path / "own", "hf-geneformer")
    assert scdata.export_set(ranks, tmp_path / "own", "hf-geneformer", overwrite=True) == n_cells
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own", "ranks.set"]


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_an_export_that_fails_leaves_nothing(
    counts_set: Path, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood there stays."""
    import shutil

    damaged = tmp_path / "damaged.set"
    shutil.copytree(counts_set, damaged)
    shard = next((damaged / "shards" / "000").glob("train-*.tar"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(data)
    out = tmp_path / "out"
    out.write_text("mine")
    options = {"tokenizer": "geneformer-v2+fit"} if format == "hf-geneformer" else {}
    with pytest.raises(Exception, match="train-000000"):
        scdata.export_set(damaged, out, format, overwrite=True, **options)
    assert out.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.set", "out"]


def test_command(counts_set: Path, tmp_path: Path) -> None:
    def call(*arguments: Any) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "scdata.cli.main", "export", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    done = call(counts_set, tmp_path / "c.h5ad", "--format", "h5ad", "--split", "val", "--json")
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["event"], last["cells"], last["format"]) == ("done", 100, "h5ad")
    assert call(counts_set, tmp_path / "c.h5ad", "--format", "h5ad").returncode == 1
    assert call(counts_set, tmp_path / "c.h5ad", "--format", "loom").returncode == 2
    shown = call("--help").stdout
    assert all(name in shown for name in FORMATS)
