"""Sources of another species, read as orthologs: the counts are those of a product with the matrix of the mapping."""

import json
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scdata
from scdata._errors import BuildError, LayerNotFoundError, MappingError, PlanChangedError, SourceError
from scdata.build import BuildConfig, Progress, plan_build
from scdata.build.against.verify import verify_against

HUMAN, MOUSE = [f"ENSG{i:011d}" for i in range(8)], [f"ENSMUSG{i:011d}" for i in range(8)]
# 0 and 1: one to one; 2 and 3 of the mouse share one; 4 of the mouse has two; 5, 6, 7 have none
PAIRS = [(0, 0), (1, 1), (2, 2), (2, 3), (3, 4), (4, 4), (5, None), (None, 6)]


@pytest.fixture
def orthologs(tmp_path):
    """The table, with symbols beside the ids."""
    rows = [
        {
            "human_ensembl_id": None if h is None else HUMAN[h],
            "human_symbol": None if h is None else f"GENE{h}",
            "mouse_symbol": None if m is None else f"Gene{m}",
            "mouse_ensembl_id": None if m is None else MOUSE[m],
        }
        for h, m in PAIRS
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "orthologs.tsv", sep="\t", index=False)
    return tmp_path / "orthologs.tsv"


@pytest.fixture
def mouse(make_h5ad):
    x = np.random.default_rng(5).poisson(3, (90, 8)) + 1
    names = {
        "index": [f"Gene{i}" for i in range(8)],
        "ensembl_id": MOUSE,
        "feature_name": [f"Gene{i}" for i in range(8)],
    }
    return make_h5ad("mouse", x, var=names), x


def dense(path, split="train"):
    """Counts of a set by cell_id, and its genes."""
    cells = scdata.to_anndata(path, split=split)
    order = np.argsort(cells.obs["cell_id"].to_numpy())
    return cells.X.toarray()[order], list(cells.var_names), cells


def test_genes_without_one_ortholog_are_lost_and_said(mouse, orthologs, tmp_path):
    path, x = mouse
    said = []
    progress = Progress()
    progress.note = said.append
    manifest = scdata.build_shards(
        path, tmp_path / "set", orthologs=orthologs, orthologs_to="human", min_mapped=0, progress=progress
    )
    counts, genes, cells = dense(tmp_path / "set")
    assert genes == HUMAN[:2]
    assert (counts == x[:, :2]).all()
    assert cells.var["feature_name"].tolist() == ["GENE0", "GENE1"]  # names of the target's genes
    assert "Gene0" not in cells.var.to_numpy()
    [source] = manifest["sources"]
    own = source["orthologs"]
    assert (own["column"], own["to"], source["feature_id"]) == ("mouse_ensembl_id", "human_ensembl_id", "ensembl_id")
    assert (own["n_kept"], own["n_ambiguous"], own["n_without"]) == (2, 3, 3)
    lost = int(x[:, 2:].sum())
    assert own["lost"] == [{"dataset": "mouse.h5ad", "total_counts": int(x.sum()), "lost_counts": lost}]
    assert own["share_lost"] == lost / x.sum()  # all cells are in the sample
    assert any(
        "2 of 8 genes become orthologs" in line and f"{lost / x.sum():.1%} of the counts" in line for line in said
    )
    assert manifest["vocab_counts"] == x.sum() - lost
    assert manifest["config"]["orthologs"] == "orthologs.tsv"
    assert manifest["assets"] == {"orthologs": scdata.read_orthologs(orthologs).sha256}


def test_orthologs_that_genes_share_are_summed(mouse, orthologs, tmp_path):
    path, x = mouse
    manifest = scdata.build_shards(
        path, tmp_path / "set", orthologs=orthologs, orthologs_to="human_ensembl_id", many_to_one=True, min_mapped=0
    )
    counts, genes, _ = dense(tmp_path / "set")
    assert genes == HUMAN[:3]
    assert (counts == np.stack([x[:, 0], x[:, 1], x[:, 2] + x[:, 3]], axis=1)).all()
    [source] = manifest["sources"]
    assert (source["orthologs"]["n_kept"], source["n_genes_distinct"]) == (4, 3)
    assert verify_against(tmp_path / "set", [str(path)], orthologs=orthologs).ok


