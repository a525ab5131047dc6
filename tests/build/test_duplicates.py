"""Exact copies of cells: found across files, reported where they stand in several splits, dropped on request."""

import json
import time

import numpy as np
import pytest
import scipy.sparse as sp
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
    indptr, indices = np.arange(41) * N_GENES, np.tile(np.arange(N_GENES), 40)
    stored = sp.csr_matrix((shuffled.ravel(), indices, indptr), shape=shuffled.shape)
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


def test_the_option_on_the_command_line_and_in_a_file(corpus, tmp_path):
    (tmp_path / "build.toml").write_text("drop-duplicates = true\n")
    hashes = []
    for name, option in (("line", "--drop-duplicates"), ("file", f"--config={tmp_path / 'build.toml'}")):
        out = tmp_path / name
        shown = CliRunner().invoke(cli, ["build", *corpus[0], "-o", str(out), option], catch_exceptions=False)
        assert "dropped 10 cells: duplicate (2 datasets)" in shown.output
        assert "copies" not in shown.output
        hashes.append(json.loads((out / "manifest.json").read_text())["content_hash"])
    assert hashes[0] == hashes[1]


def test_tasks_and_ranges_change_nothing(corpus, tmp_path, tree, monkeypatch):
    from scdata.build import drafting, hashed_cells

    scdata.build_shards(corpus[0], tmp_path / "whole", **ARGUMENTS)
    monkeypatch.setattr(drafting, "TASK_NNZ", 300)
    monkeypatch.setattr(hashed_cells, "_RANGE_CELLS", 8)
    scdata.build_shards(corpus[0], tmp_path / "cut", **ARGUMENTS)
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


def kept_and_dropped(x):
    """cell_ids of the first of each group, and of the others."""
    first, dropped = {}, []
    for cell_id, row in enumerate(x):
        key = row.tobytes() if np.count_nonzero(row) >= 50 else cell_id
        if first.setdefault(key, cell_id) != cell_id:
            dropped.append(cell_id)
    return sorted(first.values()), dropped


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_of_each_group_is_kept(corpus, tmp_path, tree, monkeypatch, read_cells, workers):
    from scdata.build import drafting, hashed_cells

    sources, x, parts = corpus
    whole = tmp_path / "whole"
    manifest = scdata.build_shards(sources, whole, drop_duplicates=True, **ARGUMENTS)
    kept, dropped = kept_and_dropped(x)
    cells = read_cells(whole)
    assert sorted(cells) == kept
    assert {cell_id: cell["split"] for cell_id, cell in cells.items()} == {i: parts[i] for i in kept}
    assert manifest["drops"] == [
        {"dataset": "a.h5ad", "reason": "duplicate", "n_cells": sum(i < 40 for i in dropped)},
        {"dataset": "b.h5ad", "reason": "duplicate", "n_cells": sum(i >= 40 for i in dropped)},
    ]
    assert manifest["n_cells"] + len(dropped) == manifest["n_cells_read"] == len(x)
    nothing = {"copies": 0, "groups": 0, "across_datasets": 0, "leaked": 0, "between_splits": []}
    assert manifest["duplicates"] == {"min_genes": 50, **nothing}
    monkeypatch.setattr(drafting, "TASK_NNZ", 300)
    if workers == 1:  # other processes do not see it
        monkeypatch.setattr(hashed_cells, "_RANGE_CELLS", 8)
    scdata.build_shards(sources, tmp_path / "cut", drop_duplicates=True, workers=workers, **ARGUMENTS)
    assert tree(tmp_path / "cut") == tree(whole)


def test_what_else_leaves_out_is_not_the_first(corpus, tmp_path, read_cells):
    # cell 30 is in val, and its copy 46 is not
    sources, x, parts = corpus
    arguments = {"drop_duplicates": True, "obs_filter": "part == 'train'", "max_counts": 300}
    manifest = scdata.build_shards(sources, tmp_path / "set", **arguments)
    total = x.sum(axis=1)
    passing = [i for i in range(80) if parts[i] == "train" and total[i] <= 300]
    kept, dropped = kept_and_dropped(x[passing])
    cells = read_cells(tmp_path / "set")
    assert sorted(cells) == [passing[i] for i in kept]
    assert 46 in cells
    by_reason = {}
    for drop in manifest["drops"]:
        by_reason[drop["reason"]] = by_reason.get(drop["reason"], 0) + drop["n_cells"]
    n_val = parts.count("val")
    assert by_reason == {
        "obs filter": n_val,
        "more than 300 counts": 80 - n_val - len(passing),
        "duplicate": len(dropped),
    }


