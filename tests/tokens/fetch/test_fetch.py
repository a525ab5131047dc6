"""The files of a preset: fetched, kept, and found by `load_tokenizer` and the command."""

import contextlib
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from scdata import load_tokenizer
from scdata._errors import AssetsError, TokenizerError
from scdata.cli.main import main
from scdata.tokens.published.asset_files import content_sha256
from scdata.tokens.published.fetch import fetch_assets
from scdata.tokens.published.importing import import_assets


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


VOCAB = json.dumps({"A": 0, "B": 1, "C": 2}).encode()
PICKLED = {
    "tokens": pickle.dumps({"<pad>": 0, "A": np.int16(1), "B": np.int16(2)}, protocol=4),
    "medians": pickle.dumps({"A": np.float64(1.5), "B": np.float64(2.0)}, protocol=4),
}


def asset(name, where, data, kind="json", **changes):
    keys = {"name": name, "url": where, "sha256": sha256(data), "bytes": len(data), "format": kind} | changes
    return "\n[[assets]]\n" + "\n".join(
        f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None
    )


@pytest.fixture
def own(tmp_path, server):
    """A preset of one JSON file."""

    def make(data=VOCAB, name="own.toml", file="own/vocab.json", answers=None, **changes):
        url = server.url(f"/{name}", *(answers or [data]))
        path = tmp_path / name
        path.write_text(
            f'description = "d"\nstores = "counts"\n[vocab]\ngenes = "{file}"\n[value]\nkind = "counts"\n'
            + asset(file, url, data, **changes)
        )
        return str(path)

    return make


@pytest.fixture
def ranks(tmp_path, server):
    """A preset of pickles, as Geneformer's are."""
    path = tmp_path / "ranks.toml"
    path.write_text(
        'description = "d"\nstores = "tokens"\n[vocab]\ngenes = "r/tokens.json.gz"\nspecial = ["<pad>"]\n'
        '[value]\nkind = "rank"\nmedians = "r/medians.json.gz"\n'
        + "".join(asset(f"r/{n}.json.gz", server.url(f"/{n}.pkl", data), data, "pickle") for n, data in PICKLED.items())
    )
    return str(path)


def run(name, **options):
    @contextlib.contextmanager
    def phase(file, size):
        yield lambda n: None

    return dict(fetch_assets(name, phase, **options))


def test_fetched_files_are_found_by_load_tokenizer(own, cache):
    name = own()
    with pytest.raises(AssetsError, match=r"the cache lacks own/vocab\.json: run `scdata tokenizers fetch"):
        load_tokenizer(name)
    assert run(name) == {"own/vocab.json": True}
    assert (cache / "own" / "vocab.json").read_bytes() == VOCAB
    tokenizer = load_tokenizer(name)
    assert tokenizer.vocab.token_ids == {"A": 0, "B": 1, "C": 2}
    assert dict(tokenizer.assets) == {"own/vocab.json": sha256(VOCAB)}


def test_pickles_are_kept_as_json_of_the_same_bytes_every_time(ranks, cache):
    assert run(ranks) == {"r/tokens.json.gz": True, "r/medians.json.gz": True}
    tokenizer = load_tokenizer(ranks)
    assert tokenizer.vocab.token_ids == {"A": 1, "B": 2}
    assert tokenizer.fitted.medians.tolist() == [1.5, 2.0]
    first = {name: (cache / name).read_bytes() for name in files(cache)}
    assert files(cache) == [f"r/{n}.json.gz{end}" for n in ("medians", "tokens") for end in ("", ".origin.json")]
    # no time of day in the head of the file
    assert first["r/tokens.json.gz"][4:8] == bytes(4)
    assert run(ranks, force=True) == {"r/tokens.json.gz": True, "r/medians.json.gz": True}
    assert {name: (cache / name).read_bytes() for name in files(cache)} == first


def test_what_is_there_is_not_asked_for_again(own, server):
    name = own()
    run(name)
    assert run(name) == {"own/vocab.json": False}
    assert len(server.asked) == 1
    assert run(name, force=True) == {"own/vocab.json": True}
    assert len(server.asked) == 2


