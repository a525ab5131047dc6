"""Genes of two species on one axis, and labels carried over it."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tasks import cross_species
from tasks.orthologs import lost, match, read_pairs
from tasks.representations import chosen
from tasks.table import summarize

import scdata

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
        pairs = read_pairs(path, ONE, OTHER)
        assert pairs.to_numpy().tolist() == [list(pair) for pair in PAIRS[:6]]
        assert read_pairs(path, OTHER, ONE)["one"].tolist() == pairs["other"].tolist()


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
    genes = match(read_pairs(table, ONE, OTHER), ONE, OTHER, families=True)
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
    with pytest.raises(ValueError, match="compares two sets, one of each species: 1 given"):
        cross_species.run(argparse.Namespace(set=sets[:1]), [])
