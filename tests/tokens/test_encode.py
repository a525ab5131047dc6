import itertools
import json

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scdata import load_tokenizer
from scdata._errors import MappingError, NotCountsError, TokenizerError
from scdata.tokens.stored import tokenizer_from_json, tokenizer_to_json

IDS = [f"ENSG{i:011d}" for i in range(8)]
MEDIANS = [0.5, 1.0, 3.0, 1.0, 2.0, 0.25, 7.0, 1.5]
PRESETS = ["counts", "scgpt", "geneformer-v2"]


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assets")
    specials = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3}
    files = {
        "scgpt/default_census_vocab.json": {name: i for i, name in enumerate(IDS[::-1])},
        "geneformer/v2_gc104M/token_dictionary.json": {**specials, **{g: 4 + i for i, g in enumerate(IDS)}},
        "geneformer/v2_gc104M/gene_median_dictionary.json": dict(zip(IDS, MEDIANS, strict=True)),
        "geneformer/v2_gc104M/ensembl_mapping_dict.json": {"TP53": IDS[3], "OLD": IDS[3]},
    }
    for name, table in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(table))
    # the published files are gzipped
    import gzip

    for path in (folder / "geneformer" / "v2_gc104M").glob("*.json"):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    return str(folder)


def load(name, assets):
    return load_tokenizer(name, None if name == "counts" else assets)


def cells_of(block):
    """Tokens (and values) of each cell."""
    values = block.token_ids if block.values is None else block.values
    return [
        list(zip(block.token_ids[a:b].tolist(), values[a:b].tolist(), strict=True))
        for a, b in itertools.pairwise(block.indptr)
    ]


def dense(rows):
    return sp.csr_matrix(np.array(rows))


MATRIX = st.lists(
    st.lists(st.one_of(st.just(0), st.integers(0, 4), st.integers(0, 2**26)), min_size=8, max_size=8),
    min_size=1,
    max_size=5,
)
FIXTURES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@pytest.mark.parametrize("name", PRESETS)
@FIXTURES
@given(rows=MATRIX, data=st.data())
def test_order_of_genes_and_all_zero_genes_change_nothing(assets, name, rows, data):
    tokenizer = load(name, assets)
    X = np.array(rows)
    expected = tokenizer.encode(sp.csr_matrix(X), IDS)
    order = data.draw(st.permutations(range(8)))
    ids = [IDS[i] for i in order]
    moved = tokenizer.encode(sp.csr_matrix(X[:, order]), ids)
    assert cells_of(moved) == cells_of(expected)
    if name != "counts":  # whose vocabulary is the source's own genes
        zeros = np.zeros((len(X), 3), np.int64)
        more = tokenizer.encode(sp.csr_matrix(np.hstack([X[:, order], zeros])), [*ids, "new", IDS[0], "TP53"])
        assert cells_of(more) == cells_of(expected)
        assert more.total_counts.tolist() == expected.total_counts.tolist()
    assert expected.total_counts.tolist() == expected.vocab_counts.tolist() == X.sum(1).tolist()


@FIXTURES
@given(rows=MATRIX)
def test_geneformer_ranks_by_x_over_n_over_median(assets, rows):
    found = load("geneformer-v2", assets).encode(dense(rows), IDS)
    for row, cell in zip(rows, cells_of(found), strict=True):
        value = [x / max(sum(row), 1) * 1e4 / m for x, m in zip(row, MEDIANS, strict=True)]
        order = sorted((i for i in range(8) if row[i]), key=lambda i, v=value: (-v[i], i))
        assert [token for token, _ in cell] == ([2, *(4 + i for i in order), 3] if order else [])


def test_scgpt_gives_ids_ascending_and_no_special_tokens(assets):
    block = load("scgpt", assets).encode(dense([[3, 1, 7, 0, 2, 5, 12, 0]]), IDS)
    assert block.token_ids.tolist() == [1, 2, 3, 5, 6, 7]
    assert block.values.tolist() == [50, 30, 10, 40, 1, 20]
    assert block.values.dtype == np.int32