def test_what_a_species_lacks_is_not_measured(mouse, make_h5ad, orthologs, tmp_path):
    x = np.random.default_rng(6).poisson(2, (50, 6))
    human = make_h5ad("human", x, var={"index": [f"GENE{i}" for i in range(6)], "ensembl_id": HUMAN[:6]})
    options = {"orthologs": orthologs, "orthologs_to": "human", "many_to_one": True, "min_mapped": 0}
    manifest = scdata.build_shards([human, mouse[0]], tmp_path / "set", **options)
    assert ["orthologs" in source for source in manifest["sources"]] == [
        False,
        True,
    ]  # the target's own stay as they are
    ds = scdata.ShardDataset(tmp_path / "set", output="dense", columns=("measured",), shuffle=False, batch_size=200)
    batch = next(iter(ds))
    assert list(ds.dense_feature_ids) == HUMAN[:6]
    measured = dict(zip(batch["dataset"].tolist(), batch["measured"].tolist(), strict=True))
    assert measured == {0: [True] * 6, 1: [True] * 3 + [False] * 3}
    order = np.argsort(batch["cell_id"].numpy())
    expected = np.stack([mouse[1][:, 0], mouse[1][:, 1], mouse[1][:, 2] + mouse[1][:, 3]], axis=1)
    assert (batch["values"].numpy()[order] == np.block([[x], [expected, np.zeros((90, 3))]])).all()
    assert verify_against(tmp_path / "set", [str(human), str(mouse[0])], orthologs=orthologs).ok


def test_sums_that_no_count_can_be_are_an_error(make_h5ad, orthologs, tmp_path):
    x = np.zeros((3, 8), np.int64)
    x[:, 0], x[1, 2:4] = 1, 1 << 30
    path = make_h5ad("deep", sp.csr_matrix(x), var={"index": MOUSE})
    options = {"orthologs": orthologs, "orthologs_to": "human", "many_to_one": True, "min_mapped": 0}
    with pytest.raises(
        SourceError, match=r"deep.h5ad, rows 0 to 3: .* add up to 2147483648, over the limit of 2147483647"
    ):
        scdata.build_shards(path, tmp_path / "set", **options)
    x[1, 3] -= 1
    scdata.build_shards(
        make_h5ad("exact", sp.csr_matrix(x.astype(np.float64)), var={"index": MOUSE}), tmp_path / "exact", **options
    )
    assert dense(tmp_path / "exact")[0][1].tolist() == [1, 0, (1 << 31) - 1]


def test_a_build_goes_on_with_the_same_table_only(mouse, orthologs, tmp_path):
    path, _ = mouse
    options = {"orthologs": str(orthologs), "orthologs_to": "human", "min_mapped": 0.0}
    config = BuildConfig(sources=(str(path),), out=str(tmp_path / "set"), **options)
    plan_build(config, Progress())
    other = orthologs.read_text()
    orthologs.write_text(other.replace("GENE0", "GENE9"))
    with pytest.raises(PlanChangedError, match="assets orthologs was"):
        scdata.build_shards(path, tmp_path / "set", **options)
    orthologs.write_text(other)
    with pytest.raises(PlanChangedError, match="config many_to_one was None and is True"):
        scdata.build_shards(path, tmp_path / "set", many_to_one=True, **options)
    (tmp_path / "there").mkdir()
    moved = shutil.copy(orthologs, tmp_path / "there")
    scdata.build_shards(path, tmp_path / "set", **{**options, "orthologs": moved})
    assert not (tmp_path / "set" / ".build").exists()
    # and is compared with its source by the same table only
    with pytest.raises(BuildError, match=r"needs the table of orthologs it was built with, orthologs\.tsv"):
        verify_against(tmp_path / "set", [str(path)])
    orthologs.write_text(other.replace("GENE0", "GENE9"))
    [problem] = verify_against(tmp_path / "set", [str(path)], orthologs=orthologs).problems
    assert "the table of orthologs is another one" in problem


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"orthologs_to": None}, MappingError, "say whose genes the set shall have with --orthologs-to"),
        ({"orthologs_to": "axolotl"}, MappingError, "no column called or named after 'axolotl'"),
        (
            {"orthologs_to": "mouse_symbol", "tokenizer": "scgpt", "assets": "fit"},
            MappingError,
            "add --orthologs-to mouse_ensembl_id",
        ),
        ({"feature_id": "none"}, LayerNotFoundError, "no var column 'none'"),
        ({"orthologs": "none.csv"}, MappingError, "--orthologs none.csv: cannot be read"),
        ({"min_mapped": 0.5}, MappingError, r"genes with an ortholog in the vocabulary .* \(--many-to-one\)"),
        ({"orthologs": None}, ValueError, "name one with --orthologs"),
    ],
)
def test_what_does_not_fit_is_refused(mouse, orthologs, tmp_path, more, error, said):
    options = {"orthologs": orthologs, "orthologs_to": "human", "min_mapped": 0, **more}
    with pytest.raises(error, match=said):
        scdata.build_shards(mouse[0], tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()


def test_genes_that_no_column_has_are_refused(make_h5ad, orthologs, tmp_path):
    options = {"orthologs": orthologs, "orthologs_to": "human", "min_mapped": 0}
    strange = make_h5ad("strange", [[1, 2]], var={"index": ["x", "y"]})
    with pytest.raises(MappingError, match=r"none of its genes, such as 'x', stands in orthologs.tsv"):
        scdata.build_shards(strange, tmp_path / "set", **options)
    lone = make_h5ad("lone", [[1, 2]], var={"index": MOUSE[2:4]})
    with pytest.raises(MappingError, match=r"none of its genes has one ortholog .* add --many-to-one"):
        scdata.build_shards(lone, tmp_path / "set", **options)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12),
    st.lists(st.integers(0, 6), min_size=1, max_size=7),
    st.booleans(),
    st.integers(0, 100),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_is_a_product_with_its_matrix(tmp_path_factory, pairs, columns, many, seed):
    folder = tmp_path_factory.mktemp("any")
    pd.DataFrame([(HUMAN[h], MOUSE[m]) for h, m in pairs], columns=["human", "mouse"]).to_csv(
        folder / "t.csv", index=False
    )
    x = np.random.default_rng(seed).poisson(2, (40, len(columns)))
    x[:, 0] += 1
    ids = [MOUSE[i] for i in columns]  # a gene may have several columns
    anndata.AnnData(
        sp.csr_matrix(x, dtype=np.float32), var=pd.DataFrame({"ensembl_id": ids}, [str(i) for i in range(len(ids))])
    ).write_h5ad(folder / "m.h5ad")
    mapping = np.zeros((len(columns), 8), np.int64)
    for column, m in enumerate(columns):
        targets = {h for h, other in pairs if other == m}
        if len(targets) == 1 and (many or len({other for h, other in pairs if h in targets}) == 1):
            mapping[column, targets.pop()] = 1
    options = {"orthologs": folder / "t.csv", "orthologs_to": "human", "many_to_one": many, "min_mapped": 0}
    if not mapping.any():
        with pytest.raises(MappingError, match="none of its genes"):
            scdata.build_shards(folder / "m.h5ad", folder / "set", **options)
        return
    expected = (sp.csr_matrix(x) @ sp.csr_matrix(mapping)).toarray()
    left = np.flatnonzero(expected.sum(1))
    if not len(left):
        return
    scdata.build_shards(folder / "m.h5ad", folder / "set", **options)
    counts, genes, _ = dense(folder / "set")
    there = np.flatnonzero(mapping.any(0))
    assert genes == [HUMAN[i] for i in there]
    assert (counts == expected[left][:, there]).all()


