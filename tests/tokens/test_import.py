"""Files that the user has: originals, and JSON made of them."""

import gzip
import json
import pickle

import pytest

from scdata import load_tokenizer
from scdata._errors import AssetsError, TokenizerError
from scdata.tokens.preset import load_preset
from scdata.tokens.published import asset_files, importing
from scdata.tokens.published.assets import said_of_assets
from scdata.tokens.published.cache import cache_folder
from scdata.tokens.published.importing import import_assets

ASSAYS = {"unknown": 0, "10x 3' v3": 1}
V1 = "geneformer/v1_gc30M"
DICTIONARIES = {
    "token_dictionary": {"<pad>": 0, "<mask>": 1, "A": 2, "B": 3},
    "ensembl_mapping_dict": {"OLD": "A", "B": "B"},
    "gene_median_dictionary": {"A": 1.5, "B": 2.0},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCDATA_CACHE", str(tmp_path / "cache"))
    return cache_folder()


def text(path, genes):
    path.write_text("# ids\n" + "\r\n".join(genes) + "\n\n")
    return path


def as_json(path, genes):
    path.write_text(json.dumps(genes))
    return path


# -- originals, and JSON made of them -----------------------------------------------


def originals(folder):
    """Pickles under the names of the published ones, of other content."""
    for name, table in DICTIONARIES.items():
        (folder / f"{name}_gc30M.pkl").write_bytes(pickle.dumps(table, protocol=4))
    return sorted(folder.glob("*.pkl"))


def test_pickles_are_known_by_name_and_kept_as_json(tmp_path, cache):
    made = import_assets("geneformer-v1", originals(tmp_path), force=True)
    assert {one.name for one in made} == {f"{V1}/{name}.json.gz" for name in DICTIONARIES}
    assert [one.pinned for one in made] == [False] * 3
    for name, table in DICTIONARIES.items():
        assert json.loads(gzip.decompress((cache / V1 / f"{name}.json.gz").read_bytes())) == table
    tokenizer = load_tokenizer("geneformer-v1")
    assert tokenizer.vocab.token_ids == {"A": 2, "B": 3}
    assert tokenizer.fitted.medians.tolist() == [1.5, 2.0]
    assert tokenizer.aliases == {"OLD": "A", "B": "B"}


@pytest.mark.parametrize("end", [".json", ".json.gz", "_gc30M.json", ".pickle"])
def test_json_made_of_them_will_do(tmp_path, cache, end):
    for name, table in DICTIONARIES.items():
        data = pickle.dumps(table, protocol=5) if end == ".pickle" else json.dumps(table).encode()
        (tmp_path / f"{name}{end}").write_bytes(gzip.compress(data) if end.endswith(".gz") else data)
    import_assets("geneformer-v1", [tmp_path / f"{name}{end}" for name in DICTIONARIES], force=True)
    assert load_tokenizer("geneformer-v1").vocab.token_ids == {"A": 2, "B": 3}
    if end == ".json.gz":  # of the form that is kept: the file itself
        name = "token_dictionary.json.gz"
        assert (cache / V1 / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_file_is_known_by_its_sha256_whatever_its_name(tmp_path, shared_data):
    source = shared_data / "reference" / "scfoundation" / "OS_scRNA_gene_index.19264.tsv"
    (tmp_path / "genes.bin").write_bytes(source.read_bytes())
    (one,) = import_assets("scfoundation", [tmp_path / "genes.bin"])
    assert (one.name, one.pinned, one.n_entries) == ("scfoundation/OS_scRNA_gene_index.19264.tsv", True, 19264)
    vocab = load_tokenizer("scfoundation").vocab
    assert (vocab.token_ids["A1BG"], vocab.token_ids["ZZZ3"]) == (0, 19263)
    assert dict(vocab.specials) == {"<T>": 19264, "<S>": 19265, "<pad>": 19266}
    assert "not the file" not in said_of_assets("scfoundation", load_preset("scfoundation"), None)


def test_files_of_the_reference_folder(shared_data, cache):
    reference = shared_data / "reference"
    import_assets("scgpt", [reference / "scgpt" / "default_census_vocab.json"])
    # cell-jepa has the same vocabulary
    for name in ("scgpt", "cell-jepa"):
        assert len(load_tokenizer(name).vocab.feature_ids) == 60_694
        assert load_tokenizer(name).assets == load_tokenizer(name, str(reference)).assets
    import_assets("geneformer-v2", sorted((reference / "geneformer" / "v2_gc104M").glob("[!n]*t*ary.json.gz"))[:2])
    with pytest.raises(AssetsError, match="lacks geneformer/v2_gc104M/ensembl_mapping_dict"):
        load_tokenizer("geneformer-v2")


def test_a_file_of_another_preset_is_not_taken(shared_data):
    path = shared_data / "reference" / "scgpt" / "default_census_vocab.json"
    with pytest.raises(
        AssetsError, match=r"this is scgpt/default_census_vocab\.json of the preset '[a-z-]+', not of 'geneformer-v1'"
    ):
        import_assets("geneformer-v1", [path])


def test_another_file_than_the_published_one_needs_force_and_is_said(tmp_path, cache):
    path, notes = as_json(tmp_path / "default_census_vocab.json", {"A": 0}), []
    with pytest.raises(
        AssetsError, match=r"vocab\.json is not scgpt/default_census_vocab\.json as published \(content"
    ):
        import_assets("scgpt", [path])
    assert not cache.exists()
    (one,) = import_assets("scgpt", [path], force=True, note=notes.append)
    assert one.pinned is False
    assert len(notes) == 1
    assert notes[0].startswith(f"warning: {path} is not scgpt/default_census_vocab.json as published")
    said = said_of_assets("scgpt", load_preset("scgpt"), None)
    assert said.endswith("; not as published: scgpt/default_census_vocab.json")


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("counts", ["x.json"], "preset 'counts' needs no published files"),
        (
            "geneformer-v1",
            ["x.json"],
            r"x\.json: its name is none of those that 'geneformer-v1' needs: token_dictionary_gc30M\.pkl",
        ),
        (
            "geneformer-v1",
            ["token_dictonary.pkl"],
            r"token_dictionary_gc30M\.pkl \(or token_dictionary\.json\.gz\), ens",
        ),
        ("geneformer-v1", ["token_dictionary.json", "token_dictionary.pkl"], "both are geneformer/v1"),
    ],
)
def test_files_that_have_no_place(tmp_path, cache, name, files, message):
    for file in files:
        (tmp_path / file).write_text(f'{{"{file}": 0}}')
    with pytest.raises(AssetsError, match=message):
        import_assets(name, [tmp_path / file for file in files])
    assert not cache.exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("token_dictionary.json", b"[1]", "expected a JSON object, found list"),
        ("token_dictionary.json", b"{", "not a JSON file"),
        ("token_dictionary.json", b"", "not a JSON file"),
        ("token_dictionary.json", b"{}", "an empty vocabulary"),
        ("token_dictionary.json", b'{"A": "1"}', r"expected a token id for each name, found '1' \(str\) for 'A'"),
        ("token_dictionary.json", b'{"A": 1, "B": 1}', "'A' and 'B' share the id 1"),
        ("token_dictionary.pkl", b"\x80\x04cposix\nsystem\n.", r"it asks for 'posix\.system'"),
        ("token_dictionary.pkl", b"\x80\x04", "not a whole pickle"),
        ("token_dictionary.pkl", b"(dp0\n.", "not a JSON file"),
        ("token_dictionary.pkl", b"\x89HDF\r\n\x1a\nxx", "HDF5, expected geneformer/v1_gc30M/token_dictionary"),
        ("ensembl_mapping_dict.json", b'{"A": 1}', r"expected the id of a gene for 'A', found 1 \(int\)"),
        ("gene_median_dictionary.json", b'{"A": "x"}', "no medians there, but 'x'"),
        ("gene_median_dictionary.json", b"{}", "no medians there"),
        ("gene_median_dictionary.json", b'{"\\ud800": 1}', "a name that is no text"),
    ],
)
def test_files_that_are_not_what_their_name_says(tmp_path, cache, file, content, message):
    (tmp_path / file).write_bytes(content)
    (tmp_path / "ensembl_mapping_dict_gc30M.pkl").write_bytes(pickle.dumps({"A": "A"}, protocol=4))
    # one that is fine and comes first is not kept either
    paths = [tmp_path / "ensembl_mapping_dict_gc30M.pkl", tmp_path / file]
    with pytest.raises(TokenizerError, match=message):
        import_assets("geneformer-v1", paths[file.startswith("ens") :])
    assert not cache.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("gene_name\tindex\nA\t0\nB\t2\n", "the index is not 0 to 1, each once"),
        ("gene_name\tindex\nA\t0\nB\t0\n", "the index is not 0 to 1, each once"),
        ("gene_name\tindex\nA\t0\nA\t1\n", "'A' stands there twice"),
        ("gene_name\tindex\nA\t-1\n", "line 2: expected 2 columns, a whole number as index"),
        ("gene_name\tindex\nA\t0.0\n", "line 2"),
        ("gene_name\tindex\nA\t0\nB\n", "line 3: expected 2 columns"),
        ("gene_name\tindex\nA\t0\n\nB\t1\n", "line 3: expected 2 columns"),
        (f"gene_name\tindex\nA\t{'9' * 5000}\n", "line 2"),
        ("gene\tindex\nA\t0\n", "expected the columns gene_name and index, found 'gene"),
        ("", "expected the columns gene_name and index"),
        ("gene_name\tindex\n", "an empty vocabulary"),
        (b"\xff\xfe", "not a table of tabs"),
    ],
)
def test_tables_that_are_none(tmp_path, cache, content, message):
    path = tmp_path / "OS_scRNA_gene_index.19264.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TokenizerError, match=message):
        import_assets("scfoundation", [path])
    assert not cache.exists()


