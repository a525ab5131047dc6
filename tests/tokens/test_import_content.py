"""Files that the user has, told from others by their content, and never put in the place of others unasked."""

import gzip
import hashlib
import json
import pickle

import pytest

from scdata import load_tokenizer
from scdata._errors import AssetsError
from scdata.tokens.preset import load_preset
from scdata.tokens.published.asset_files import content_sha256, read_table
from scdata.tokens.published.assets import said_of_assets, states_of
from scdata.tokens.published.cache import cache_folder
from scdata.tokens.published.importing import import_assets

CENSUS, TOKENS = "scgpt/default_census_vocab.json", "geneformer/v2_gc104M/token_dictionary.json.gz"
GENES = "scfoundation/OS_scRNA_gene_index.19264.tsv"
OWN = """description = "d"
stores = "counts"
[vocab]
genes = "mine/vocab.json"
[value]
kind = "counts"
[[assets]]
name = "mine/vocab.json"
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCDATA_CACHE", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture
def reference(shared_data):
    return shared_data / "reference"


@pytest.fixture
def own(tmp_path):
    """A preset of one file whose content it names."""
    path = tmp_path / "own.toml"
    path.write_text(OWN + f'content_sha256 = "{content_sha256({"A": 0, "B": 1})}"\n')
    return str(path)


def write(path, table):
    path.write_text(json.dumps(table))
    return path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- the right content in any form ----------------------------------------------------


@pytest.mark.parametrize("form", ["json", "json.gz", "pkl"])
def test_a_right_copy_in_any_form_is_silent(reference, tmp_path, form):
    table = read_table((reference / TOKENS).read_bytes(), TOKENS, TOKENS)
    path, notes = tmp_path / f"token_dictionary.{form}", []
    data = pickle.dumps(table, protocol=5) if form == "pkl" else json.dumps(table, indent=1, sort_keys=True).encode()
    path.write_bytes(gzip.compress(data) if form == "json.gz" else data)
    (one,) = import_assets("geneformer-v2", [path], note=notes.append)
    assert (one.pinned, one.there, notes) == (True, False, [])
    assert [state.pinned for state in states_of(load_preset("geneformer-v2"))] == [True, None, None]


def test_a_right_table_of_tabs_with_other_columns_is_silent(reference, tmp_path):
    rows = [line.split("\t") for line in (reference / GENES).read_text().rstrip("\n").split("\n")]
    path = tmp_path / "OS_scRNA_gene_index.19264.tsv"
    path.write_text("\r\n".join("\t".join(row[::-1]) for row in rows))
    (one,) = import_assets("scfoundation", [path])
    assert one.pinned is True
    assert "not as published" not in said_of_assets("scfoundation", load_preset("scfoundation"), None)


def test_a_folder_of_right_copies_is_silent_and_another_content_is_said(reference, tmp_path):
    (tmp_path / "scgpt").mkdir()
    write(tmp_path / CENSUS, json.loads((reference / CENSUS).read_bytes()))
    preset = load_preset("scgpt")
    assert said_of_assets("scgpt", preset, str(tmp_path)) == f"published files of scgpt: from the folder {tmp_path}"
    write(tmp_path / CENSUS, {"A": 0})
    assert said_of_assets("scgpt", preset, str(tmp_path)).endswith(f"; not as published: {CENSUS}")
    assert load_tokenizer("scgpt", str(tmp_path)).vocab.token_ids == {"A": 0}  # the user's word


@pytest.mark.parametrize("data", [b"{", b"[1]", b'{"A": 1, "A": 2}', b"\xff"])
def test_a_file_by_hand_that_does_not_read_is_not_the_published_one(cache, data):
    (cache / "scgpt").mkdir(parents=True)
    (cache / CENSUS).write_bytes(data)
    assert [state.pinned for state in states_of(load_preset("scgpt"))] == [False]


# -- refusals -----------------------------------------------------------------------


def test_the_other_vocabulary_does_not_replace_the_published_one(reference, cache):
    import_assets("scgpt", [reference / CENSUS])
    before, other = contents(cache), reference / "scgpt" / "default_gene_vocab.json"
    with pytest.raises(
        AssetsError, match=r"default_gene_vocab\.json is not scgpt/default_census_vocab\.json as published"
    ) as e:
        import_assets("scgpt", [other])
    assert (
        "the cache holds scgpt/default_census_vocab.json, 60,694 entries from default_census_vocab.json; another "
        in str(e.value)
    )
    assert "comes from default_gene_vocab.json, 48,292 entries. Nothing was imported; --force" in str(e.value)
    assert contents(cache) == before
    import_assets("scgpt", [other], force=True)
    with pytest.raises(
        AssetsError, match=r"48,292 entries from default_gene_vocab\.json; the published one comes from "
    ):
        import_assets("scgpt", [reference / CENSUS])
    import_assets("scgpt", [reference / CENSUS], force=True)
    assert contents(cache) == before


def test_a_file_of_the_same_name_of_another_model_is_named(reference, cache):
    with pytest.raises(
        AssetsError, match=r"it is geneformer/v1_gc30M/token_dictionary\.json\.gz of the preset 'geneformer-v1'\)"
    ):
        import_assets("geneformer-v2", [reference / "geneformer" / "v1_gc30M" / "token_dictionary.json.gz"])
    assert not cache.exists()


def test_one_wrong_file_keeps_all_from_being_imported(reference, cache):
    folder = reference / "geneformer"
    files = [folder / "v2_gc104M" / "token_dictionary.json.gz", folder / "v1_gc30M" / "gene_median_dictionary.json.gz"]
    with pytest.raises(AssetsError, match="Nothing was imported"):
        import_assets("geneformer-v2", files)
    assert not cache.exists()


def test_a_pickle_pinned_without_its_content_is_known_by_its_sha256_only(tmp_path):
    path = tmp_path / "own.toml"
    data = pickle.dumps({"A": 0}, protocol=4)
    path.write_text(
        OWN + f'sha256 = "{hashlib.sha256(data).hexdigest()}"\nurl = "https://x.y/z.pkl"\nformat = "pickle"\n'
    )
    (tmp_path / "z.pkl").write_bytes(data)
    with pytest.raises(
        AssetsError, match=r"vocab\.json is not mine/vocab\.json as published \(sha256 [0-9a-f]{64}, the preset"
    ):
        import_assets(str(path), [write(tmp_path / "vocab.json", {"A": 0})])
    assert import_assets(str(path), [tmp_path / "z.pkl"])[0].pinned is True


def test_the_content_that_the_cache_has_is_not_written_again(own, tmp_path, cache):
    import_assets(own, [write(tmp_path / "vocab.json", {"A": 0, "B": 1})])
    before = contents(cache)
    again = write(tmp_path / "vocab.json", {"B": 1, "A": 0})
    assert [one.there for one in import_assets(own, [again])] == [True]
    assert contents(cache) == before
    assert [one.there for one in import_assets(own, [again], force=True)] == [False]
    assert contents(cache) != before


def test_a_file_without_a_pin_is_not_replaced_either(tmp_path, cache):
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    (one,) = import_assets(str(path), [write(tmp_path / "vocab.json", {"A": 0})])
    assert one.pinned is None
    with pytest.raises(
        AssetsError, match=r"holds mine/vocab\.json, 1 entries from vocab\.json; another comes from v\.json, 2 entries"
    ):
        import_assets(str(path), [write(tmp_path / "v.json", {"A": 0, "B": 1})])
    assert json.loads((cache / "mine" / "vocab.json").read_bytes()) == {"A": 0}


def test_a_file_put_there_by_hand_is_not_replaced(own, tmp_path, cache):
    (cache / "mine").mkdir(parents=True)
    write(cache / "mine" / "vocab.json", {"A": 3})
    with pytest.raises(AssetsError, match="1 entries from a copy by hand; the published one comes from vocab"):
        import_assets(own, [write(tmp_path / "vocab.json", {"A": 0, "B": 1})])


def test_a_damaged_file_is_replaced(own, tmp_path, cache):
    path = write(tmp_path / "vocab.json", {"A": 0, "B": 1})
    for damage in (b'{"A": 7}', b'{"A": 0, "B":1}', b"{"):
        import_assets(own, [path])
        (cache / "mine" / "vocab.json").write_bytes(damage)
        assert [one.there for one in import_assets(own, [path])] == [False]
        assert load_tokenizer(own).vocab.token_ids == {"A": 0, "B": 1}
    (cache / "mine" / "vocab.json.origin.json").unlink()
    (cache / "mine" / "vocab.json").write_bytes(b"{")
    assert [one.there for one in import_assets(own, [path])] == [False]


# -- files that are not needed -----------------------------------------------------------


def test_files_that_are_not_needed_are_skipped_and_the_others_taken(reference):
    notes = []
    made = import_assets(
        "geneformer-v2", sorted((reference / "geneformer" / "v2_gc104M").glob("*.json.gz")), note=notes.append
    )
    assert [(one.pinned, one.there) for one in made] == [(True, False)] * 3
    assert len(notes) == 1
    assert "skipped " in notes[0]
    assert (
        "gene_name_id_dict.json.gz: its name is none of those that 'geneformer-v2' needs: token_dictionary_gc104M.pkl (or "
        in notes[0]
    )
    assert load_tokenizer("geneformer-v2").vocab is not None


def test_the_files_of_a_folder_may_all_be_given(reference):
    notes = []
    (one,) = import_assets("scgpt", sorted((reference / "scgpt").glob("*.json")), note=notes.append)
    assert (one.name, one.pinned) == (CENSUS, True)
    assert len(notes) == 1
    assert (
        "default_gene_vocab.json: its name is none of those that 'scgpt' needs: default_census_vocab.json" in notes[0]
    )


def test_a_published_file_of_another_preset_is_skipped(reference):
    notes = []
    import_assets("scfoundation", [reference / GENES, reference / CENSUS], note=notes.append)
    assert len(notes) == 1
    assert "this is scgpt/default_census_vocab.json of the preset" in notes[0]


# -- gene lists ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("genes", "said"),
    [
        (["A1BG", "CD3E"], "2 of 2 names do not look like Ensembl ids, such as 'A1BG'"),
        (["ENSG00000000001", "CD3E", "CD4"], "2 of 3 names"),
        (["ENSG00000000001", "[PAD]", "ENSMUSG00000000001.3", "FBgn0000001", "WBGene00000001", "YAL001C"], None),
        (["ENSG00000000001", "CD3E"], None),
        (["ENST00000000001"], "1 of 1 names"),
    ],
)
def test_a_gene_list_of_other_ids_than_the_vocabulary_s_is_said(tmp_path, genes, said):
    notes, path = [], tmp_path / "genes.txt"
    path.write_text("\n".join(genes))
    import_assets("transcriptformer", [path], note=notes.append)
    assert len(notes) == (said is not None)
    assert said is None or notes[0].startswith(f"warning: {path}: {said}")


def test_a_list_does_not_replace_a_vocabulary_unasked(tmp_path, cache):
    (tmp_path / "a.txt").write_text("ENSG00000000001\nENSG00000000002")
    (tmp_path / "b.txt").write_text("ENSG00000000001")
    import_assets("transcriptformer", [tmp_path / "a.txt"])
    before = contents(cache)
    with pytest.raises(AssetsError, match=r"9 entries from a\.txt; another comes from b\.txt, 8 entries"):
        import_assets("transcriptformer", [tmp_path / "b.txt"])
    assert contents(cache) == before
