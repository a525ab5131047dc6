"""Each dataset of a set is of a species, and measures the genes of that one."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import scdata
from scdata.build.against.verify import verify_against
from scdata.shard.files import read_arrow, sha256_of, write_arrow, write_json
from scdata.shard.shard_set import ShardSet

HUMAN, MOUSE = [f"ENSG{i:011d}" for i in range(5)], [f"ENSMUSG{i:011d}" for i in range(4)]


def cells(n_genes, n_cells=60):
    return np.random.default_rng(n_genes).poisson(2, (n_cells, n_genes)) + 1


def test_genes_of_two_species_share_a_space_and_each_measures_its_own(make_h5ad, tmp_path):
    human = make_h5ad("human", cells(5), var={"index": HUMAN})
    mouse = make_h5ad("mouse", cells(4), obs={"organism": ["Mus musculus"] * 60}, var={"index": MOUSE})
    manifest = scdata.build_shards([human, mouse], tmp_path / "set")
    shards = ShardSet(tmp_path / "set")
    assert shards.organisms == ["Homo sapiens", "Mus musculus"]  # by Ensembl ids, and by obs
    assert [source["organisms"] for source in manifest["sources"]] == [["Homo sapiens"], ["Mus musculus"]]
    assert shards.var["feature_id"].to_pylist() == HUMAN + MOUSE
    assert shards.measured.tolist() == [[True] * 5 + [False] * 4, [False] * 5 + [True] * 4]
    batch = next(iter(scdata.ShardDataset(tmp_path / "set", output="dense", columns=("measured",), batch_size=120)))
    assert ((batch["values"] > 0) == batch["measured"]).all()  # all counts are above 0 where there was a gene
    # a set knows its species when it is a source
    scdata.build_shards(tmp_path / "set", tmp_path / "again", obs=[])
    assert ShardSet(tmp_path / "again").organisms == ["Homo sapiens", "Mus musculus"]


@pytest.mark.parametrize(
    ("obs", "options", "expected"),
    [
        ({"organism_ontology_term_id": ["NCBITaxon:10090"] * 60}, {}, ["Mus musculus"]),
        ({"organism": ["human"] * 60, "organism_ontology_term_id": ["NCBITaxon:10090"] * 60}, {}, ["Homo sapiens"]),
        ({"organism": ["Mus musculus"] * 60}, {"organism": "homo_sapiens"}, ["Homo sapiens"]),
        ({"organism": ["axolotl"] * 30 + ["mouse"] * 30}, {}, ["Mus musculus, axolotl"]),
        ({"organism": ["axolotl"] * 30 + ["mouse"] * 30}, {"obs_filter": "organism == 'mouse'"}, ["Mus musculus"]),
        (
            {"organism": ["human"] * 20 + [None] * 20 + ["mouse"] * 20, "dataset_id": ["b"] * 40 + ["a"] * 20},
            {},
            ["Mus musculus", "Homo sapiens"],
        ),
        ({"organism": [None] * 60}, {}, [""]),
        ({"organism": np.arange(60)}, {}, [""]),
    ],
)
def test_what_tells_the_species(make_h5ad, tmp_path, obs, options, expected):
    if "organism" in obs and not isinstance(obs["organism"], np.ndarray):
        obs = {**obs, "organism": pd.Categorical(obs["organism"])}
    path = make_h5ad("cells", cells(6), obs=obs)
    manifest = scdata.build_shards(path, tmp_path / "set", **options)
    assert ShardSet(tmp_path / "set").organisms == expected
    assert manifest["sources"][0].get("organisms", [""]) == sorted(expected)
    assert verify_against(tmp_path / "set", [str(path)]).ok


def test_cells_read_as_orthologs_stay_of_their_species(make_h5ad, tmp_path):
    pd.DataFrame({"human": HUMAN[:4], "mouse": MOUSE}).to_csv(tmp_path / "pairs.csv", index=False)
    mouse = make_h5ad("mouse", cells(4), var={"index": MOUSE})
    scdata.build_shards(mouse, tmp_path / "set", orthologs=tmp_path / "pairs.csv", orthologs_to="human")
    shards = ShardSet(tmp_path / "set")
    assert (shards.organisms, shards.var["feature_id"].to_pylist()) == (["Mus musculus"], HUMAN[:4])


def test_a_set_of_before_is_read_and_verified(make_h5ad, tmp_path):
    path = make_h5ad("human", cells(5), var={"index": HUMAN})
    scdata.build_shards(path, tmp_path / "set")
    file = tmp_path / "set" / "measured.arrow"
    write_arrow(file, read_arrow(file).drop_columns(["organism"]))
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    manifest["files"]["measured.arrow"] = sha256_of(file)
    write_json(tmp_path / "set" / "manifest.json", manifest)
    shards = ShardSet(tmp_path / "set")
    assert (shards.organisms, shards.datasets) == ([""], ["human.h5ad"])
    assert verify_against(tmp_path / "set", [str(path)]).ok
    # but no other columns
    write_arrow(file, pa.table({"dataset": ["human.h5ad"]}))
    manifest["files"]["measured.arrow"] = sha256_of(file)
    write_json(tmp_path / "set" / "manifest.json", manifest)
    with pytest.raises(scdata.ScdataError, match="expected the columns"):
        _ = ShardSet(tmp_path / "set").datasets
