"""More cases of the original code, with the whole published vocabularies; both lie beside the checkout."""

import json

import numpy as np
import pytest
import scipy.sparse as sp

from scdata.tokens import load_tokenizer
from scdata.tokens.binning import quantile_bins

N_TINY = 9


@pytest.fixture(scope="module")
def golden(shared_data):
    folder = shared_data.parent / "specs" / "golden"
    if not folder.is_dir():
        pytest.skip(f"no golden outputs at {folder}")
    names = ("geneformer", "scgpt", "cells_pbmc10k")
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in names}


@pytest.fixture(scope="module")
def geneformer(shared_data):
    return load_tokenizer("geneformer-v2", str(shared_data / "reference"))


@pytest.fixture(scope="module")
def scgpt(shared_data):
    return load_tokenizer("scgpt", str(shared_data / "reference"))


def rows_of(block):
    return [ids.tolist() for ids in np.split(block.token_ids, block.indptr[1:-1])]


def pbmc(golden):
    cells = golden["cells_pbmc10k"]["cells"]
    indptr = np.cumsum([0, *(len(cell["idx"]) for cell in cells)])
    indices = np.concatenate([cell["idx"] for cell in cells])
    data = np.concatenate([cell["counts"] for cell in cells])
    return sp.csr_matrix((data, indices, indptr), shape=(len(cells), 8060))


def modulo_ties(ids, groups):
    ids = list(ids)
    for start, stop in groups:
        ids[start:stop] = sorted(ids[start:stop])
    return ids


def test_geneformer_v2_on_20_cells(golden, geneformer):
    cells = golden["geneformer"]["real"]["V2"]["cells"]
    block = geneformer.encode(pbmc(golden), golden["cells_pbmc10k"]["genes_ensembl"])
    assert block.total_counts.tolist() == [cell["n_counts"] for cell in cells]
    for found, cell in zip(rows_of(block), cells, strict=True):
        groups = cell["tie_groups"]
        assert modulo_ties(found, groups) == modulo_ties(cell["input_ids"], groups), cell["cell_id"]


def test_geneformer_v2_takes_symbols_too(golden, geneformer):
    # its mapping dictionary holds symbols; a few of them lead to another id than the file's
    by_id = geneformer.encode(pbmc(golden), golden["cells_pbmc10k"]["genes_ensembl"])
    by_symbol = geneformer.encode(pbmc(golden), golden["cells_pbmc10k"]["genes_symbol"])
    assert by_symbol.vocab_counts.sum() > 0.95 * by_id.vocab_counts.sum()


def tiny(golden, name):
    cases = [case for case in golden["geneformer"]["tiny"] if case["name"] == name and case["version"] == "V2"]
    assert cases, name
    counts = cases[0]["counts"]
    if isinstance(counts, dict):
        X = sp.csr_matrix((counts["data"], counts["indices"], counts["indptr"]), shape=counts["shape"])
    else:
        X = sp.csr_matrix(np.array(counts, np.float32))
    outputs = [[row["input_ids"] for row in case["output"]["rows"]] for case in cases]
    return X, cases[0]["ensembl_ids"], outputs


@pytest.mark.parametrize("name", ["basic8", "n_counts_not_row_sum", "lowercase_id", "alias_collapse_V2"])
def test_geneformer_v2_tiny(golden, geneformer, name):
    X, ids, outputs = tiny(golden, name)
    for expected in outputs:  # from h5ad, and from loom
        assert rows_of(geneformer.encode(X, ids)) == expected


def test_geneformer_v2_differs_where_the_preset_says_so(golden, geneformer):
    # an id that stands twice is summed: the original emits its token twice
    X, ids, outputs = tiny(golden, "duplicate_ids_collapse")
    assert outputs[0][0].count(2507) == outputs[0][0].count(105) == 2
    summed = np.zeros((2, len(set(ids))))
    distinct = sorted(set(ids), key=ids.index)
    for column, name in enumerate(ids):
        summed[:, distinct.index(name)] += X.toarray()[:, column]
    found = rows_of(geneformer.encode(X, ids))
    assert found == rows_of(geneformer.encode(sp.csr_matrix(summed), distinct))
    assert [sorted(set(row)) for row in outputs[0]] == [sorted(row) for row in found]
    # an explicit zero is no token: the original ranks it last
    X, ids, outputs = tiny(golden, "explicit_zero_in_csr")
    assert X.nnz == 4
    assert outputs[0] == [[2, 7513, 105, 5010, 2507, 3]]
    assert rows_of(geneformer.encode(X, ids)) == [[2, 7513, 105, 5010, 3]]
    # an id with a version maps: the original drops it
    X, ids, outputs = tiny(golden, "unknown_gene_and_version_suffix")
    (found,) = rows_of(geneformer.encode(X, ids))
    assert 10018 in found
    assert [token for token in found if token != 10018] == outputs[0][0]


