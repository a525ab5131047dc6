import dataclasses
import json
import types
from itertools import pairwise

import anndata
import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata._errors import LayerNotFoundError
from scdata.build import BuildConfig, Progress, cutting, drafting, plan, plan_build
from scdata.build.cutting import cut_tasks, share_kept
from scdata.build.drafting import _OBS_ROWS, TASK_NNZ
from scdata.build.sampling import sample_slices

X = np.array([[1, 0, 2, 0], [0, 3, 0, 0], [5, 0, 0, 7], [1, 1, 1, 1]])
ENSEMBL = ["ENSG00000000001.4", "ENSG00000000002", "ENSG00000000003.1", ""]


def planned(sources, out, **arguments):
    """The plan of a build that is not run."""
    sources = [sources] if not isinstance(sources, list) else sources
    config = BuildConfig(sources=tuple(map(str, sources)), out=str(out), **arguments)
    return plan_build(config, Progress())[1]


def vocabulary(folder, names, **value):
    """A preset with a published vocabulary, and the folder of its assets."""
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    preset = folder / "own.toml"
    preset.write_text(
        'description = "own"\nstores = "counts"\n[vocab]\ngenes = "vocab.json"\nids = "names"\n[value]\nkind = "counts"\n'
    )
    return {"tokenizer": str(preset), "assets": str(folder)}


# -- tasks -----------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=200),
    st.integers(1, 300),
    st.booleans(),
    st.booleans(),
)
def test_tasks_cover_each_row_once_and_hold_about_equal_nonzeros_of_kept_cells(cells, task_nnz, known, filtered):
    nnz, kept = np.array([n for n, _ in cells]), np.array([keep or not filtered for _, keep in cells])
    source = types.SimpleNamespace(n_obs=len(nnz), row_nnz=lambda rows: nnz[rows] if known else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "SHARE_ROWS", 1)
        patch.setattr(cutting, "_WINDOW_ROWS", 7)
        tasks = list(cut_tasks(3, source, float(nnz.sum()), share_kept(kept), task_nnz))
    cost = np.maximum(kept, 0.02) * (nnz if known else nnz.mean())
    assert [task.source for task in tasks] == [3] * len(tasks)
    assert tasks[0].start == 0
    assert tasks[-1].stop == len(nnz)
    assert all(a.stop == b.start for a, b in pairwise(tasks))
    assert all(task.start < task.stop for task in tasks)
    n_tasks = max(1, round(cost.sum() / task_nnz))
    assert len(tasks) <= n_tasks + 1
    held = [cost[task.start : task.stop].sum() for task in tasks]
    assert max(held) <= cost.sum() / n_tasks + cost.max() + 1


def test_cells_that_a_filter_leaves_out_make_no_tasks(tmp_path, monkeypatch):
    monkeypatch.setattr(drafting, "TASK_NNZ", 100_000)
    source = "synthetic:cells=40000,genes=50,mean_genes=20"
    every = planned(source, tmp_path / "every")
    some = planned(source, tmp_path / "some", obs_filter="dataset_id == 'synthetic-0003'")
    assert len(every.tasks) == 8
    assert len(some.tasks) == 2
    # the last of the four datasets holds the last quarter of the rows: most of the work
    assert some.tasks[0].stop > 30_000


def test_cells_without_counts_make_one_task(make_h5ad, tmp_path):
    empty = make_h5ad("empty", sp.csr_matrix((500, 4)))
    made = planned([empty, make_h5ad("full", X)], tmp_path / "set")
    assert made.table["tasks"] == [[0, 0, 500], [1, 0, 4]]


def test_several_sources_are_cut_at_their_known_nonzeros(make_h5ad, tmp_path, monkeypatch):
    # a sample of 64 slices would not see the one cell that holds nearly everything
    x = sp.lil_matrix((20_000, 50))
    x[10_123, :] = 1
    x[:, 0] = 1
    path = make_h5ad("x", x.tocsr())
    monkeypatch.setattr(drafting, "TASK_NNZ", 5000)
    made = planned([path, "synthetic:cells=500,genes=50,mean_genes=10"], tmp_path / "set")
    first = [task for task in made.tasks if task.source == 0]
    assert len(first) == 4
    assert [task for task in made.tasks if task.source == 1][-1].stop == 500


