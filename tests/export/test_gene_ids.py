"""Feature ids of genes through scGPT's scBank, whose vocabulary has names."""

import json
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest

import scdata
from scdata.export.scgpt_parquet import gene_names
from scdata.shard.shard_set import ShardSet
from scdata.source import open_source

IDS = [f"ENSG{i:011d}" for i in range(12)]
# one name of two genes, and a gene without
SYMBOLS = ["TWICE", "TWICE", "", *(f"S{i}" for i in range(3, 12))]


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder, var = tmp_path_factory.mktemp("bank"), pd.DataFrame({"feature_name": SYMBOLS}, index=IDS)
    counts = np.random.default_rng(0).poisson(2, (40, 12)).astype(np.float32)
    for name, columns in (("some", slice(4, 12)), ("all", slice(0, 12))):
        anndata.AnnData(counts[:, columns], var=var[columns]).write_h5ad(folder / f"{name}.h5ad")
    scdata.build_shards([folder / "some.h5ad", folder / "all.h5ad"], folder / "set")
    scdata.export_set(folder / "set", folder / "bank", "parquet-scgpt")
    return folder


@pytest.fixture
def copy(bank, tmp_path):
    return shutil.copytree(bank / "bank", tmp_path / "bank")


def test_feature_ids_come_back(bank, tmp_path):
    assert open_source(bank / "bank").notes == ()
    again = scdata.build_shards(bank / "bank", tmp_path / "set")
    before, after = ShardSet(bank / "set"), ShardSet(tmp_path / "set")
    assert again["genes_sha256"] == before.manifest["genes_sha256"]
    named = dict(zip(after.var["feature_id"].to_pylist(), after.var["feature_name"].to_pylist(), strict=True))
    assert list(named) == sorted(IDS)
    assert named == dict(zip(IDS, [*IDS[:3], *SYMBOLS[3:]], strict=True))
    measured = dict(zip(after.datasets, after.measured.sum(1).tolist(), strict=True))
    assert measured == {"some.h5ad": 8, "all.h5ad": 12}


def test_a_folder_without_the_list_has_names(copy):
    table = json.loads((copy / "scdata.json").read_text())
    del table["genes"]
    (copy / "scdata.json").write_text(json.dumps(table))
    source = open_source(copy)
    [note] = source.notes
    assert note == "genes go by their names in gene_vocab.json: scdata.json does not tell the feature ids of all"
    assert source.genes.feature_ids[3:] == tuple(sorted(SYMBOLS[3:], key=lambda name: int(name[1:])))
    # what was measured is by name
    assert sorted(source.genes.measured.sum(1).tolist()) == [8, 12]
    (copy / "scdata.json").unlink()
    plain = open_source(copy)
    assert (plain.notes, plain.genes.feature_ids) == ((), source.genes.feature_ids)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.pop("name"), "expected lists 'name' and 'feature_id'"),
        (lambda table: table.update(name="S3"), "genes.name is 'S3', expected a list"),
        (lambda table: table["feature_id"].pop(), "the lists of genes have 12 and 11 values"),
        (lambda table: table["feature_id"].__setitem__(0, table["feature_id"][1]), "or one twice"),
        (lambda table: table["feature_id"].__setitem__(0, ""), "a gene has an empty id"),
        (lambda table: table["feature_id"].__setitem__(0, 7), "genes.feature_id has 7, expected a string"),
        (lambda table: table["name"].__setitem__(0, "another gene"), None),
    ],
)
def test_a_damaged_list_is_left_out_with_a_note(copy, change, said):
    table = json.loads((copy / "scdata.json").read_text())
    change(table["genes"])
    (copy / "scdata.json").write_text(json.dumps(table))
    source = open_source(copy)
    *damaged, note = source.notes
    assert note.startswith("genes go by their names in gene_vocab.json")
    assert len(damaged) == (said is not None)
    assert all(own.startswith("'genes' of scdata.json is ignored: ") and said in own for own in damaged)
    assert "S5" in source.genes.feature_ids
    # the rest is what it was
    assert sorted(source.genes.measured.sum(1).tolist()) == [8, 12]


def test_names_in_a_vocabulary_are_distinct():
    names = ["b", None, "A", "A"]
    assert gene_names(pd.DataFrame({"feature_name": names}, index=["a", "x", "y", "z"])) == ["b", "x", "y", "z"]
    # the id that a gene falls back to is the name of another
    assert gene_names(pd.DataFrame({"feature_name": names}, index=["a", "b", "y", "z"])) == ["a", "b", "y", "z"]