def test_tables_may_have_other_columns_and_line_ends(tmp_path):
    path = tmp_path / "OS_scRNA_gene_index.19264.tsv"
    path.write_bytes(b"index\tother\tgene_name\r\n1\tx\tB\r\n0\ty\tA\r\n")
    import_assets("scfoundation", [path], force=True)
    assert load_tokenizer("scfoundation").vocab.token_ids == {"A": 0, "B": 1}


def test_a_file_over_the_limit_is_not_read(tmp_path, monkeypatch):
    path = as_json(tmp_path / "token_dictionary.json", {"A": 0})
    for module, message in ((importing, "over 0 MB, so it is no vocabulary"), (asset_files, "over 0 MB unpacked")):
        with monkeypatch.context() as patch:
            patch.setattr(module, "LIMIT", 3)
            with pytest.raises(TokenizerError, match=message):
                import_assets("geneformer-v1", [path])


def test_files_that_do_not_fit_together_are_found_when_they_are_loaded(tmp_path):
    paths = originals(tmp_path)
    (tmp_path / "gene_median_dictionary_gc30M.pkl").write_bytes(pickle.dumps({"A": 1.5}, protocol=4))
    import_assets("geneformer-v1", paths, force=True)
    with pytest.raises(TokenizerError, match=r"gene_median_dictionary\.json\.gz: no median for 1 genes, such as 'B'"):
        load_tokenizer("geneformer-v1")