def test_the_plan_does_not_depend_on_workers_or_places(tmp_path):
    source = "synthetic:cells=3000,genes=40"
    one = planned(source, tmp_path / "a", workers=1).table
    assert planned(source, tmp_path / "b", workers=3, scratch=str(tmp_path / "s")).table == one
    assert planned(source, tmp_path / "c", seed=1).table != one


def test_a_plan_read_back_is_the_plan(tmp_path):
    arguments = {"splits": ["val=0.2:donor_id"], "obs_filter": "batch != 1"}
    made = planned("synthetic:cells=3000,genes=40", tmp_path / "set", **arguments)
    again = plan.load_plan(tmp_path / "set" / ".build")
    for field in dataclasses.fields(made):
        if field.name not in ("genes", "targets"):
            assert getattr(made, field.name) == getattr(again, field.name), field.name
    assert made.genes.var.equals(again.genes.var)
    assert made.genes.code[np.argsort(made.genes.code)].tolist() == list(range(40))


def test_another_plan_in_the_same_place_is_seen(tmp_path):
    out = tmp_path / "set"
    assert planned("synthetic:cells=3000,genes=40", out).table["sources"][0]["n_obs"] == 3000
    assert planned("synthetic:cells=2000,genes=40", out, overwrite=True).table["sources"][0]["n_obs"] == 2000


@given(st.lists(st.integers(0, 30_000), min_size=1, max_size=40).filter(any))
def test_every_source_that_has_cells_is_sampled(n_obs):
    slices = sample_slices(n_obs, sum(n_obs), range(len(n_obs)))
    assert {i for i, _ in slices} == {i for i, n in enumerate(n_obs) if n}
    assert all(0 <= rows.start < rows.stop <= n_obs[i] for i, rows in slices)
    assert sum(rows.stop - rows.start for _, rows in slices) <= 64 * 256 + 256 * len(n_obs)


def test_shards_are_about_as_many_as_asked_for_and_never_empty(tmp_path):
    made = planned("synthetic:cells=5000,genes=300,mean_genes=100", tmp_path / "a", shard_size=65536)
    assert made.n_shards[0] == pytest.approx(5000 * 100 * 0.8 / 65536, abs=2)
    assert planned("synthetic:cells=100,genes=300", tmp_path / "b", shard_size=65536).n_shards == [1]
    assert (TASK_NNZ, _OBS_ROWS) == (32_000_000, 1 << 18)


# -- gene ids of a source's own vocabulary ----------------------------------


@pytest.mark.parametrize(
    ("columns", "asked", "used"),
    [
        ([], None, "var_name"),
        (["gene_ids"], None, "gene_ids"),
        (["gene_ids", "ensembl_id"], None, "ensembl_id"),
        (["gene_ids", "ensembl_id", "feature_id"], None, "feature_id"),
        (["gene_ids", "feature_id"], "gene_ids", "gene_ids"),
        (["mine"], "mine", "mine"),
        (["feature_id"], "var_name", "var_name"),
    ],
)
def test_the_first_column_of_ids_there_is(make_h5ad, tmp_path, columns, asked, used):
    var = {name: [f"{name}-{i}" for i in range(4)] for name in columns}
    made = planned(make_h5ad("x", X, var=var), tmp_path / "set", feature_id=asked)
    assert made.table["sources"][0]["feature_id"] == used
    expected = var.get(used, ["g0", "g1", "g2", "g3"])
    assert made.genes.var["feature_id"].to_pylist() == expected