@pytest.mark.parametrize("name", PRESETS)
def test_ids_with_versions(assets, name):
    X = dense([[3, 0, 1, 5, 0, 2, 9, 0], [0, 4, 0, 0, 0, 0, 0, 1]])
    versions = [f"{gene}.{i}" for i, gene in enumerate(IDS)]
    tokenizer = load(name, assets)
    assert cells_of(tokenizer.encode(X, versions)) == cells_of(tokenizer.encode(X, IDS))


@pytest.mark.parametrize("name", PRESETS)
def test_ids_that_meet_are_summed_and_unknown_ones_dropped(assets, name):
    tokenizer = load(name, assets)
    X = dense([[3, 1, 2, 9], [0, 4, 0, 0], [0, 0, 0, 7]])
    found = tokenizer.encode(X, [IDS[3], IDS[1], IDS[3] + ".2", "unknown"])
    summed = tokenizer.encode(dense([[5, 1, 9], [0, 4, 0], [0, 0, 7]]), [IDS[3], IDS[1], "unknown"])
    assert cells_of(found) == cells_of(summed)
    assert found.total_counts.tolist() == [15, 4, 7]
    assert found.vocab_counts.tolist() == ([15, 4, 7] if name == "counts" else [6, 4, 0])
    assert found.n_tokens[2] == (1 if name == "counts" else 0)


def test_symbols_and_old_ids_where_the_vocabulary_has_aliases(assets):
    found = load("geneformer-v2", assets).encode(dense([[1, 2, 4]]), ["tp53", "Old", IDS[0]])
    assert found.token_ids.tolist() == [2, 4, 7, 3]
    assert found.vocab_counts.tolist() == [7]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint32, np.uint16, np.int32])
@pytest.mark.parametrize("name", PRESETS)
def test_any_dtype_with_whole_numbers(assets, name, dtype):
    X = np.array([[1, 0, 3, 60_000, 0, 2, 2, 0]])
    tokenizer = load(name, assets)
    assert cells_of(tokenizer.encode(sp.csr_matrix(X.astype(dtype)), IDS)) == cells_of(
        tokenizer.encode(sp.csr_matrix(X), IDS)
    )


@pytest.mark.parametrize("count", [70_000, 2**31 - 1])
def test_large_counts_are_kept(assets, count):
    block = load_tokenizer("counts").encode(dense([[count, 1]]), IDS[:2])
    assert block.values.tolist() == [count, 1]
    assert block.total_counts.tolist() == [count + 1]
    assert load("scgpt", assets).encode(dense([[count, 1]]), IDS[:2]).values.tolist() == [1, 50]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    ("value", "why"),
    [(-1.0, "negative"), (0.5, "normalized"), (np.nan, "not finite"), (np.inf, "not finite"), (2.0**31, "over")],
)
def test_what_is_not_counts_is_refused_with_its_row(assets, name, value, why):
    X = sp.csr_matrix(np.array([[1.0, 0], [2, 3], [0, value]]))
    with pytest.raises(NotCountsError, match=rf"X: the value .* in row 2 is .*{why}.*counts layer"):
        load(name, assets).encode(X, IDS[:2])


def test_explicit_zeros_and_stored_duplicates(assets):
    X = sp.csr_matrix((np.array([0, 2, 3, 0, 4]), np.array([1, 0, 0, 2, 2]), np.array([0, 3, 4, 5])), shape=(3, 3))
    block = load("scgpt", assets).encode(X, IDS[:3])
    assert block.n_tokens.tolist() == [1, 0, 1]
    assert block.total_counts.tolist() == [5, 0, 4]
    assert X.nnz == 5  # the caller's matrix is left alone


@pytest.mark.parametrize("name", PRESETS)
def test_no_cells(assets, name):
    block = load(name, assets).encode(sp.csr_matrix((0, 2), dtype=np.int32), IDS[:2])
    assert (block.n_cells, len(block.token_ids), block.indptr.tolist()) == (0, 0, [0])


