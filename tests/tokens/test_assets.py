import gzip
import hashlib
import json

import numpy as np
import pytest

from scdata import load_tokenizer
from scdata._errors import AssetsError, TokenizerError
from scdata.tokens import Tokenizer, Vocab

FOLDER = "geneformer/v2_gc104M"
SPECIALS = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3}
FILES = {
    "token_dictionary.json.gz": {**SPECIALS, "A": 4, "B": 5},
    "gene_median_dictionary.json.gz": {"A": 1.0, "B": 2, "unused": "x"},
    "ensembl_mapping_dict.json.gz": {"OLD": "A"},
}
VOCAB = "scgpt/default_census_vocab.json"


def pack(table):
    return gzip.compress(json.dumps(table).encode())


@pytest.fixture
def assets(tmp_path):
    (tmp_path / FOLDER).mkdir(parents=True)
    for name, table in FILES.items():
        (tmp_path / FOLDER / name).write_bytes(pack(table))
    return tmp_path


def write(assets, name, data):
    (assets / name).parent.mkdir(parents=True, exist_ok=True)
    (assets / name).write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return str(assets)


def test_the_hash_of_each_file_is_kept(assets):
    tokenizer = load_tokenizer("geneformer-v2", str(assets))
    expected = {f"{FOLDER}/{name}": hashlib.sha256((assets / FOLDER / name).read_bytes()).hexdigest() for name in FILES}
    assert dict(tokenizer.assets) == expected
    assert tokenizer.medians.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", ["scgpt", "geneformer-v2"])
def test_no_folder_given_says_what_to_do(name):
    with pytest.raises(AssetsError) as raised:
        load_tokenizer(name)
    assert isinstance(raised.value, FileNotFoundError)
    message = str(raised.value)
    assert f"preset '{name}' has a published vocabulary, which is not part of scdata" in message
    assert "--assets DIR, assets=DIR" in message
    assert f"scdata tokenizers show {name}" in message
    assert "assets='fit'" in message


def test_a_folder_or_file_that_is_not_there(assets):
    with pytest.raises(AssetsError, match=r"assets folder .*none does not exist; give a folder"):
        load_tokenizer("scgpt", str(assets / "none"))
    with pytest.raises(AssetsError, match=rf"{VOCAB} is not in the assets folder .*; give a folder"):
        load_tokenizer("scgpt", str(assets))
    (assets / FOLDER / "gene_median_dictionary.json.gz").unlink()
    with pytest.raises(AssetsError, match=r"gene_median_dictionary.json.gz is not in the assets folder"):
        load_tokenizer("geneformer-v2", str(assets))


def test_a_preset_without_a_vocabulary_takes_no_assets_folder(tmp_path):
    (tmp_path / "own.toml").write_text('description = "d"\nstores = "tokens"\n[value]\nkind = "rank"\n')
    with pytest.raises(AssetsError, match=r"preset 'own\.toml' has no published vocabulary: leave assets out"):
        load_tokenizer(str(tmp_path / "own.toml"), str(tmp_path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not a JSON file"),
        (b"\xff\xfe\xfd", "not a JSON file"),
        (b"\x80\x04\x95cposix\nsystem\n.", "not a JSON file"),
        (b"[" * 200_000, "not a JSON file"),
        (b"[1, 2]", "expected a JSON object, found list"),
        (b"3", "expected a JSON object, found int"),
        ({"A": "1"}, "expected a token id for each name"),
        ({"A": True}, "expected a token id for each name"),
        ({"A": 1.5}, "expected a token id for each name"),
        ({"A": -1}, "ids from 0 to 2147483647"),
        ({"A": 2**31}, "ids from 0 to 2147483647"),
        ({"A": 10**30}, "ids from 0 to 2147483647"),
        ({}, "at least one gene"),
        ({"<pad>": 0}, "at least one gene"),
        ({"A": 1, "B": 1}, "two names of the vocabulary share one id"),
    ],
)
def test_a_vocabulary_that_is_none(assets, data, message):
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer("scgpt", write(assets, VOCAB, data))