def test_a_file_put_there_by_hand_counts_if_it_is_the_one(own, cache, server):
    name = own()
    (cache / "own").mkdir(parents=True)
    (cache / "own" / "vocab.json").write_bytes(VOCAB)
    assert run(name) == {"own/vocab.json": False}
    (cache / "own" / "vocab.json").write_bytes(b"{}")
    assert run(name) == {"own/vocab.json": True}
    assert (cache / "own" / "vocab.json").read_bytes() == VOCAB


def test_another_form_of_the_content_counts(own, cache, server, tmp_path):
    name = own(content_sha256=content_sha256({"A": 0, "B": 1, "C": 2}))
    (tmp_path / "vocab.json").write_text('{"C": 2,\n"B": 1, "A": 0}')
    import_assets(name, [tmp_path / "vocab.json"])
    assert run(name) == {"own/vocab.json": False}
    (cache / "own" / "vocab.json").write_bytes(VOCAB)  # which is right too, and not what was kept
    assert run(name) == {"own/vocab.json": True}
    assert len(server.asked) == 1


def test_a_file_that_changed_in_the_cache_is_noticed_and_fetched_again(own, cache):
    name = own()
    run(name)
    (cache / "own" / "vocab.json").write_bytes(b'{"A": 7}')
    with pytest.raises(
        AssetsError, match=r"has changed since it was kept .*: remove it and run `scdata tokenizers fetch"
    ):
        load_tokenizer(name)
    assert run(name) == {"own/vocab.json": True}
    assert load_tokenizer(name).vocab.token_ids["A"] == 0


def test_a_note_that_is_none(own, cache):
    name = own()
    run(name)
    for note in (b"{", b"[]", b'{"source": 1, "kept": ""}', b"\xff"):
        (cache / "own" / "vocab.json.origin.json").write_bytes(note)
        with pytest.raises(AssetsError, match=r"vocab\.json\.origin\.json: not a note of scdata"):
            load_tokenizer(name)


def test_another_preset_cannot_slip_its_file_under_the_same_name(own, cache):
    theirs = own(b'{"A": 5}', name="theirs.toml")
    mine = own()
    run(mine)
    with pytest.raises(AssetsError, match=r"the cache holds own/vocab\.json from https://.*--force replaces it"):
        run(theirs)
    run(theirs, force=True)
    with pytest.raises(AssetsError, match=r"--force replaces it"):
        run(mine)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not a JSON file"),
        (b'{"A": -1}', "the id of 'A' is -1"),
        (b'{"A": 1, "A": 2}', "'A' stands there twice"),
    ],
)
def test_a_file_that_is_the_pinned_one_and_no_vocabulary_is_not_kept(own, cache, data, message):
    with pytest.raises(TokenizerError, match=rf"https://.*{message}"):
        run(own(data))
    assert not cache.exists()


def test_a_hostile_pickle_is_not_kept(own, cache):
    data = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x06exit 3\x85R."
    with pytest.raises(TokenizerError, match=r"it asks for 'posix\.system'"):
        run(own(data, file="own/vocab.json.gz", format="pickle"))
    assert not cache.exists()


@pytest.mark.parametrize("answer", [404, bytes(1000), b"", "cut", "hang up", VOCAB.replace(b"2", b"3")], ids=str)
def test_nothing_is_left_of_a_fetch_that_failed(own, cache, answer):
    with pytest.raises(AssetsError) as raised:
        run(own(answers=[answer]))
    assert "scdata tokenizers import" in raised.value.__notes__[0]
    assert not cache.exists()


def test_a_full_or_unwritable_cache_leaves_no_half_file(own, cache, monkeypatch):
    name = own()

    def full(self, data):
        raise OSError(28, "No space left on device", str(self))

    for step in ("write_bytes", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, step, full)
            with pytest.raises(OSError, match="No space left"):
                run(name)
        assert files(cache) == []


