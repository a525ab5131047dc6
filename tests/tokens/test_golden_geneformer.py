"""Geneformer V1 and V2 against the original code: 22 cells of the demo file, 20 other cells, and small cases."""

import hashlib

import numpy as np
import pytest
import scipy.sparse as sp

import scdata
from scdata.resources import resource
from scdata.shard import ShardSet
from scdata.tokens import load_tokenizer

FOLDERS = {"V1": "geneformer/v1_gc30M", "V2": "geneformer/v2_gc104M"}
PRESETS = {"V1": "geneformer-v1", "V2": "geneformer-v2"}
VERSIONS = ["V1", "V2"]
# small cases by name: how many of them (versions × file formats) there are
EQUAL = {
    "basic8": 4,
    "n_counts_not_row_sum": 4,
    "lowercase_id": 4,
    "alias_collapse_V2": 4,
    "filter_pass": 2,
    "empty_cell_dropped": 2,
    "ties_synthetic_dictionary": 2,
    "truncation_and_keep_counts": 1,
}
DIFFERENT = {"unknown_gene_and_version_suffix": 4, "duplicate_ids_collapse": 4, "explicit_zero_in_csr": 2}


@pytest.fixture(scope="module")
def excerpt(golden_demo, write_files, tmp_path_factory):
    """A function: the tokenizer of a version with the dictionary entries that the demo cells need."""

    def load(version):
        own, folder = golden_demo("geneformer")[version], FOLDERS[version]
        files = {
            f"{folder}/token_dictionary.json.gz": {**own["special"], **own["tokens"]},
            f"{folder}/gene_median_dictionary.json.gz": own["medians"],
            f"{folder}/ensembl_mapping_dict.json.gz": own["alias"],
        }
        return load_tokenizer(PRESETS[version], write_files(tmp_path_factory.mktemp("assets"), files))

    return load


def test_the_demo_file_is_the_one_the_outputs_are_of(golden_demo):
    data = resource("demo/demo_pbmc_ifnb_1k.h5ad").read_bytes()
    for model in ("geneformer", "scgpt", "scfoundation", "transcriptformer"):
        assert hashlib.sha256(data).hexdigest() == golden_demo(model)["inputs"]["sha256"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("which", "n"), [("cells", 20), ("repeated_id_cells", 2)])
def test_demo_cells(demo, golden_demo, excerpt, rows_of, version, which, n):
    cells = golden_demo("geneformer")[version][which]
    block = excerpt(version).encode(demo.X[[cell["row"] for cell in cells]], demo.var["ensembl_id"].tolist())
    assert len(cells) == n
    assert block.total_counts.tolist() == [cell["n_counts"] for cell in cells]
    assert block.n_tokens.tolist() == [cell["length"] for cell in cells]
    assert all(cell["tie_groups"] == [] for cell in cells)
    assert rows_of(block) == [cell["input_ids"] for cell in cells]
    assert block.values is None
    assert block.token_ids.dtype == np.uint16


def test_an_id_that_stands_twice_is_summed_and_the_original_may_emit_it_twice(demo, golden_demo, excerpt, rows_of):
    (cell,) = [c for c in golden_demo("geneformer")["V1"]["repeated_id_cells"] if c["row"] == 185]
    (found,) = rows_of(excerpt("V1").encode(demo.X[[185]], demo.var["ensembl_id"].tolist()))
    as_is = cell["input_ids_file_as_is"]
    assert as_is.count(15009) == 2
    assert found.count(15009) == 1
    assert found == cell["input_ids"] != as_is
    # nothing else moves
    assert [t for t in found if t != 15009] == [t for t in as_is if t != 15009]


def modulo_ties(ids, groups):
    ids = list(ids)
    for start, stop in groups:
        ids[start:stop] = sorted(ids[start:stop])
    return ids