def test_statistics_do_not_see_copies(corpus, make_h5ad, tmp_path):
    sources, x, _ = corpus
    arguments = {"tokenizer": "geneformer-v2", "assets": "fit", "min_mapped": 0, "genes": "hvg:20"}
    scdata.build_shards(sources, tmp_path / "dropped", drop_duplicates=True, **arguments)
    alone = make_h5ad("alone", x[kept_and_dropped(x)[0]])
    scdata.build_shards(alone, tmp_path / "alone", **arguments)
    scdata.build_shards(sources, tmp_path / "all", **arguments)
    fitted = [json.loads((tmp_path / name / "vocab.json").read_text()) for name in ("dropped", "alone", "all")]
    assert fitted[0]["medians"] == fitted[1]["medians"] != fitted[2]["medians"]
    assert fitted[0]["selected"] == fitted[1]["selected"]


def test_such_a_set_is_verified_against_its_sources(corpus, tmp_path):
    from scdata.build.against.verify import verify_against

    sources = corpus[0]
    scdata.build_shards(sources, tmp_path / "set", drop_duplicates=True, **ARGUMENTS)
    report = verify_against(tmp_path / "set", sources)
    assert report.problems == []
    assert report.n_cells == 70
    scdata.build_shards(sources, tmp_path / "all", **ARGUMENTS)
    manifest = json.loads((tmp_path / "all" / "manifest.json").read_text())
    manifest["config"]["drop_duplicates"] = True
    (tmp_path / "all" / "manifest.json").write_text(json.dumps(manifest))
    assert any("should have been left out" in line for line in verify_against(tmp_path / "all", sources).problems)


def test_a_split_of_copies_alone_is_named(make_h5ad, tmp_path):
    x = counts(np.random.default_rng(1), 20)
    source = make_h5ad("twice", np.concatenate([x, x]), obs={"part": ["train"] * 20 + ["val"] * 20})
    with pytest.raises(scdata.ScdataError, match=r"split 'val' is empty: .*\(duplicate\)"):
        scdata.build_shards(source, tmp_path / "set", drop_duplicates=True, **ARGUMENTS)


def test_shards_that_copies_leave_empty_are_named(make_h5ad, tmp_path, monkeypatch):
    from scdata.build import drafting

    monkeypatch.setattr(drafting, "_FEWEST_CELLS", 1)
    monkeypatch.setattr(drafting, "_DECODED_NNZ", 1000)
    x = np.repeat(counts(np.random.default_rng(1), 2), 100, axis=0)
    source = make_h5ad("often", x)
    with pytest.raises(scdata.ScdataError, match=r"10 of 12 shards are empty: 2 of 200 cells are left"):
        scdata.build_shards(source, tmp_path / "set", drop_duplicates=True)


def test_killed_while_it_looks_for_copies(tree, build_process, small_tasks, tmp_path):
    uri = "synthetic:cells=6000,genes=300,mean_genes=90"
    # every cell stands twice
    arguments = {"source": [uri, uri], "drop_duplicates": True, "splits": ["val=0.1:donor_id"]}
    out = tmp_path / "set"
    build = build_process(out=str(out), **arguments)
    while build.poll() is None and len(list(out.glob(".build/scratch/copies-*.hashes"))) < 3:
        time.sleep(0.002)
    build.kill()
    build.communicate(timeout=30)
    assert build.returncode == -9
    assert not (out / ".build" / "duplicates.bits").exists()
    scdata.build_shards(out=out, **arguments)
    scdata.build_shards(out=tmp_path / "whole", **arguments)
    assert tree(out) == tree(tmp_path / "whole")
    manifest = json.loads((out / "manifest.json").read_text())
    dropped = sum(drop["n_cells"] for drop in manifest["drops"] if drop["reason"] == "duplicate")
    n_genes = np.diff(scdata.open_source(uri).read(slice(0, 6000)).indptr)
    assert 0 < dropped == np.count_nonzero(n_genes >= 50) < 6000
    assert manifest["n_cells"] + sum(drop["n_cells"] for drop in manifest["drops"]) == 12000


