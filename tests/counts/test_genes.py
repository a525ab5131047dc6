import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata import CellBlock, GeneSpace
from scdata.counts import cut_version, looks_like, map_ids
from scdata.source import SyntheticSource

P53, TSPAN6 = "ENSG00000141510", "ENSG00000000003"
INDEX = {P53: 0, TSPAN6: 1, "TP53": 2, "HLA-A.1": 3, "ENSG00000000005.9": 4}


@pytest.mark.parametrize(
    ("given_id", "cut"),
    [
        ("ENSG00000141510.18", P53),
        ("ENSG00000141510", P53),
        ("ENSMUSG00000059552.14", "ENSMUSG00000059552"),
        ("ensg00000141510.18", "ensg00000141510"),
        ("HLA-A.1", "HLA-A.1"),
        ("AC009133.12", "AC009133.12"),
        ("ENSG0000014151.18", "ENSG0000014151.18"),
        ("ENSG00000141510.18_PAR_Y", "ENSG00000141510.18_PAR_Y"),
        ("ENSG00000141510.", "ENSG00000141510."),
        ("ENST00000141510.1", "ENST00000141510.1"),
        ("", ""),
    ],
)
def test_only_versions_of_ensembl_genes_are_cut(given_id, cut):
    assert cut_version(given_id) == cut


def test_ids_map_as_they_are_and_then_without_version():
    ids = [P53 + ".3", TSPAN6, "TP53", "HLA-A.1", "HLA-A.2", "nothing", "", "ENSG00000000005.9", "tp53"]
    target = map_ids(ids, INDEX)
    assert target.tolist() == [0, 1, 2, 3, -1, -1, -1, 4, -1]
    assert target.dtype == np.int32


def test_aliases_come_first_and_ignore_case():
    aliases = {"OLD": P53, "TP53": TSPAN6, "ENSG00000000007": TSPAN6, "GONE": "not in the vocabulary"}
    ids = ["old", "tp53", "ENSG00000000007.2", "GONE", P53, "ensg00000000007"]
    assert map_ids(ids, INDEX, aliases).tolist() == [0, 1, 1, -1, 0, 1]


def test_an_alias_that_leads_nowhere_does_not_hide_the_id():
    assert map_ids(["TP53"], INDEX, {"TP53": "not in the vocabulary"}).tolist() == [2]


def test_no_ids():
    assert map_ids([], INDEX).tolist() == []


@given(st.lists(st.sampled_from([*INDEX, "x", P53 + ".1"])), st.randoms(use_true_random=False))
def test_an_id_maps_alike_wherever_it_stands(ids, random):
    of_id = dict(zip(ids, map_ids(ids, INDEX).tolist(), strict=True))
    random.shuffle(ids)
    assert map_ids(ids, INDEX).tolist() == [of_id[name] for name in ids]


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ([P53, TSPAN6 + ".1", "x"], "human Ensembl ids"),
        (["ENSMUSG00000059552"], "mouse Ensembl ids"),
        (["ENSDARG00000000001"], "ENSDAR… Ensembl ids"),
        ([P53 + ".18", TSPAN6 + ".1", "x"], "human Ensembl ids with versions"),
        ([P53 + ".18", TSPAN6], "human Ensembl ids"),
        (["ENSMUSG00000059552.14"], "mouse Ensembl ids with versions"),
        (["ENSRNOG00000010756"], "rat Ensembl ids"),
        (["ENST00000269305.9", "ENSMUST00000108658"], "Ensembl transcripts, not genes"),
        (["7157", "1017", "TP53"], "numbers, as NCBI's gene ids are"),
        (["Trp53", "Cd3e", "H2-Aa", "0610007P14Rik", "TP53"], "gene symbols as mouse and rat genes are written"),
        (["C1orf112", "CXorf38", "HLA-A", "MT-ND1", "AC009133.12"], "gene symbols or other names"),
        (["", "", ""], "nothing"),
        (["TP53", "CD3E", P53], "gene symbols or other names"),
        ([], "nothing"),
    ],
)
def test_looks_like(ids, kind):
    assert looks_like(ids) == kind


def test_gene_space_holds_what_datasets_measured():
    measured = np.array([[True, False, True], [True, True, True]])
    space = GeneSpace(feature_ids=("a", "b", "c"), datasets=("x", "y"), measured=measured)
    assert len(space) == 3
    with pytest.raises(ValueError, match=r"\(2, 3\), expected \(datasets, genes\) = \(1, 3\)"):
        GeneSpace(feature_ids=("a", "b", "c"), datasets=("x",), measured=measured)


def test_cell_block_is_counts_of_cells():
    block = SyntheticSource(20, 30, 10).read(slice(5, 12), ["cell_type"])
    assert isinstance(block, CellBlock)
    assert block.n_cells == 7 == block.obs.num_rows == len(block.dataset) == len(block.obs_names)
    assert block.genes.measured is None
    assert block.data.min() >= 1
