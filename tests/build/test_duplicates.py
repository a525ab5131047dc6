"""Exact copies of cells: found across files, reported where they stand in several splits, dropped on request."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import scdata
from scdata.build.duplicates import Duplicates, equal_cells
from scdata.build.hashed_cells import HASHED
from scdata.cli.main import cli

N_GENES = 90


def counts(rng, n_cells, n_genes=60):
    """Cells that express `n_genes` of `N_GENES` genes."""
    x = np.zeros((n_cells, N_GENES), np.float32)
    for row in x:
        row[rng.permutation(N_GENES)[:n_genes]] = rng.integers(1, 9, n_genes)
    return x


@pytest.fixture
def corpus(make_h5ad):
    """Two files: 40 cells, then 40 with other columns' order and zeros that are stored, among which are copies."""
    rng = np.random.default_rng(5)
    first, second = counts(rng, 40), counts(rng, 40)
    first[7] = first[3]  # in one file, both in train
    second[0:6] = first[0:6]  # in both; cell 3 has three copies
    second[6] = first[30]  # which is val
    second[8:10] = second[7]  # three in the second file, the last of them in val
    second[10] = counts(rng, 1, 49)
    second[11] = second[10]  # equal, but of too few genes
    second[12] = first[12]
    second[12, np.flatnonzero(second[12])[0]] += 1  # one count differs
    order = rng.permutation(N_GENES)
    shuffled = second[:, order]
    # every zero is stored
    from scipy.sparse import csr_matrix

    indptr, indices = np.arange(41) * N_GENES, np.tile(np.arange(N_GENES), 40)
    stored = csr_matrix((shuffled.ravel(), indices, indptr), shape=shuffled.shape)
    assert stored.nnz == shuffled.size
    part = ["val" if i == 30 else "train" for i in range(40)]
    part_2 = ["val" if i in (9, 20) else "train" for i in range(40)]
    names = np.array([f"g{i}" for i in range(N_GENES)])
    a = make_h5ad("a", first, obs={"part": part}, var={"index": names})
    b = make_h5ad("b", stored, obs={"part": part_2}, var={"index": names[order]})
    return [str(a), str(b)], np.concatenate([first, second]), part + part_2


ARGUMENTS = {"splits": ["val=part:'val'"], "seed": 3}
# cell_ids of the groups: (0, 40), (1, 41), (2, 42), (3, 7, 43), (4, 44), (5, 45), (30, 46), (47, 48, 49)
FOUND = {
    "min_genes": 50,
    "copies": 10,
    "groups": 8,
    "across_datasets": 7,
    "leaked": 2,
    "between_splits": [{"splits": ["train", "val"], "groups": 2, "n_cells": [3, 2]}],
}


def test_copies_are_found_across_files(corpus, tmp_path):
    sources, x, _ = corpus
    manifest = scdata.build_shards(sources, tmp_path / "set", **ARGUMENTS)
    assert manifest["duplicates"] == FOUND
    # the oracle: cells by what they express
    cells = {}
    for row in x:
        if np.count_nonzero(row) >= 50:
            cells[row.tobytes()] = cells.get(row.tobytes(), 0) + 1
    assert sum(n - 1 for n in cells.values()) == FOUND["copies"]
    assert sum(n > 1 for n in cells.values()) == FOUND["groups"]


def test_leaks_are_shown(corpus, tmp_path):
    out = tmp_path / "set"
    arguments = ["build", *corpus[0], "-o", str(out), "--split", "val=part:'val'"]
    shown = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    said = "10 cells are copies of others (8 groups, 7 of them across datasets); 2 of them stand in another split"
    assert said in shown.output
    assert "leak: 3 cells of train equal 2 of val: --drop-duplicates" in shown.output
    assert said in CliRunner().invoke(cli, ["inspect", str(out)]).output
    assert json.loads(CliRunner().invoke(cli, ["inspect", str(out), "--json"]).output)["duplicates"] == FOUND


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_workers_and_ranges_change_nothing(corpus, tmp_path, tree, monkeypatch, workers):
    from scdata.build import drafting, hashed_cells

    scdata.build_shards(corpus[0], tmp_path / "whole", **ARGUMENTS)
    monkeypatch.setattr(drafting, "TASK_NNZ", 300)
    if workers == 1:  # other processes do not see it
        monkeypatch.setattr(hashed_cells, "_RANGE_CELLS", 8)
    scdata.build_shards(corpus[0], tmp_path / "cut", workers=workers, **ARGUMENTS)
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 5), max_size=40))
def test_groups_are_those_of_a_dictionary(rows):
    cells = np.zeros(len(rows), HASHED)
    for i, (high, low, dataset, split, _) in enumerate(rows):
        cells[i] = high, low, i, dataset, split
    own, first = equal_cells(cells)
    groups = {}
    for cell in cells:
        groups.setdefault((cell["high"], cell["low"]), []).append(cell)
    groups = [groups[key] for key in sorted(groups) if len(groups[key]) > 1]
    assert [part["cell_id"].tolist() for part in np.split(own, first[1:])][: len(groups)] == [
        [cell["cell_id"] for cell in group] for group in groups
    ]
    found = Duplicates.of(own, first)
    assert found.copies == sum(len(group) - 1 for group in groups)
    assert found.groups == len(groups)
    assert found.across_datasets == sum(len({cell["dataset"] for cell in group}) > 1 for group in groups)
    assert found.leaked == sum(cell["split"] != group[0]["split"] for group in groups for cell in group)
    pairs = {}
    for group in groups:
        splits = [int(cell["split"]) for cell in group]
        for a in range(3):
            for b in range(a + 1, 3):
                if a in splits and b in splits:
                    numbers = pairs.setdefault((a, b), [0, 0, 0])
                    numbers[0] += 1
                    numbers[1] += splits.count(a)
                    numbers[2] += splits.count(b)
    assert found.pairs == pairs
    # halves, added up, are the whole where no group is in both
    half = cells["high"] < 1
    parts = [Duplicates.of(*equal_cells(cells[mask])) for mask in (half, ~half)]
    assert Duplicates.merge(parts) == found