def test_a_stop_between_the_file_and_its_note_leaves_no_note_of_another_file(own, cache, monkeypatch):
    run(own(b'{"A": 5}', name="theirs.toml"))
    mine, write = own(), Path.write_bytes

    def stop(self, data):
        if "origin" in self.name:
            raise KeyboardInterrupt
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", stop)
        with pytest.raises(KeyboardInterrupt):
            run(mine, force=True)
    assert files(cache) == ["own/vocab.json"]
    assert load_tokenizer(mine).vocab.token_ids == {"A": 0, "B": 1, "C": 2}


def test_a_tsv_is_kept_as_it_is(own, cache):
    data = b"gene_name\tindex\nA1BG\t0\nA1CF\t1\n"
    name = own(data, file="own/genes.tsv", format="tsv")
    run(name)
    assert (cache / "own" / "genes.tsv").read_bytes() == data
    assert load_tokenizer(name).vocab.token_ids == {"A1BG": 0, "A1CF": 1}
    with pytest.raises(TokenizerError, match=r"own/vocab\.json: a tsv is kept under a name that ends in \.tsv"):
        run(own(data, file="own/vocab.json", format="tsv"))


# -- the command ------------------------------------------------------------------


def command(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code


def test_the_command_fetches_and_says_what_is_ready(ranks, own, capsys):
    assert command("tokenizers", "fetch", ranks, own()) == 0
    out = capsys.readouterr().out
    assert "r/tokens.json.gz: fetched" in out
    assert "ranks.toml is ready: 2 genes, 3 token ids" in out
    assert "own.toml is ready: 3 genes, 3 token ids" in out
    assert command("tokenizers", "fetch", ranks) == 0
    assert "r/tokens.json.gz: there already" in capsys.readouterr().out


def test_the_command_speaks_json(ranks, cache, capsys):
    assert command("tokenizers", "fetch", ranks, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    every = {"r/tokens.json.gz": "fetched", "r/medians.json.gz": "fetched"}
    assert found == {"cache": str(cache), "files": {ranks: every}, "missing": {}}


def test_the_command_says_the_manual_way_when_there_is_no_network(own, server, closed_port, capsys):
    name = own()
    text = Path(name).read_text().replace(server.base, f"https://127.0.0.1:{closed_port}")
    Path(name).write_text(text)
    assert command("tokenizers", "fetch", name) == 1
    err = capsys.readouterr().err
    assert "no connection" in err
    assert f"or download it yourself and hand it over: scdata tokenizers import {name} FILE..." in err


def test_files_without_a_url_are_left_to_import(own, capsys):
    name = own(url=None, sha256=None, bytes=None)
    assert command("tokenizers", "fetch", name) == 1
    assert (
        f"still lacks own/vocab.json: run `scdata tokenizers import {name} FILE...` with your copy of own/vocab.json "
        in capsys.readouterr().err
    )
    assert command("tokenizers", "fetch", "counts") == 0
    assert "counts needs no published files" in capsys.readouterr().out


def test_geneformer_as_published(shared_data, tmp_path, server, cache):
    """The whole way, on the published pickles themselves, where this Python can make them again."""
    from scdata.tokens import load_preset

    reference = shared_data / "reference" / "geneformer" / "v2_gc104M"
    tokens = load_tokenizer("geneformer-v2", str(shared_data / "reference")).vocab.token_ids
    specials = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3}
    data = pickle.dumps({**specials, **tokens}, protocol=4)
    asset_ = load_preset("geneformer-v2").assets[0]
    if sha256(data) != asset_.sha256:
        pytest.skip("this Python writes pickles in another way than the one that wrote the published file")
    path = tmp_path / "like-v2.toml"
    path.write_text(
        'extends = "geneformer-v2"\n' + asset(asset_.name, server.url("/t", data), data, "pickle", bytes=asset_.bytes)
    )
    assert run(str(path)) == {asset_.name: True}
    kept = cache / asset_.name
    assert kept.name == (reference / "token_dictionary.json.gz").name
    for name in ("ensembl_mapping_dict.json.gz", "gene_median_dictionary.json.gz"):
        (kept.parent / name).write_bytes((reference / name).read_bytes())
    assert load_tokenizer(str(path)).vocab.token_ids == tokens
