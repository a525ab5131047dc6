import gzip
import hashlib
import json

import numpy as np
import pytest

from scdata import load_tokenizer
from scdata._errors import AssetsError, TokenizerError
from scdata.tokens import Vocab
from scdata.tokens.preset import load_preset, preset_names
from scdata.tokens.published.asset_files import content_sha256, read_table
from scdata.tokens.published.assets import said_of_assets, states_of
from scdata.tokens.stored import tokenizer_from_json, tokenizer_to_json

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


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of this test's own, empty."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SCDATA_CACHE", str(folder))
    return folder / "tokenizers"


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
    assert tokenizer.fitted.medians.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", ["scgpt", "cell-jepa", "geneformer-v1", "geneformer-v2", "scfoundation"])
def test_neither_a_folder_nor_a_cache_says_what_to_do(name):
    with pytest.raises(AssetsError) as raised:
        load_tokenizer(name)
    assert isinstance(raised.value, FileNotFoundError)
    message = str(raised.value)
    assert f"preset '{name}' has a published vocabulary, which is not part of scdata, and the cache lacks" in message
    assert f"run `scdata tokenizers fetch {name}`" in message
    assert "--assets DIR, assets=DIR" in message
    assert f"scdata tokenizers show {name}" in message
    assert "assets='fit'" in message


def test_what_is_not_public_is_to_be_imported():
    with pytest.raises(
        AssetsError, match=r"run `scdata tokenizers fetch transcriptformer` and `scdata tokenizers import transcr"
    ):
        load_tokenizer("transcriptformer")


def test_the_folder_comes_before_the_cache(assets, cache):
    name = f"{FOLDER}/token_dictionary.json.gz"
    for file in FILES:
        write(cache, f"{FOLDER}/{file}", (assets / FOLDER / file).read_bytes())
    write(assets, name, pack({**SPECIALS, "A": 7, "B": 8}))
    assert load_tokenizer("geneformer-v2", str(assets)).vocab.token_ids == {"A": 7, "B": 8}
    assert load_tokenizer("geneformer-v2").vocab.token_ids == {"A": 4, "B": 5}
    write(cache, name, pack({**SPECIALS, "A": 7, "B": 8}))
    # what a file of the cache says is bound to the manifest by its hash
    assert load_tokenizer("geneformer-v2").assets == load_tokenizer("geneformer-v2", str(assets)).assets


def test_which_files_were_used_is_said(assets, cache):
    preset = load_preset("geneformer-v2")
    order = ("token_dictionary.json.gz", "ensembl_mapping_dict.json.gz", "gene_median_dictionary.json.gz")
    assert (
        said_of_assets("geneformer-v2", preset, str(assets))
        == f"published files of geneformer-v2: from the folder {assets}; not as published: "
        f"{', '.join(f'{FOLDER}/{file}' for file in order)}"
    )
    assert said_of_assets("geneformer-v2", preset, "fit").startswith(
        "the source's own genes: token ids are not the published"
    )
    assert said_of_assets("counts", load_preset("counts"), None) == ""
    assert said_of_assets("counts", load_preset("counts"), "fit") == ""
    for file in FILES:
        write(cache, f"{FOLDER}/{file}", (assets / FOLDER / file).read_bytes())
    said = said_of_assets("geneformer-v2", preset, None)
    assert said.startswith(f"published files of geneformer-v2: from the cache {cache}; not as published: ")
    assert all(file in said for file in FILES)