def test_real_cells_of_mouse_become_human_genes(shared_data, tmp_path):
    data = anndata.read_h5ad(shared_data / "tasks" / "annot_mouse_pancreas_baron_2animals.h5ad")[700:1000].copy()
    data.obs["dataset_id"] = data.obs["donor_id"]
    data.write_h5ad(tmp_path / "mouse.h5ad")
    path = shared_data / "reference" / "genes" / "human_mouse_orthologs.parquet"
    pairs = pd.read_parquet(path)[["human_ensembl_id", "mouse_ensembl_id"]].dropna().drop_duplicates()
    for many in (False, True):
        own = pairs[~pairs["mouse_ensembl_id"].duplicated(keep=False)]
        own = (
            own
            if many
            else own[~own["human_ensembl_id"].isin(pairs["human_ensembl_id"][pairs["human_ensembl_id"].duplicated()])]
        )
        human = pd.Index(sorted(own["human_ensembl_id"].unique()))
        joined = data.var.reset_index().merge(own, left_on="ensembl_id", right_on="mouse_ensembl_id")
        rows = data.var_names.get_indexer(joined["index"])
        to = sp.csr_matrix(
            (np.ones(len(joined), np.int64), (rows, human.get_indexer(joined["human_ensembl_id"]))),
            (data.n_vars, len(human)),
        )
        expected = data.X.astype(np.int64) @ to
        out = tmp_path / f"{many}.set"
        manifest = scdata.build_shards(
            tmp_path / "mouse.h5ad", out, orthologs=path, orthologs_to="human", many_to_one=many
        )
        counts, genes, _ = dense(out)
        assert (counts == expected[:, human.get_indexer(genes)].toarray()).all()
        assert counts.sum() == expected.sum()
        [source] = manifest["sources"]
        for each in source["orthologs"]["lost"]:
            of = np.flatnonzero(data.obs["donor_id"] == each["dataset"])
            assert each["lost_counts"] == data.X[of].sum() - expected[of].sum()
        assert ("ENSG00000254647" in genes) == many  # INS, of Ins1 and Ins2
    assert json.loads((out / "manifest.json").read_text())["config"]["many_to_one"] is True
