"""Tables of orthologs: read whatever they are kept in, and turned into a map that is never ambiguous."""

from collections import defaultdict

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata import read_orthologs
from scdata._errors import MappingError
from scdata.counts.organisms import columns_of_organism, organism_named, organism_of_column, organism_of_ids
from scdata.counts.orthologs import OrthologTable

PAIRS = [
    ("A", "a"),
    ("B", "b"),
    ("B", "b2"),
    ("C", "b2"),
    ("D", "d"),
    ("X", "z"),
    ("A", "a"),
    ("E", None),
    ("F", "f"),
    ("F2", "f"),
]


def table(pairs):
    columns = {"one": tuple(a for a, _ in pairs), "other": tuple(b for _, b in pairs)}
    return OrthologTable("pairs.csv", "0" * 64, columns)


def test_a_table_is_read_from_parquet_and_text(tmp_path):
    frame = pd.DataFrame(PAIRS, columns=["human", "mouse"]).assign(entrez=range(10), share=0.5)
    frame.loc[0, "human"] = "ENSG00000141510.18"
    frame.loc[1, "mouse"] = "NaN"
    frame.astype({"human": "category"}).to_parquet(tmp_path / "pairs.parquet")
    frame.to_csv(tmp_path / "pairs.csv", index=False)
    frame.to_csv(tmp_path / "pairs.tsv", index=False, sep="\t")
    found = [read_orthologs(path) for path in sorted(tmp_path.iterdir())]
    for one in found:
        assert list(one.columns) == ["human", "mouse", "entrez"]  # no id is a fraction
        assert one.columns["human"][0] == "ENSG00000141510"
        assert one.columns["mouse"][:2] == ("a", "NaN")
        assert one.columns["mouse"][7] == ""
        assert one.columns["entrez"][3] == "3"
        assert one.first("human", "entrez")["B"] == "1"
    assert len({one.sha256 for one in found}) == 3


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("pairs.xlsx", b"x", "no such file, or none of .parquet, .csv, .tsv"),
        ("pairs.parquet", b"not Parquet", "cannot be read as .parquet"),
        ("pairs.csv", b"human\nA\n", "has 1 column"),
        ("pairs.csv", b"a,b\nA,a\nB\n", "cannot be read as .csv"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MappingError, match=said):
        read_orthologs(tmp_path / name)
    with pytest.raises(MappingError, match="no such file"):
        read_orthologs(tmp_path / "none.csv")


def test_one_to_one_and_many_to_one():
    own = table([(a, b or "") for a, b in PAIRS])
    assert own.mapping("one", "other") == {"A": "a", "B": None, "C": None, "D": "d", "X": "z", "F": None, "F2": None}
    many = own.mapping("one", "other", many_to_one=True)
    assert many == {"A": "a", "B": None, "C": "b2", "D": "d", "X": "z", "F": "f", "F2": "f"}
    assert own.mapping("other", "one", many_to_one=True)["f"] is None


@given(st.lists(st.tuples(st.sampled_from(["", *"ABCDEF"]), st.sampled_from(["", *"abcdef"])), max_size=30))
def test_no_map_is_ambiguous(pairs):
    orthologs, origins = defaultdict(set), defaultdict(set)
    for a, b in pairs:
        if a and b:
            orthologs[a].add(b)
            origins[b].add(a)
    own = table(pairs)
    for many in (False, True):
        found = own.mapping("one", "other", many)
        assert found.keys() == orthologs.keys()
        for a, theirs in orthologs.items():
            [only] = theirs if len(theirs) == 1 else [None]
            assert found[a] == (only if only and (many or len(origins[only]) == 1) else None)


def test_organisms_by_name_taxon_prefix_and_column():
    assert {organism_named(text) for text in ("Human", "homo_sapiens", "NCBITaxon:9606", " Homo sapiens ")} == {
        "Homo sapiens"
    }
    assert organism_named("Ambystoma mexicanum") == "Ambystoma mexicanum"
    assert organism_of_ids(["ENSMUSG00000086714", "ENSMUSG00000086715.2", ""]) == "Mus musculus"
    assert organism_of_ids(["ENSG00000141510", "TP53", "MYC"]) is None
    columns = ["human_ensembl_id", "Human gene name", "mouse_symbol", "humanised"]
    assert columns_of_organism("Homo sapiens", columns) == columns[:2]
    assert columns_of_organism("axolotl", ["axolotl gene", "human"]) == ["axolotl gene"]
    assert [organism_of_column(column) for column in columns] == ["Homo sapiens", "Homo sapiens", "Mus musculus", None]