# -- presets of one's own ---------------------------------------------------------


def test_a_vocabulary_of_one_s_own(tmp_path, cache):
    path = tmp_path / "mine.toml"
    path.write_text(
        'description = "d"\nstores = "counts"\n[vocab]\ngenes = "mine/vocab.json"\nspecial = ["<pad>"]\n'
        '[value]\nkind = "counts"\n'
    )
    import_assets(str(path), [text(tmp_path / "anything.txt", ["B", "A"])])
    tokenizer = load_tokenizer(str(path))
    assert dict(tokenizer.vocab.specials) == {"<pad>": 0}
    assert tokenizer.vocab.token_ids == {"B": 1, "A": 2}
    assert (cache / "mine" / "vocab.json").is_file()
    import_assets(str(path), [as_json(tmp_path / "vocab.json", {"A": 5})], force=True)
    assert dict(load_tokenizer(str(path)).vocab.specials) == {"<pad>": 6}


def test_ids_of_an_obs_column_without_a_published_vocabulary(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'description = "d"\nstores = "counts"\n[value]\nkind = "counts"\n[aux]\ncolumn = "assay"\nids = "mine/assays.json"\n'
    )
    with pytest.raises(
        AssetsError, match=r"preset 'mine\.toml' needs files, which .* lacks mine/assays\.json"
    ) as raised:
        load_tokenizer(str(path))
    assert "fit" not in str(raised.value)
    import_assets(str(path), [as_json(tmp_path / "x.json", ASSAYS)])
    tokenizer = load_tokenizer(str(path))
    assert (tokenizer.name, tokenizer.vocab, tokenizer.aux) == ("mine.toml", None, ASSAYS)