def test_gzip_that_is_cut_or_damaged(assets):
    whole = pack({**SPECIALS, **{f"gene-{i}": i + 4 for i in range(500)}})
    damaged = bytearray(whole)
    damaged[40:60] = bytes(20)
    for data in (whole[:-40], b"not gzip", b"", bytes(damaged)):
        folder = write(assets, f"{FOLDER}/token_dictionary.json.gz", data)
        with pytest.raises(TokenizerError, match=r"token_dictionary.json.gz: not a JSON file"):
            load_tokenizer("geneformer-v2", folder)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"A": 1.0}, r"gene_median_dictionary.json.gz: no median for 1 genes, such as 'B'"),
        ({"A": 1.0, "B": 0}, "the median of B is 0, expected a number above 0"),
        ({"A": -2.0, "B": 1}, r"the median of A is -2\.0"),
        ({"A": 1.0, "B": "2"}, "the median of B is '2'"),
        ({"A": 1.0, "B": None}, "the median of B is None"),
        ({"A": float("nan"), "B": 1}, "the median of A is nan"),
        ({"A": float("inf"), "B": 1}, "the median of A is inf"),
    ],
)
def test_medians_that_are_missing_or_wrong(assets, table, message):
    folder = write(assets, f"{FOLDER}/gene_median_dictionary.json.gz", pack(table))
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer("geneformer-v2", folder)


def test_aliases_that_are_no_names(assets):
    folder = write(assets, f"{FOLDER}/ensembl_mapping_dict.json.gz", pack({"OLD": ["A"]}))
    with pytest.raises(TokenizerError, match=r"ensembl_mapping_dict.json.gz: expected the id of a gene"):
        load_tokenizer("geneformer-v2", folder)


def test_special_tokens_that_the_file_lacks_follow_its_genes():
    vocab = Vocab.of_genes({"B": 7, "A": 3, "<mask>": 1}, ["<pad>", "<mask>", "<cls>"])
    assert dict(vocab.specials) == {"<pad>": 8, "<mask>": 1, "<cls>": 9}
    assert vocab.feature_ids == ("A", "B")
    assert vocab.gene_tokens.tolist() == [3, 7]
    assert (vocab.n_tokens, vocab.token_dtype) == (10, np.uint16)
    assert vocab.token_ids == {"A": 3, "B": 7}


def test_a_source_s_own_genes_follow_the_special_tokens_in_order():
    vocab = Vocab.of_source(["b", "a", "b", "é"], {"a": "Alpha"}, ["<pad>", "<cls>"])
    assert vocab.feature_ids == ("a", "b", "é")
    assert vocab.gene_tokens.tolist() == [2, 3, 4]
    assert dict(vocab.specials) == {"<pad>": 0, "<cls>": 1}
    assert vocab.symbols == ("Alpha", "b", "é")


@pytest.mark.parametrize(("n", "dtype"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_ids_take_two_bytes_as_long_as_they_fit(n, dtype):
    assert Vocab.of_genes({str(i): i for i in range(n)}, []).token_dtype is dtype


def test_stored_vocabularies_are_checked():
    table = load_tokenizer("counts").with_genes(["a", "b"], {}).to_json()
    for change in (
        {"genes": {}},
        {"genes": {"a": 0, "b": 0}},
        {"genes": {"a": 10**30}},
        {"genes": 3},
        {"preset": {}},
        {"medians": [1.0]},
        {"symbols": None},
        {"specials": "x"},
    ):
        with pytest.raises(TokenizerError, match=r"vocab\.json|vocabulary"):
            Tokenizer.from_json({**table, **change}, "vocab.json")
    for key in ("name", "genes", "preset", "specials", "symbols", "assets"):
        with pytest.raises(TokenizerError, match=r"vocab\.json"):
            Tokenizer.from_json({k: v for k, v in table.items() if k != key}, "vocab.json")