def test_where_the_cache_is(monkeypatch, tmp_path):
    from scdata.tokens.published.cache import cache_folder

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("SCDATA_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own" / "tokenizers"
    monkeypatch.delenv("SCDATA_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "scdata" / "tokenizers"
    for unset in (monkeypatch.delenv, lambda name: monkeypatch.setenv(name, "")):
        unset("XDG_CACHE_HOME")
        assert cache_folder() == tmp_path / ".cache" / "scdata" / "tokenizers"


def test_every_file_of_a_preset_has_its_entry():
    published = {}
    for name in preset_names():
        preset = load_preset(name)
        states = states_of(preset)
        assert [asset.name for asset in preset.assets] == [state.asset.name for state in states], name
        for asset in preset.assets:
            published.setdefault(asset.name, asset)
            assert published[asset.name] == asset, "two presets say different things of one file"
    without = {name for name, asset in published.items() if asset.url is None}
    assert without == {"transcriptformer/vocab.json.gz"}
    for name, asset in published.items():
        if asset.url is not None:
            assert asset.bytes, name
            revision = asset.url.split("/")[6] if "huggingface" in asset.url else asset.url.split("/")[5]
            assert len(revision) == 40, f"{name}: not pinned to a revision"


def test_the_pins_are_those_of_the_reference_files(shared_data):
    reference = shared_data / "reference"
    seen = 0
    for name in preset_names():
        for asset in load_preset(name).assets:
            if asset.format != "pickle" and asset.url is not None:
                data = (reference / asset.name).read_bytes()
                assert (hashlib.sha256(data).hexdigest(), len(data)) == (asset.sha256, asset.bytes), asset.name
                assert content_sha256(read_table(data, asset.name, "x")) == asset.content_sha256, asset.name
                seen += 1
    assert seen == 4


def test_a_folder_or_file_that_is_not_there(assets):
    with pytest.raises(
        AssetsError, match=r"assets folder .*none does not exist; run `scdata tokenizers fetch scgpt`, or give a"
    ):
        load_tokenizer("scgpt", str(assets / "none"))
    with pytest.raises(
        AssetsError, match=rf"{VOCAB} is not in the assets folder .*; run `scdata tokenizers fetch scgpt`"
    ):
        load_tokenizer("scgpt", str(assets))
    (assets / FOLDER / "gene_median_dictionary.json.gz").unlink()
    with pytest.raises(AssetsError, match=r"gene_median_dictionary.json.gz is not in the assets folder"):
        load_tokenizer("geneformer-v2", str(assets))


@pytest.mark.parametrize("folder", ["Fit", "FIT"])
def test_a_folder_that_is_meant_as_fit(folder):
    with pytest.raises(
        AssetsError, match=rf"assets folder {folder} does not exist; did you mean --assets fit\? Otherwise run"
    ):
        load_tokenizer("scgpt", folder)


@pytest.mark.parametrize("folder", ["", "none"])
def test_a_preset_without_files_does_not_look_at_a_folder(tmp_path, folder):
    (tmp_path / "own.toml").write_text('description = "d"\nstores = "tokens"\n[value]\nkind = "rank"\n')
    for name in (str(tmp_path / "own.toml"), "counts"):
        tokenizer = load_tokenizer(name, str(tmp_path / folder))
        assert (tokenizer.name, dict(tokenizer.assets)) == (load_tokenizer(name).name, {})
        assert said_of_assets(name, tokenizer.preset, str(tmp_path / folder)) == ""


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
        ({"A": None}, r"expected a token id for each name, found None \(NoneType\) for 'A'"),
        ({"A": [1]}, "expected a token id for each name"),
        ({"A": -1}, r"the id of 'A' is -1, expected 0 to 2147483647 \(int32\)"),
        ({"A": 2**31}, "the id of 'A' is 2147483648, expected 0 to 2147483647"),
        ({"A": 10**30}, "the id of 'A' is 1000000000000000000000000000000, expected 0 to 2147483647"),
        ({}, "an empty vocabulary"),
        ({"<pad>": 0}, "at least one gene"),
        ({"A": 1, "B": 1}, "'A' and 'B' share the id 1"),
        (b'{"A": 1, "B": 2, "A": 3}', "'A' stands there twice"),
        (b'{"\\ud800": 1}', "a name that is no text"),
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
        ({"A": True, "B": 1}, "the median of A is True"),
        ({"A": "x"}, r"no medians there, but 'x' \(str\)"),
        ({}, "no medians there"),
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


def test_a_vocabulary_of_a_form_that_is_not_read(tmp_path):
    (tmp_path / "vocab.txt").write_text("A\n")
    (tmp_path / "own.toml").write_text(
        'description = "d"\nstores = "counts"\n[vocab]\ngenes = "vocab.txt"\n[value]\nkind = "counts"\n'
    )
    with pytest.raises(TokenizerError, match=r"vocab\.txt: a published file is \.json, \.json\.gz or \.tsv"):
        load_tokenizer(str(tmp_path / "own.toml"), str(tmp_path))


@pytest.mark.parametrize("name", ["../vocab.json", "/vocab.json", "a/../../vocab.json"])
def test_no_file_lies_outside_the_cache(tmp_path, name):
    (tmp_path / "own.toml").write_text(
        f'description = "d"\nstores = "counts"\n[vocab]\ngenes = "{name}"\n[value]\nkind = "counts"\n'
    )
    with pytest.raises(ValueError, match="a path inside the assets folder"):
        load_tokenizer(str(tmp_path / "own.toml"))


def test_a_table_of_tabs(shared_data):
    vocab = load_tokenizer("scfoundation", str(shared_data / "reference")).vocab
    assert len(vocab.feature_ids) == 19_264
    assert vocab.feature_ids[:2] == ("A1BG", "A1CF")
    assert vocab.gene_tokens.tolist() == list(range(19_264))


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
    table = tokenizer_to_json(load_tokenizer("counts").with_genes(["a", "b"], {}))
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
            tokenizer_from_json({**table, **change}, "vocab.json")
    for key in ("name", "genes", "preset", "specials", "symbols", "assets"):
        with pytest.raises(TokenizerError, match=r"vocab\.json"):
            tokenizer_from_json({k: v for k, v in table.items() if k != key}, "vocab.json")