def test_geneformer_v2_cell_without_a_gene(golden, geneformer):
    X, ids, outputs = tiny(golden, "empty_cell_dropped")
    block = geneformer.encode(X, ids)
    assert rows_of(block) == [outputs[0][0], []]
    assert block.n_tokens.tolist() == [8, 0]


@pytest.mark.parametrize("length", [None, 5])
def test_geneformer_ties_and_truncation(golden, tmp_path, length):
    """A dictionary made for ties: equal values stand in the order of token ids, the original's by its sort."""
    name = "ties_synthetic_dictionary" if length is None else "truncation_and_keep_counts"
    X, ids, outputs = tiny(golden, name)
    case = next(c for c in golden["geneformer"]["tiny"] if c["name"] == name and c["version"] == "V2")
    (tmp_path / "t.json").write_text(json.dumps(case["token_dictionary"]))
    (tmp_path / "m.json").write_text(json.dumps(case["gene_medians"]))
    preset = (
        'description = "ties"\nstores = "tokens"\ncontext_length = %d\n[vocab]\ngenes = "t.json"\n'
        'special = ["<pad>", "<mask>", "<cls>", "<eos>"]\npad = "<pad>"\n[genes]\ncut = "top"\n'
        'prepend = ["<cls>"]\nappend = ["<eos>"]\n[value]\nkind = "rank"\nmedians = "m.json"\n'
    )
    (tmp_path / "ties.toml").write_text(preset % (length or 4096))
    found = rows_of(load_tokenizer(str(tmp_path / "ties.toml"), str(tmp_path)).encode(X, ids))
    medians, tokens = case["gene_medians"], case["token_dictionary"]
    for row, ours, theirs in zip(X.toarray(), found, outputs[0], strict=True):
        value = {tokens[g]: row[i] / row.sum() * 1e4 / medians[g] for i, g in enumerate(ids) if g in tokens}
        assert (ours[0], ours[-1], len(ours)) == (2, 3, len(theirs))
        assert [value[t] for t in ours[1:-1]] == [value[t] for t in theirs[1:-1]]
        assert ours[1:-1] == sorted(ours[1:-1], key=lambda token: (-value[token], token))


def test_scgpt_on_20_cells(golden, scgpt):
    cells = golden["scgpt"]["real_binning"]
    X = pbmc(golden)
    block = scgpt.encode(X, golden["cells_pbmc10k"]["genes_symbol"])
    of_column = np.array(golden["scgpt"]["gene_ids_for_cells"]["ids"])
    assert dict(scgpt.vocab.specials) == golden["scgpt"]["special_ids"]
    assert len(scgpt.vocab.feature_ids) == 60694
    for at, cell in enumerate(cells):
        part = slice(block.indptr[at], block.indptr[at + 1])
        row = X[[at]]
        known = of_column[row.indices] >= 0
        ids, counts = of_column[row.indices][known], row.data[known]
        order = np.argsort(ids)
        assert block.token_ids[part].tolist() == ids[order].tolist()
        upper = [cell["value_to_digit_interval"][str(count)][1] for count in counts[order]]
        assert block.values[part].tolist() == upper, cell["cell_id"]
        assert len(upper) == cell["n_in_vocab"]


def test_scgpt_tiny(golden):
    cases = [case for case in golden["scgpt"]["tiny"] if case["numpy_legacy_seed"] == 0]
    assert len(cases) == N_TINY
    for case in cases:
        values = np.array(case["values"])
        # values that are no counts are scaled to whole numbers, which changes no bin
        counts = np.round(values * 10**7).astype(np.int64) if case["name"] == "log1p_like" else values
        nonzero = counts[counts > 0].astype(np.int32)
        low, high = quantile_bins(np.array([0, len(nonzero)]), nonzero, case["n_bins"])
        assert high.tolist() == case.get("side_one", []), case["name"]
        interval = {float(v): d for v, d in case.get("value_to_digit_interval", {}).items()}
        expected = [interval[min(interval, key=lambda k, v=v: abs(k - v))] for v in values[values > 0]]
        assert [list(pair) for pair in zip(low.tolist(), high.tolist(), strict=True)] == expected
