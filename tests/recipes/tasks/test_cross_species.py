"""Genes of two species on one axis, and labels carried over it."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tasks import cross_species
from tasks.cells import Cells, read_cells
from tasks.orthologs import Orthologs, lost, match, read_pairs, same_ids
from tasks.representations import chosen
from tasks.table import summarize

import scdata
from scdata.resources import resource

ONE, OTHER = ["A", "B", "C", "D", "E"], ["a", "b", "b2", "d", "z"]
PAIRS = [("A", "a"), ("B", "b"), ("B", "b2"), ("C", "b2"), ("D", "d"), ("X", "z"), ("A", "a"), ("E", None)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    frame = pd.DataFrame(PAIRS, columns=["human", "mouse"]).assign(homology="some")
    frame.to_parquet(tmp_path / "pairs.parquet")
    frame.to_csv(tmp_path / "pairs.tsv", sep="\t")
    return tmp_path / "pairs.parquet"


def test_pairs_are_found_whatever_the_columns_are_called(table: Path) -> None:
    for path in (table, table.with_suffix(".tsv")):
        pairs = read_pairs(path, ONE, OTHER, families=True)
        assert pairs.to_numpy().tolist() == [list(pair) for pair in PAIRS[:6]]
        assert read_pairs(path, OTHER, ONE, families=True)["one"].tolist() == pairs["other"].tolist()


def test_one_to_one_leaves_out_genes_of_several_pairs(table: Path) -> None:
    genes = match(read_pairs(table, ONE, OTHER), ONE, OTHER)
    assert genes.names == ["A", "D"]
    assert [to.toarray().tolist() for to in genes.maps] == [
        [[1, 0], [0, 0], [0, 0], [0, 1], [0, 0]],
        [[1, 0], [0, 0], [0, 0], [0, 1], [0, 0]],
    ]
    counts = sparse.csr_matrix([[1, 0, 2, 0, 1], [0, 0, 0, 4, 0]])
    assert lost("human", counts, genes.maps[0]) == "human: 3 of 5 genes are lost, and with them 37.5% of the counts"


def test_families_are_summed(table: Path) -> None:
    genes = match(read_pairs(table, ONE, OTHER, families=True), ONE, OTHER)
    assert genes.names == ["A", "B+1", "D"]
    assert (np.array([[1, 2, 3, 4, 5]]) @ genes.maps[0]).tolist() == [[1, 5, 4]]
    assert (np.array([[1, 2, 3, 4, 5]]) @ genes.maps[1]).tolist() == [[1, 5, 4]]


def test_tables_that_do_not_fit_are_refused(table: Path) -> None:
    for path, one, other, said in (
        (table.with_suffix(".xlsx"), ONE, OTHER, "no such file"),
        (table, ONE, ["ENSG1"], "no gene of the second set, such as 'ENSG1', in any of its columns 'human', 'mouse'"),
        (table, ONE, ONE, "both sets have their genes in column 'human'"),
    ):
        with pytest.raises(ValueError, match=said):
            read_pairs(path, one, other)
    with pytest.raises(ValueError, match="no gene of the first set has an ortholog in the second"):
        match(read_pairs(table, ["B", "C"], ["a", "b"]), ["B", "C"], ["a", "b"])


def test_cells_of_both_sides_keep_their_sets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        scdata.build_shards("synthetic:cells=60,genes=90", tmp_path / name, splits=["val=0.2"])
    sides = [read_cells([str(tmp_path / name)]) for name in ("a", "b")]
    genes = match(same_ids(sides[0].feature_ids, sides[1].feature_ids), sides[0].feature_ids, sides[1].feature_ids)
    cells = cross_species.joined(sides, genes.names, genes.maps)
    assert [(path, sorted(splits)) for path, splits in cells.sources] == [
        (str(tmp_path / name), ["train", "val"]) for name in ("a", "b")
    ]
    assert [len(own) for own in cells.ids] == [len(side) for side in sides]
    assert (cells.counts != sparse.vstack([side.counts[:, places(side, genes)] for side in sides])).nnz == 0


def places(side: Cells, genes: Orthologs) -> list[int]:
    return [side.feature_ids.index(name) for name in genes.names]


@pytest.mark.slow
def test_a_model_of_man_sees_mouse_cells_by_a_published_vocabulary(shared_data: Path, tmp_path: Path) -> None:
    reference, cells = shared_data / "reference", shared_data / "tasks"
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

    def call(*command: object) -> str:
        found = subprocess.run(
            [sys.executable, *map(str, command)], capture_output=True, text=True, env=env, cwd=tmp_path
        )
        assert found.returncode == 0, found.stderr
        return found.stdout

    files = sorted((reference / "geneformer" / "v2_gc104M").glob("*.gz"))
    call("-m", "scdata.cli.main", "tokenizers", "import", "geneformer-v2", *files)
    orthologs = reference / "genes" / "human_mouse_orthologs.parquet"
    scdata.build_shards(cells / "annot_human_pancreas_baron_4donors.h5ad", tmp_path / "human.set", splits=["val=0.1"])
    scdata.build_shards(
        cells / "annot_mouse_pancreas_baron_2animals.h5ad",
        tmp_path / "mouse.set",
        orthologs=orthologs,
        orthologs_to="human",
    )
    train = resource("recipes") / "masked_gene_modelling" / "train.py"
    call(train, "--set", "human.set", "--out", "run", "--preset", "geneformer-v2", "--max-steps", 20)
    options = ["--splits", 2, "--baselines", "depth", "random", "--max-cells", 1000, "--out", "crossed", "--json"]
    model = f"checkpoint:{tmp_path / 'run' / 'checkpoint-000000020.pt'}"
    judge = resource("recipes") / "evaluate.py"
    result = json.loads(
        call(judge, "cross-species", "--set", "human.set", "mouse.set", "--representation", model, *options)
    )
    assert result["n_genes"] == 11_946
    scores = pd.read_csv(tmp_path / "crossed" / "scores.csv")
    mean = scores.groupby("representation")["macro_f1"].mean()
    assert mean[model] > mean["random"] + 0.05


def test_labels_of_pancreas_go_from_man_to_mouse_and_back(shared_data: Path, tmp_path: Path) -> None:
    import anndata

    sets = []
    for name in ("human_pancreas_baron_4donors", "mouse_pancreas_baron_2animals"):
        data = anndata.read_h5ad(shared_data / "tasks" / f"annot_{name}.h5ad")
        data[np.sort(np.random.default_rng(0).permutation(data.n_obs)[:500])].copy().write_h5ad(
            tmp_path / f"{name}.h5ad"
        )
        scdata.build_shards(tmp_path / f"{name}.h5ad", tmp_path / f"{name}.set")
        sets.append(str(tmp_path / f"{name}.set"))
    orthologs = shared_data / "reference" / "genes" / "human_mouse_orthologs.parquet"
    options = {"split": [], "max_cells": 20_000, "splits": 2, "seed": 0, "many_to_one": False, "orthologs": orthologs}
    args = argparse.Namespace(set=sets, labels=cross_species.LABELS, **options)
    outcome = cross_species.run(args, chosen([], ["pca", "depth"]))
    assert outcome.facts["n_genes"] > 11_900
    assert any(note.startswith("Homo sapiens: ") and "genes are lost" in note for note in outcome.notes)
    table = summarize(outcome.scores, outcome.metrics).set_index(["how", "representation", "probe"])
    for how in ("Homo sapiens to Mus musculus", "Mus musculus to Homo sapiens"):
        assert table.loc[(how, "pca", "kNN"), "accuracy"] > 0.75
        assert table.loc[(how, "depth", "kNN"), "accuracy"] < 0.55
    # every cell of a label that both have is tested once in each direction
    tested = outcome.scores.query("representation == 'depth' and probe == 'kNN'").groupby("how")["n_test"].sum()
    assert (tested > 350).all()
    # of a set that was built as the other's orthologs the genes are shared, and none is named
    mapped = str(tmp_path / "mapped.set")
    mouse = tmp_path / "mouse_pancreas_baron_2animals.h5ad"
    scdata.build_shards(mouse, mapped, orthologs=orthologs, orthologs_to="human")
    vars(args).update(set=[sets[0], mapped], orthologs=None)
    again = cross_species.run(args, chosen([], ["depth"]))
    assert again.facts["n_genes"] == outcome.facts["n_genes"]
    assert "11,9" in again.title
    assert "shared genes" in again.title
    with pytest.raises(ValueError, match=r"the sets have no gene in common .* name a table of orthologs"):
        cross_species.run(argparse.Namespace(**{**vars(args), "set": sets}), [])
    with pytest.raises(ValueError, match="--many-to-one says how a table"):
        cross_species.run(argparse.Namespace(**{**vars(args), "many_to_one": True}), [])
    with pytest.raises(ValueError, match="compares two sets, one of each species: 1 given"):
        cross_species.run(argparse.Namespace(set=sets[:1]), [])
