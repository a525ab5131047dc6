import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

import scdata
from scdata.build.against import digests
from scdata.build.against.verify import verify_against

N_CELLS, N_GENES = 900, 40


@pytest.fixture
def source(make_h5ad, monkeypatch):
    monkeypatch.setattr(digests, "RANGE_CELLS", 64)
    rng = np.random.default_rng(3)
    x = sp.random(N_CELLS, N_GENES, 0.3, "csr", random_state=rng, data_rvs=lambda n: rng.integers(1, 9, n))
    x = sp.diags_array((np.arange(N_CELLS) != 17).astype(float)) @ x  # one cell is empty
    x.eliminate_zeros()
    obs = {
        "donor_id": [f"d{i % 7}" for i in range(N_CELLS)],
        "age": np.where(np.arange(N_CELLS) % 5, 40.5, np.nan),
        "dataset_id": [f"s{i % 3}" for i in range(N_CELLS)],
    }
    return make_h5ad("cells", x, obs=obs)


def edit(path, row, change):
    """Change the values of one row, in a copy that takes the file's place: a build may have it open still."""
    copy = shutil.copy(path, path.with_suffix(".copy"))
    with h5py.File(copy, "r+") as file:
        start, stop = file["X/indptr"][row : row + 2]
        file["X/data"][start:stop] = change(file["X/data"][start:stop])
    os.replace(copy, path)


BUILDS = {
    "counts": {},
    # in the order of the rules, val comes before test
    "splits": {"splits": ["val=0.2:donor_id", "test=donor_id:'d1','d2','d3'"], "obs_filter": "age > 0", "limit": 400},
    "bounds": {"min_genes": 10, "max_counts": 80, "obs": ["age"], "block_size": 50},
    "ranks": {"tokenizer": "geneformer-v2", "assets": "fit", "min_mapped": 0},
    "variable": {"tokenizer": "geneformer-v2", "assets": "fit", "min_mapped": 0, "genes": "hvg:20:seurat"},
    "bins": {"tokenizer": "depth-bins"},
    "floats": {"tokenizer": "own.toml"},
}
OWN = 'description = "floats"\nstores = "tokens"\n[value]\nkind = "lognorm"\ntarget_sum = 1e4\n'


@pytest.mark.parametrize("name", BUILDS)
def test_a_set_is_what_its_source_says(source, tmp_path, monkeypatch, name):
    (tmp_path / "own.toml").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    manifest = scdata.build_shards(source, tmp_path / "set", **BUILDS[name])
    report = verify_against(tmp_path / "set", [str(source)])
    assert report.problems == []
    assert report.n_cells == manifest["n_cells"] > 0
    assert report.vocab_counts == manifest["vocab_counts"]


def test_a_count_that_is_another_is_named_with_cell_gene_and_sums(source, tmp_path):
    scdata.build_shards(source, tmp_path / "set", splits=["val=0.5"])

    def first_is_one_more(values):
        return values + (np.arange(len(values)) == 0)

    edit(source, 300, first_is_one_more)
    problems = verify_against(tmp_path / "set", [str(source)]).problems
    assert len(problems) == 3
    assert problems[0].startswith("dataset s0: ")
    assert problems[1].startswith("gene g")
    assert problems[2].startswith("cell 300 (")
    assert "row 300 of cells.h5ad" in problems[2]
    assert "total_counts is" in problems[2]


def test_counts_that_change_places_are_named(source, tmp_path):
    scdata.build_shards(source, tmp_path / "set")
    edit(source, 450, lambda values: np.arange(1, len(values) + 1))
    scdata.build_shards(source, tmp_path / "set", overwrite=True)
    edit(source, 450, lambda values: values[::-1])
    [*sums, cell] = verify_against(tmp_path / "set", [str(source)]).problems
    assert all(line.startswith("gene ") for line in sums)
    assert "cell 450 (" in cell
    assert "token 0 is g" in cell


def test_a_cell_that_should_not_be_there_and_one_that_is_missing(source, tmp_path):
    scdata.build_shards(source, tmp_path / "set")
    edit(source, 500, lambda values: 0 * values)
    edit(source, 501, lambda values: 0 * values + 1)
    problems = verify_against(tmp_path / "set", [str(source)]).problems
    assert any(line.startswith("cell 500: ") and "should have been left out" in line for line in problems)
    assert any("1 cell(s) were left out (no counts) by the manifest, 2 by the source" in line for line in problems)
    scdata.build_shards(source, tmp_path / "set", overwrite=True)
    edit(source, 500, lambda values: 0 * values + 1)
    assert "cell 500: not in the set; row 500 of cells.h5ad" in verify_against(tmp_path / "set", [str(source)]).problems


def test_another_source_is_told_by_what_differs(source, tmp_path, make_h5ad):
    scdata.build_shards(source, tmp_path / "set")
    other = make_h5ad("other", np.ones((5, 3)))
    problems = verify_against(tmp_path / "set", [str(other)]).problems
    assert any(line == "source cells.h5ad: n_obs was 900, and is 5" for line in problems)
    assert verify_against(tmp_path / "set", [str(source), str(other)]).problems == [
        "the set was built from 1 source(s), 2 are given"
    ]


def test_the_command_and_two_workers(source, tmp_path):
    scdata.build_shards(source, tmp_path / "set")
    moved = source.rename(tmp_path / "moved.h5ad")
    command = [sys.executable, "-m", "scdata.cli.main", "verify", str(tmp_path / "set"), "--against"]
    fine = subprocess.run(
        [*command, str(moved), "--workers", "2", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(fine.stdout)["cells_compared"] == 899
    edit(moved, 1, lambda values: values + 1)
    wrong = subprocess.run([*command, str(moved)], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "problem(s)" in wrong.stderr
