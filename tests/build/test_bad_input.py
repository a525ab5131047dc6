"""What bad input gets: an error that names the value, the limit, the file and the remedy, and nothing that looks whole."""

import json
import re

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scdata
from scdata._errors import (
    BuildError,
    LayerNotFoundError,
    MappingError,
    NotCountsError,
    SetNotFoundError,
    SourceError,
)

X = np.array([[1, 0, 2], [0, 3, 0], [5, 0, 0], [1, 1, 1]], np.float32)


@pytest.fixture
def refused(tmp_path):
    """A function: build, expect an error, and see that no set is left; returns the message."""

    def build(kind, source, **arguments):
        out = tmp_path / "set"
        with pytest.raises(kind) as error:
            scdata.build_shards(source, out, **arguments)
        assert not list(out.rglob("manifest.json"))
        assert not list(out.rglob("*.tmp"))
        with pytest.raises(SetNotFoundError):
            scdata.verify_shards(out)
        return str(error.value)

    return build


@pytest.fixture
def published(tmp_path):
    """A function: arguments for a preset whose vocabulary holds some names."""

    def arguments(names):
        (tmp_path / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
        preset = tmp_path / "own.toml"
        preset.write_text(
            'description = "own"\nstores = "counts"\n[vocab]\ngenes = "vocab.json"\nids = "symbols"\n'
            '[value]\nkind = "counts"\n'
        )
        return {"tokenizer": str(preset), "assets": str(tmp_path)}

    return arguments


# -- values that are no counts -------------------------------------------------


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (0.5, "0.5 in row 2 is not a whole number: the matrix looks normalized"),
        (-3.0, "-3 in row 2 is negative"),
        (np.nan, "nan in row 2 is not finite"),
        (np.inf, "inf in row 2 is not finite"),
        (2.0**32, "4.2949673e+09 in row 2 is over 2147483647"),
    ],
)
def test_values_that_are_no_counts(make_h5ad, refused, value, what):
    x = X.copy()
    x[2, 0] = value
    path = make_h5ad("x", x, layers={"raw_counts": sp.csr_matrix(X)})
    message = refused(NotCountsError, path)
    assert f"the value {what}" in message
    assert str(path) in message
    assert "raw_counts" in message
    assert "layer=" in message


def test_a_value_that_no_sample_meets_is_found_in_its_task(make_h5ad, refused):
    x = np.ones((30_000, 3), np.float32)
    x[20_011, 1] = 0.25
    message = refused(NotCountsError, make_h5ad("x", x), layer="X")
    assert "the value 0.25 in row 20011 is not a whole number" in message


def test_a_layer_that_is_not_there(make_h5ad, refused):
    path = make_h5ad("x", X, layers={"spliced": sp.csr_matrix(X)})
    message = refused(LayerNotFoundError, path, layer="splice")
    assert f"{path}: no layer 'splice'; there are: spliced" in message


def test_a_truncated_file(make_h5ad, refused):
    path = make_h5ad("x", sp.random(2000, 200, 0.2, "csr", np.float32, random_state=0).ceil())
    path.write_bytes(path.read_bytes()[:-50_000])
    message = refused(SourceError, path)
    assert str(path) in message
    assert "truncated: copy it again" in message


def test_a_file_that_is_no_source(tmp_path, refused):
    (tmp_path / "x.h5ad").write_text("gene,count")
    assert "x.h5ad: a file of none of the known kinds; what can be read" in refused(SourceError, tmp_path / "x.h5ad")
    assert "nowhere: not found" in refused(SourceError, tmp_path / "nowhere")


def test_a_gene_of_which_columns_add_up_too_high(make_h5ad, refused):
    x = np.full((2, 2), 2**30, np.float64)
    path = make_h5ad("x", sp.csr_matrix(x), var={"gene_ids": ["a", "a"]})
    message = refused(SourceError, path)
    assert re.search(r"x\.h5ad, rows 0 to 2: counts of columns that are the same gene add up to 2147483648", message)