def test_versions_are_cut_blank_ids_keep_the_var_name_and_equal_ids_are_one_gene(make_h5ad, tmp_path):
    var = {"index": ["A", "B", "C", "D"], "ensembl_id": ENSEMBL}
    var["ensembl_id"][1] = "ENSG00000000001"
    made = planned(make_h5ad("x", X, var=var), tmp_path / "set")
    assert made.genes.var["feature_id"].to_pylist() == ["D", "ENSG00000000001", "ENSG00000000003"]
    assert made.targets[0].tolist() == [1, 1, 2, 0]
    assert made.genes.var["var_name"].to_pylist() == ["D", "A", "C"]
    # codes by falling number of cells: the first gene's two columns count together
    assert made.genes.var["code"].to_pylist() == [1, 0, 2]


def test_a_var_column_that_is_not_there_lists_those_that_are(make_h5ad, tmp_path):
    with pytest.raises(LayerNotFoundError, match=r"no var column 'ensembl' with ids: .*ensembl_id"):
        planned(make_h5ad("x", X, var={"ensembl_id": ENSEMBL}), tmp_path / "set", feature_id="ensembl")


def test_sources_of_different_genes_share_one_vocabulary(make_h5ad, tmp_path):
    a = make_h5ad("a", X, var={"index": ["g1", "g0", "g5", "g3"]})
    b = make_h5ad("b", X[:, :2], var={"index": ["g9", "g1"]})
    made = planned([a, b], tmp_path / "set")
    assert made.genes.var["feature_id"].to_pylist() == ["g0", "g1", "g3", "g5", "g9"]
    assert [t.tolist() for t in made.targets] == [[1, 0, 3, 2], [4, 1]]
    assert made.offsets == [0, 4, 8][:2]
    assert made.datasets == ["a.h5ad", "b.h5ad"]


# -- a published vocabulary -------------------------------------------------


def test_the_column_that_maps_most_counts_is_used(make_h5ad, tmp_path):
    var = {"index": ["A", "B", "C", "D"], "other": ["x", "y", "z", "D"], "ensembl_id": ENSEMBL}
    path = make_h5ad("x", X, var=var)
    arguments = vocabulary(tmp_path, ["A", "ENSG00000000001", "ENSG00000000003", "D"])
    made = planned(path, tmp_path / "set", **arguments)
    # var_name maps A and D, 15 of 22 counts, but ensembl_id 10
    assert made.table["sources"][0]["feature_id"] == "var_name"
    assert made.targets[0].tolist() == [0, -1, -1, 1]
    assert made.table["sources"][0]["n_genes_mapped"] == 2
    forced = planned(path, tmp_path / "b", feature_id="ensembl_id", min_mapped=0.4, **arguments)
    assert forced.genes.var["token_id"].to_pylist() == [1, 2]


def test_without_counts_in_the_sample_the_column_that_maps_most_ids_is_used(make_h5ad, tmp_path):
    path = make_h5ad("x", sp.csr_matrix((3, 4)), var={"ensembl_id": ENSEMBL})
    made = planned(path, tmp_path / "set", **vocabulary(tmp_path, ["ENSG00000000001", "ENSG00000000002"]))
    assert made.table["sources"][0]["feature_id"] == "ensembl_id"


def test_measured_says_which_genes_each_dataset_has(make_h5ad, tmp_path):
    a = make_h5ad("a", X, var={"index": ["g0", "g1", "g2", "g3"]})
    b = make_h5ad("b", X[:, :1], var={"index": ["g2"]})
    made = planned([a, b], tmp_path / "set")
    table = pa.ipc.open_file(str(made.path / "measured.arrow")).read_all()
    assert [bytes(m) for m in table["measured"].to_pylist()] == [b"\x0f", b"\x04"]


def test_nothing_is_written_before_everything_is_decided(tmp_path):
    path = tmp_path / "x.h5ad"
    anndata.AnnData(sp.csr_matrix(X)).write_h5ad(path)
    out = tmp_path / "set"
    with pytest.raises(LayerNotFoundError):
        planned(path, out, obs=("nope",))
    assert not out.exists()
