"""Vocabularies from gene lists, of one or several species."""

import gzip
import hashlib
import json

import h5py
import numpy as np
import pytest

from scdata import load_tokenizer
from scdata._errors import AssetsError, TokenizerError
from scdata.tokens.published.cache import cache_folder
from scdata.tokens.published.gene_lists import numbered, read_gene_list
from scdata.tokens.published.importing import import_assets

SPECIAL = ("unknown", "[START]", "[END]", "[RD]", "[CELL]", "[PAD]", "[MASK]")
HUMAN, MOUSE = ["ENSG00000000001", "ENSG00000000002", "SHARED"], ["ENSMUSG00000000001", "SHARED", "ENSMUSG00000000002"]
VOCAB = "transcriptformer/vocab.json.gz"
ASSAYS = {"unknown": 0, "10x 3' v3": 1}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCDATA_CACHE", str(tmp_path / "cache"))
    return cache_folder()


def hdf5(path, keys, dtype="S"):
    """As TranscriptFormer's embeddings are: ``keys`` in their order, and ``arrays`` by name."""
    with h5py.File(path, "w") as file:
        file.create_dataset("keys", data=np.array(keys, dtype) if dtype == "S" else keys)
        for key in keys:
            file.create_dataset(f"arrays/{key}", data=np.zeros(2, np.float32))
    return path


def hdf5_by_gene(path, keys, group=""):
    with h5py.File(path, "w") as file:
        for key in keys:
            file.create_dataset(f"{group}/{key}", data=np.zeros(2, np.float32))
    return path


def text(path, genes):
    path.write_text("# ids\n" + "\r\n".join(genes) + "\n\n")
    return path


def as_json(path, genes):
    path.write_text(json.dumps(genes))
    return path


def as_json_by_gene(path, genes):
    path.write_text(json.dumps({gene: [0.5, 1.0] for gene in genes}))
    return path


def packed(path, genes):
    path.write_bytes(gzip.compress(json.dumps(genes).encode()))
    return path


LISTS = [hdf5, lambda path, genes: hdf5(path, genes, None), text, as_json, as_json_by_gene, packed]


# -- gene lists -----------------------------------------------------------------


@pytest.mark.parametrize("write", LISTS)
def test_a_gene_list_keeps_its_order_in_every_form(tmp_path, write):
    genes = ["ENSG00000000009", "ENSG00000000002", "zeta", "ENSG00000000005"]
    assert read_gene_list(write(tmp_path / "genes", genes)) == genes


@pytest.mark.parametrize("group", ["", "embeddings"])
def test_hdf5_by_gene_without_keys(tmp_path, group):
    assert read_gene_list(hdf5_by_gene(tmp_path / "g.h5", ["b", "a"], group)) == ["a", "b"]


def test_the_first_occurrence_wins_and_versions_are_cut():
    ids = numbered(
        [["ENSG00000000001.5", "SHARED"], ["SHARED", "ENSG00000000001", "X.1", "[PAD]"]], ["unknown", "[PAD]"]
    )
    assert ids == {"unknown": 0, "[PAD]": 1, "ENSG00000000001": 2, "SHARED": 3, "X.1": 4}


def bad_keys(path):
    with h5py.File(path, "w") as file:
        file["keys"] = np.zeros((2, 2))


def keys_that_claim_much(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("keys", shape=(10**7,), dtype="S1000", chunks=(1000,))


def damaged(path):
    hdf5(path, HUMAN)
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no genes there"),
        (b"# nothing\n\n", "no genes there"),
        (b"[]", "no genes there"),
        (b"{}", "no genes there"),
        (b"[1, 2]", "expected gene ids, found 1"),
        (b'["A", ["B"]]', r"expected gene ids, found \['B'\]"),
        (b'["A", ""]', "expected gene ids, found ''"),
        (b'{"A": 1, "A": 2}', "'A' stands there twice"),
        (b'["A"', "not a JSON file"),
        (b"A1BG\t0\n", r"line 1: expected one gene id, found 'A1BG\\t0'"),
        (b"A\nB C\n", "line 2: expected one gene id"),
        (b"\xff\xfe\x00", "neither HDF5, nor JSON, nor text"),
        (b"\x1f\x8b\x00", "not a JSON file under gzip"),
        (bad_keys, r"keys: expected a list of strings, found float64 of shape \(2, 2\)"),
        (keys_that_claim_much, r"keys: expected a list of strings, found \|S1000"),
        (damaged, "not an HDF5 file with gene ids"),
    ],
)
def test_a_file_that_is_no_gene_list(tmp_path, content, message):
    path = tmp_path / "genes"
    content(path) if callable(content) else path.write_bytes(content)
    with pytest.raises(TokenizerError, match=rf"genes: .*{message}"):
        read_gene_list(path)