# -- names -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"obs": ["cell_typ"]},
        {"obs_filter": "cell_typ == 'a'"},
        {"splits": ["val=0.1:cell_typ"]},
        {"splits": ["val=cell_typ:'a'"]},
    ],
)
def test_an_obs_column_that_is_not_there(make_h5ad, refused, arguments):
    path = make_h5ad("x", X, obs={"cell_type": list("abca"), "donor": list("ddee")})
    message = refused(LayerNotFoundError, path, **arguments)
    assert "no obs column 'cell_typ': did you mean 'cell_type'? Known: cell_type, donor" in message


def test_genes_of_another_naming(make_h5ad, refused, published):
    path = make_h5ad("x", X, var={"index": [f"ENSMUSG0000000000{i}" for i in range(3)]})
    message = refused(MappingError, path, **published(["CD3D", "CD4"]))
    assert f"{path}: 3 of 3 ids are unknown, and only 0.0% of the counts belong to genes" in message
    assert "genes of the vocabulary of 'own.toml' (limit 50%)" in message
    assert "holds mouse Ensembl ids, such as 'ENSMUSG00000000000'" in message
    assert "the vocabulary holds symbols, such as 'CD3D'" in message
    assert "--feature-id" in message
    assert "--min-mapped" in message


def test_less_than_half_of_the_counts(make_h5ad, refused, published):
    path = make_h5ad("x", X, var={"index": ["CD3D", "x", "y"]})
    message = refused(MappingError, path, min_mapped=0.51, **published(["CD3D"]))
    assert "only 50.0% of the counts" in message
    assert "(limit 51%)" in message


def test_mapping_that_only_the_whole_corpus_shows(make_h5ad, refused, published):
    # the sampled slices are those of the first and the last cells, and of some between
    x = np.zeros((60_000, 2), np.float32)
    x[:, 0] = 1
    x[300:700, 1] = 20_000
    path = make_h5ad("x", x, var={"index": ["CD3D", "x"]})
    message = refused(MappingError, path, **published(["CD3D"]))
    assert re.search(r"x\.h5ad: only 0\.7% of the counts belong to genes of the vocabulary \(limit 50%\)", message)


# -- no cells ----------------------------------------------------------------------


def test_no_cells_after_a_filter(make_h5ad, refused):
    path = make_h5ad("x", X, obs={"donor": list("ddee")})
    message = refused(BuildError, path, obs_filter="donor == 'f'")
    assert f"""--obs-filter "donor == 'f'" keeps none of the 4 cells of {path}""" in message


def test_no_cells_at_all(make_h5ad, refused):
    assert "no cells in" in refused(BuildError, make_h5ad("x", np.zeros((0, 3))))


def test_all_cells_dropped(make_h5ad, refused):
    message = refused(BuildError, make_h5ad("x", np.zeros((4, 3))))
    assert "no cells left" in message
    assert "x.h5ad" in message
    assert "no counts" in message


@pytest.mark.parametrize(
    ("split", "why"),
    [
        ("val=donor:'f'", "split 'val' would be empty: no cell (left) has 'f' in 'donor'"),
        ("val=donor:'d','e'", "split 'train' would be empty: the other splits take all 4 cells"),
        ("val=0.0001", "split 'val' would be empty: 0.0001 of 4 cells is none with this seed"),
        ("val=0.9:donor", "split 'train' would be empty"),
    ],
)
def test_an_empty_split(make_h5ad, refused, split, why):
    assert why in refused(BuildError, make_h5ad("x", X, obs={"donor": list("ddee")}), splits=[split])


def test_a_split_of_which_all_cells_are_dropped(make_h5ad, refused):
    x = X.copy()
    x[2:] = 0
    message = refused(BuildError, make_h5ad("x", x, obs={"donor": list("ddee")}), splits=["val=donor:'e'"])
    assert "split 'val' is empty: all of its cells were dropped" in message