def test_no_gene_maps(assets):
    with pytest.raises(MappingError, match=r"none of the 2 .*'scgpt', which holds symbols .*mouse Ensembl ids"):
        load("scgpt", assets).encode(dense([[1, 2]]), ["ENSMUSG00000000001", "ENSMUSG00000000003"])


def test_wrong_number_of_ids():
    with pytest.raises(ValueError, match="X has 2 columns but 1 feature_ids"):
        load_tokenizer("counts").encode(dense([[1, 2]]), ["a"])


def test_an_obs_column_as_the_denominator(tmp_path):
    (tmp_path / "own.toml").write_text(
        'description = "d"\nstores = "counts"\n[value]\nkind = "lognorm"\ntotal = "umis"\ntarget_sum = 100\n'
    )
    tokenizer = load_tokenizer(str(tmp_path / "own.toml"))
    X = dense([[3, 1], [0, 0]])
    found = tokenizer.encode(X, ["a", "b"], {"umis": [50, 0]}).values
    assert found.tolist() == np.log1p(np.array([6.0, 2.0])).astype(np.float32).tolist()
    with pytest.raises(TokenizerError, match="obs column 'umis', which is not there: did you mean 'umi'"):
        tokenizer.encode(X, ["a", "b"], {"umi": [50, 1]})
    with pytest.raises(TokenizerError, match="not there"):
        tokenizer.encode(X, ["a", "b"])
    for wrong in ([0, 1], [-4, 1], [np.nan, 1], [2.5, 1], [np.inf, 1]):
        with pytest.raises(TokenizerError, match=r"'umis', which is .* in row 0: expected whole numbers above 0"):
            tokenizer.encode(X, ["a", "b"], {"umis": np.array(wrong)})


@pytest.mark.parametrize("name", PRESETS)
def test_a_tokenizer_goes_through_json(assets, name):
    tokenizer = load(name, assets)
    if name == "counts":
        tokenizer = tokenizer.with_genes(IDS, {IDS[0]: "TSPAN6"})
    again = tokenizer_from_json(json.loads(json.dumps(tokenizer_to_json(tokenizer), sort_keys=True)), "vocab.json")
    X = dense([[3, 0, 1, 5, 0, 2, 9, 0]])
    assert cells_of(again.encode(X, IDS)) == cells_of(tokenizer.encode(X, IDS))
    assert again.genes().hash() == tokenizer.genes().hash()
    assert again.genes().symbols == tokenizer.genes().symbols
    assert (again.name, again.preset) == (tokenizer.name, tokenizer.preset)


def test_a_fitted_tokenizer_says_how_to_fit():
    tokenizer = load_tokenizer("geneformer-v2", "fit")
    assert tokenizer.name == "geneformer-v2+fit"
    with pytest.raises(TokenizerError, match="scdata build SOURCE -o OUT --tokenizer geneformer-v2 --assets fit"):
        tokenizer.encode(dense([[1]]), ["a"])
    with pytest.raises(TokenizerError, match="has no medians"):
        tokenizer.with_genes(["a"], {}).encode(dense([[1]]), ["a"])
    fitted = tokenizer.with_genes(["b", "a"], {}).with_fitted(medians=np.array([4.0, 1.0]))
    assert fitted.encode(dense([[3, 2]]), ["b", "a"]).token_ids.tolist() == [2, 5, 4, 3]


def test_context_length(assets):
    tokenizer = load("geneformer-v2", assets)
    ragged = tokenizer.tokenize(np.array([0, 3]), np.array([0, 1, 2]), np.array([1, 1, 1]), np.array([3]))
    assert tokenizer.finish(ragged, None, 3).token_ids.tolist() == [2, 4, 3]
    for length in (0, 2):
        with pytest.raises(ValueError, match=f"context_length {length} leaves no room beside 2 special tokens"):
            tokenizer.finish(ragged, None, length)