def test_a_gene_list_over_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("scdata.tokens.published.gene_lists.LIMIT", 3)
    with pytest.raises(TokenizerError, match="so it is no list of genes"):
        read_gene_list(text(tmp_path / "genes", HUMAN))


def test_a_missing_h5py_is_named(tmp_path, monkeypatch):
    from scdata import _optional

    path = hdf5(tmp_path / "g.h5", HUMAN)

    def absent(name):
        raise ModuleNotFoundError("No module named 'h5py'", name="h5py")

    monkeypatch.setattr(_optional.importlib, "import_module", absent)
    with pytest.raises(ImportError, match=r"h5py is needed to read gene ids from HDF5 .*scdata-engine\[build\]"):
        read_gene_list(path)


# -- TranscriptFormer -------------------------------------------------------------


def test_a_vocabulary_of_one_species(tmp_path, cache):
    assays = as_json(tmp_path / "assay_vocab.json", ASSAYS)
    made = import_assets("transcriptformer", [hdf5(tmp_path / "human.h5", HUMAN), assays], force=True)
    assert [(one.name, one.pinned, one.n_entries) for one in made] == [
        (VOCAB, None, 10),
        ("transcriptformer/assay_vocab.json", False, 2),
    ]
    tokenizer = load_tokenizer("transcriptformer")
    assert dict(tokenizer.vocab.specials) == {token: i for i, token in enumerate(SPECIAL)}
    assert tokenizer.vocab.token_ids == {gene: 7 + i for i, gene in enumerate(HUMAN)}
    assert tokenizer.aux == ASSAYS
    assert set(tokenizer.assets) == {VOCAB, "transcriptformer/assay_vocab.json"}


def test_a_vocabulary_of_two_species_that_share_ids(tmp_path, cache):
    files = [hdf5(tmp_path / "human.h5", HUMAN), text(tmp_path / "mouse.txt", MOUSE)]
    import_assets("transcriptformer", [*files, as_json(tmp_path / "assay_vocab.json", ASSAYS)], force=True)
    expected = [*HUMAN, MOUSE[0], MOUSE[2]]
    assert load_tokenizer("transcriptformer").vocab.token_ids == {gene: 7 + i for i, gene in enumerate(expected)}
    note = json.loads((cache / f"{VOCAB}.origin.json").read_bytes())
    assert note["source"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    import_assets("transcriptformer", files[::-1], force=True)
    expected = [*MOUSE, HUMAN[0], HUMAN[1]]
    assert load_tokenizer("transcriptformer").vocab.token_ids == {gene: 7 + i for i, gene in enumerate(expected)}


def test_the_same_lists_give_the_same_bytes(tmp_path, cache):
    files = [hdf5(tmp_path / "human.h5", HUMAN), text(tmp_path / "mouse.txt", MOUSE)]
    import_assets("transcriptformer", files)
    first = (cache / VOCAB).read_bytes()
    import_assets("transcriptformer", files)
    assert (cache / VOCAB).read_bytes() == first


def test_ids_that_a_file_gives_are_kept(tmp_path, cache):
    ids = {**{token: i for i, token in enumerate(SPECIAL)}, "B": 9, "A": 11}
    import_assets(
        "transcriptformer",
        [as_json(tmp_path / "vocab.json", ids), as_json(tmp_path / "assay_vocab.json", ASSAYS)],
        force=True,
    )
    assert load_tokenizer("transcriptformer").vocab.token_ids == {"B": 9, "A": 11}


def test_ids_that_files_give_are_an_order_when_there_are_several(tmp_path, cache):
    files = [as_json(tmp_path / "a.json", {"B": 8, "A": 7, "unknown": 0}), text(tmp_path / "b.txt", ["C", "A"])]
    import_assets("transcriptformer", [*files, as_json(tmp_path / "assay_vocab.json", ASSAYS)], force=True)
    assert load_tokenizer("transcriptformer").vocab.token_ids == {"A": 7, "B": 8, "C": 9}


def test_what_it_still_lacks_is_said(tmp_path):
    message = (
        r"lacks transcriptformer/vocab\.json\.gz, transcriptformer/assay_vocab\.json: run `scdata tokenizers fetch tr"
    )
    with pytest.raises(AssetsError, match=message):
        load_tokenizer("transcriptformer")
    import_assets("transcriptformer", [as_json(tmp_path / "assay_vocab.json", ASSAYS)], force=True)
    with pytest.raises(
        AssetsError, match=r"lacks transcriptformer/vocab\.json\.gz: run `scdata tokenizers import transcriptf"
    ):
        load_tokenizer("transcriptformer")


def test_assays_without_the_unknown_one(tmp_path):
    import_assets(
        "transcriptformer",
        [text(tmp_path / "g.txt", HUMAN), as_json(tmp_path / "assay_vocab.json", {"x": 0})],
        force=True,
    )
    with pytest.raises(TokenizerError, match=r"assay_vocab\.json: no id for 'unknown'"):
        load_tokenizer("transcriptformer")