@pytest.fixture(scope="module")
def whole(reference):
    """The tokenizers with the whole published files."""
    return {version: load_tokenizer(PRESETS[version], reference) for version in VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
def test_20_other_cells_and_the_whole_dictionaries(golden, pbmc, whole, rows_of, version):
    cells = golden("geneformer")["real"][version]["cells"]
    block = whole[version].encode(pbmc, golden("cells_pbmc10k")["genes_ensembl"])
    vocabulary = golden("geneformer")["dictionary_subset_for_tiny"][version]
    assert len(cells) == 20
    assert whole[version].genes().n_tokens == vocabulary["vocab_size"]
    assert dict(whole[version].genes().specials) == vocabulary["special"]
    assert block.total_counts.tolist() == [cell["n_counts"] for cell in cells]
    for found, cell in zip(rows_of(block), cells, strict=True):
        groups = cell["tie_groups"]
        assert modulo_ties(found, groups) == modulo_ties(cell["input_ids"], groups), cell["cell_id"]


def small(golden, name):
    """The small cases of a name: version, matrix, ids, the case, expected tokens of each row."""
    for case in golden("geneformer")["tiny"]:
        if case["name"] == name:
            counts = case["counts"]
            if isinstance(counts, dict):
                X = sp.csr_matrix((counts["data"], counts["indices"], counts["indptr"]), shape=counts["shape"])
            else:
                X = sp.csr_matrix(np.array(counts, np.float32))
            yield case["version"], X, case["ensembl_ids"], case, [r["input_ids"] for r in case["output"]["rows"]]


def test_these_are_all_small_cases(golden):
    named = [case["name"] for case in golden("geneformer")["tiny"]]
    assert {name: named.count(name) for name in named} == {**EQUAL, **DIFFERENT}
    of_version = [(case["version"], case["name"] in DIFFERENT) for case in golden("geneformer")["tiny"]]
    assert [of_version.count(("V1", differ)) for differ in (False, True)] == [10, 5]
    assert [of_version.count(("V2", differ)) for differ in (False, True)] == [13, 5]


@pytest.mark.parametrize("name", ["basic8", "n_counts_not_row_sum", "lowercase_id", "alias_collapse_V2"])
def test_small_cases(golden, whole, rows_of, name):
    cases = list(small(golden, name))
    assert len(cases) == EQUAL[name]
    for version, X, ids, _, expected in cases:
        assert rows_of(whole[version].encode(X, ids)) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_the_total_may_be_an_obs_column(golden, reference, preset_file, rows_of, version):
    text = f'extends = "{PRESETS[version]}"\n[value]\ntotal = "n_counts"\n'
    tokenizer = load_tokenizer(preset_file(text), reference)
    for own, X, ids, case, expected in small(golden, "n_counts_not_row_sum"):
        if own == version:
            assert rows_of(tokenizer.encode(X, ids, {"n_counts": case["n_counts"]})) == expected


def test_a_cell_without_a_gene_of_the_vocabulary(golden, whole, rows_of):
    cases = list(small(golden, "empty_cell_dropped"))
    assert len(cases) == EQUAL["empty_cell_dropped"]
    for version, X, ids, _, expected in cases:
        # `encode` keeps the row, without tokens; a build drops and counts it (below)
        assert rows_of(whole[version].encode(X, ids)) == [*expected, []]


@pytest.mark.parametrize("name", ["filter_pass", "empty_cell_dropped"])
def test_cells_that_the_original_drops_are_dropped_by_a_build(golden, reference, tmp_path, name):
    import anndata
    import pandas as pd

    cases = list(small(golden, name))
    assert len(cases) == EQUAL[name]
    for number, (version, X, ids, case, expected) in enumerate(cases):
        passing = case["params"].get("filter_pass", [1] * X.shape[0])
        obs = pd.DataFrame({"filter_pass": passing}, index=[str(i) for i in range(X.shape[0])])
        source, out = tmp_path / f"{number}.h5ad", tmp_path / str(number)
        anndata.AnnData(X, obs=obs, var=pd.DataFrame(index=ids)).write_h5ad(source)
        tokens = {"tokenizer": PRESETS[version], "assets": reference}
        scdata.build_shards(source, out, obs_filter="filter_pass == 1", **tokens)
        (batch,) = scdata.ShardDataset(out, output="packed")
        assert batch["cell_id"].tolist() == [row["orig_row"] for row in case["output"]["rows"]]
        assert [batch["token_ids"].tolist()] == expected
        assert ShardSet(out).manifest["n_cells"] == 1


@pytest.mark.parametrize("name", ["ties_synthetic_dictionary", "truncation_and_keep_counts"])
def test_ties_and_truncation(golden, write_files, preset_file, tmp_path, rows_of, name):
    """Equal values stand in the order of token ids; in the original as its sort leaves them."""
    cases = list(small(golden, name))
    assert len(cases) == EQUAL[name]
    for _, X, ids, case, expected in cases:
        files = {
            f"{FOLDERS['V2']}/token_dictionary.json.gz": case["token_dictionary"],
            f"{FOLDERS['V2']}/gene_median_dictionary.json.gz": case["gene_medians"],
            f"{FOLDERS['V2']}/ensembl_mapping_dict.json.gz": {},
        }
        length = case.get("params", {}).get("model_input_size", 4096)
        own = preset_file(f'extends = "geneformer-v2"\ncontext_length = {length}\n')
        found = rows_of(load_tokenizer(own, write_files(tmp_path, files)).encode(X, ids))
        if "stable_order" in case:
            assert [row[1:-1] for row in found] == case["stable_order"]
        medians, tokens = case["gene_medians"], case["token_dictionary"]
        for row, ours, theirs in zip(X.toarray(), found, expected, strict=True):
            value = {tokens[g]: row[i] / row.sum() * 1e4 / medians[g] for i, g in enumerate(ids)}
            assert (ours[0], ours[-1], len(ours)) == (2, 3, len(theirs))
            assert [value[t] for t in ours[1:-1]] == [value[t] for t in theirs[1:-1]]
            assert ours[1:-1] == sorted(ours[1:-1], key=lambda token, v=value: (-v[token], token))


def test_ids_that_stand_twice_are_summed(golden, whole, rows_of):
    cases = list(small(golden, "duplicate_ids_collapse"))
    assert len(cases) == DIFFERENT["duplicate_ids_collapse"]
    for version, X, ids, _, theirs in cases:
        distinct = sorted(set(ids), key=ids.index)
        summed = np.zeros((2, len(distinct)))
        for column, gene in enumerate(ids):
            summed[:, distinct.index(gene)] += X.toarray()[:, column]
        found = rows_of(whole[version].encode(X, ids))
        assert found == rows_of(whole[version].encode(sp.csr_matrix(summed), distinct))
        assert len(theirs[0]) == len(found[0]) + 2  # the original emits two tokens twice
        assert [sorted(set(row)) for row in theirs] == [sorted(row) for row in found]


def test_explicit_zeros_are_no_tokens(golden, whole, rows_of):
    cases = list(small(golden, "explicit_zero_in_csr"))
    assert len(cases) == DIFFERENT["explicit_zero_in_csr"]
    for version, X, ids, _, (theirs,) in cases:
        assert X.nnz == 4
        zero = whole[version].genes().token_ids[ids[1]]
        assert theirs[-2 if version == "V2" else -1] == zero  # the original ranks it last
        assert rows_of(whole[version].encode(X, ids)) == [[t for t in theirs if t != zero]]


def test_an_id_with_a_version_maps(golden, whole, rows_of):
    cases = list(small(golden, "unknown_gene_and_version_suffix"))
    assert len(cases) == DIFFERENT["unknown_gene_and_version_suffix"]
    for version, X, ids, _, (theirs,) in cases:
        token = whole[version].genes().token_ids[ids[5].split(".")[0]]
        (found,) = rows_of(whole[version].encode(X, ids))
        assert found.count(token) == 1
        assert [t for t in found if t != token] == theirs  # the original drops it


def test_v2_takes_symbols_too(golden, pbmc, whole):
    # its mapping dictionary holds symbols; a few of them lead to another id than the file's
    by_id = whole["V2"].encode(pbmc, golden("cells_pbmc10k")["genes_ensembl"])
    by_symbol = whole["V2"].encode(pbmc, golden("cells_pbmc10k")["genes_symbol"])
    assert by_symbol.vocab_counts.sum() > 0.95 * by_id.vocab_counts.sum()