def test_donors_on_two_sides_are_counted(make_h5ad, tmp_path):
    rng = np.random.default_rng(2)
    donor = ["d0", "d0", "d1", "d1", "d1", "d2", None, None, "d3", "d4"] * 3
    part = ["train", "val", "train", "train", "test", "test", "train", "val", "val", "train"] * 3
    obs = {"donor_id": donor, "part": part, "age": rng.integers(20, 60, 30)}
    source = make_h5ad("donors", counts(rng, 30), obs=obs)
    out = str(tmp_path / "set")
    age = int(obs["age"][0])
    rules = ["--split=val=part:'val'", "--split=test=part:'test'", f"--split=old=age:'{age}'"]
    shown = CliRunner().invoke(cli, ["build", str(source), "-o", out, *rules], catch_exceptions=False).output
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    # the oracle: splits of each donor
    split = [
        p if p in ("val", "test") else "old" if a == age else "train" for p, a in zip(part, obs["age"], strict=True)
    ]
    of = {name: [s for d, s in zip(donor, split, strict=True) if d == name] for name in ("d0", "d1", "d2", "d3", "d4")}
    shared = [name for name, own in of.items() if len(set(own)) > 1]
    assert {"d0", "d1"} <= set(shared)
    donors, parts = manifest["groups"]["checked"]
    assert manifest["groups"]["unchecked"] == ["age"]
    pairs = donors.pop("between_splits")
    n_cells = sum(len(of[name]) for name in shared)
    assert donors == {"column": "donor_id", "groups": 5, "shared": len(shared), "n_cells": n_cells}
    for pair in pairs:
        a, b = pair["splits"]
        both = [own for own in of.values() if a in own and b in own]
        assert pair["groups"] == len(both) > 0
        assert pair["n_cells"] == [sum(own.count(s) for own in both) for s in (a, b)]
    assert parts["column"] == "part"
    assert f"leak: {len(shared)} of 5 values of donor_id stand in several splits, with {n_cells} cells" in shown
    assert "not stored as strings (see --obs): age" in shown
    assert f"with {n_cells} cells" in CliRunner().invoke(cli, ["inspect", out]).output
    # splits made of the values of one column cannot part one of them
    alone = scdata.build_shards(source, tmp_path / "alone", splits=[f"old=age:'{age}'"])
    assert alone["groups"]["unchecked"] == []


def test_whole_groups_do_not_leak(tmp_path):
    source = "synthetic:cells=400,genes=90,mean_genes=60"
    manifest = scdata.build_shards(source, tmp_path / "donors", splits=["val=0.2:donor_id", "test=0.1:donor_id"])
    [donors] = manifest["groups"]["checked"]
    assert donors["groups"] > 2
    assert donors["shared"] == donors["n_cells"] == 0
    assert donors["between_splits"] == []
    said = CliRunner().invoke(cli, ["inspect", str(tmp_path / "donors")]).output
    assert f"no leak: each of the {donors['groups']} values of donor_id stands in one split" in said
    assert scdata.build_shards(source, tmp_path / "cells", splits=["val=0.2"])["groups"]["checked"][0]["shared"] > 2
    assert scdata.build_shards(source, tmp_path / "one")["groups"] == {"checked": [], "unchecked": []}


@pytest.mark.slow
def test_scratch_and_output_in_a_bucket(corpus, tmp_path, tree, remote_tree, s3, monkeypatch):
    from scdata.build import drafting, hashed_cells

    monkeypatch.setattr(drafting, "TASK_NNZ", 300)
    monkeypatch.setattr(hashed_cells, "_RANGE_CELLS", 8)
    scdata.build_shards(corpus[0], tmp_path / "set", drop_duplicates=True, **ARGUMENTS)
    places = {
        "out": f"s3://{s3.bucket}/copies/set",
        "scratch": f"s3://{s3.bucket}/copies/scratch",
        "endpoint": s3.endpoint,
    }
    scdata.build_shards(corpus[0], drop_duplicates=True, **places, **ARGUMENTS)
    assert remote_tree(places["out"]) == tree(tmp_path / "set")
    assert remote_tree(places["scratch"]) == {}