def test_a_cell_without_a_gene_of_the_vocabulary_is_dropped_and_counted(make_h5ad, tmp_path, published, read_cells):
    x = np.vstack([X, [[0, 0, 0]]])
    path = make_h5ad("x", x, var={"index": ["CD3D", "x", "CD4"]})
    manifest = scdata.build_shards(path, tmp_path / "set", **published(["CD3D", "CD4"]))
    assert manifest["drops"] == [
        {"dataset": "x.h5ad", "reason": "no counts", "n_cells": 1},
        {"dataset": "x.h5ad", "reason": "no gene of the vocabulary", "n_cells": 1},
    ]
    cells = read_cells(tmp_path / "set")
    assert sorted(cells) == [0, 2, 3]
    assert (cells[3]["total_counts"], cells[3]["vocab_counts"]) == (3, 2)
    assert (manifest["n_cells"], manifest["n_cells_read"]) == (3, 5)


# -- arguments ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"splits": ["val:0.1"]}, "--split 'val:0.1': expected NAME=FRACTION"),
        ({"obs_filter": "donor = 'd'"}, "--obs-filter"),
        ({"codec": "gzip"}, "codec 'gzip': one of zstd, none"),
        ({"min_mapped": 1.5}, "min_mapped = 1.5: a fraction from 0 to 1"),
        ({"block_size": 0}, "block_size = 0: from 1 to 65536 cells"),
        ({"shard_size": 10}, "shard_size = 10 bytes: at least 65536"),
        ({"workers": 0}, "workers = 0: from 1 to 1024"),
        ({"tokenizer": "geneformer"}, "unknown preset 'geneformer': did you mean 'geneformer-v2'?"),
    ],
)
def test_arguments_out_of_range(make_h5ad, refused, tmp_path, arguments, message):
    path = make_h5ad("x", X, obs={"donor": list("ddee")})
    assert message in refused(ValueError, path, **arguments)
    assert not list((tmp_path / "set").rglob("*"))


def test_no_source(tmp_path, refused):
    assert "no source given" in refused(ValueError, [])


def test_text_and_numbers_of_one_name_in_two_sources(make_h5ad, refused):
    paths = [make_h5ad("a", X, obs={"age": list("abcd")}), make_h5ad("b", X, obs={"age": [1, 2, 3, 4]})]
    said = "obs column 'age' is string in one source and int64 in another: leave it out, with --obs"
    assert said in refused(SourceError, paths)
    assert said in refused(SourceError, paths, obs=["age"])
    assert said in refused(SourceError, paths, obs=[], obs_filter="age == 'a'")


def test_a_column_that_is_not_asked_for_may_be_text_here_and_numbers_there(make_h5ad, tmp_path):
    more = {"donor": list("ddee")}
    paths = [make_h5ad("a", X, obs={"age": list("abcd"), **more}), make_h5ad("b", X, obs={"age": [1, 2, 3, 4], **more})]
    manifest = scdata.build_shards(paths, tmp_path / "set", obs=["donor"])
    assert [column["name"] for column in manifest["obs"]] == ["donor"]


def test_integers_too_large_for_the_type_that_nulls_need(tmp_path, refused):
    obs = pd.DataFrame({"key": pd.array([2**53 + 1, None, 3, 4], "Int64")}, index=list("abcd"))
    anndata.AnnData(sp.csr_matrix(X), obs=obs).write_h5ad(tmp_path / "x.h5ad")
    message = refused(SourceError, tmp_path / "x.h5ad")
    assert "obs column 'key'" in message
    assert "9007199254740993" in message
    assert "--obs" in message


@pytest.mark.parametrize("tokenizer", ["geneformer-v2", "scgpt"])
def test_cells_of_another_species_are_not_taken_for_human_ones(shared_data, refused, tokenizer):
    # symbols of mouse genes, in upper case, are mostly symbols of human genes too
    path = shared_data / "mouse_lung_tumor_immune.h5ad"
    message = refused(MappingError, path, tokenizer=tokenizer, assets=str(shared_data / "reference"))
    assert "the var column 'ensembl_id' holds mouse Ensembl ids" in message
    assert "--assets fit" in message
