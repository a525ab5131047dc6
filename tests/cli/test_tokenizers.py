"""``scdata tokenizers`` as people type it; downloads are in tests/tokens/fetch/."""

import json
import re
import shlex

import pytest
from click.testing import CliRunner

from scdata.cli.main import cli, main
from scdata.tokens.preset import preset_names

ASSAYS = {"unknown": 0, "10x 3' v3": 1}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCDATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tokenizers"


@pytest.fixture
def run(capsys):
    def run(*arguments):
        """Status, standard output, standard error."""
        with pytest.raises(SystemExit) as exit_:
            main(["tokenizers", *map(str, arguments)])
        return exit_.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("command", ["", "list", "show", "fetch", "import"])
def test_help_teaches(command):
    result = CliRunner().invoke(cli, ["tokenizers", *command.split(), "--help"])
    assert result.exit_code == 0
    lines = re.findall(r"^\s+(scdata .+)$", result.output.split("Example", 1)[1].split("Options")[0], re.MULTILINE)
    assert lines
    for line in lines:
        words = shlex.split(line)
        if words[1] == "tokenizers":
            assert words[2] in ("list", "show", "fetch", "import")
            assert all(word in preset_names() or "." in word or word.startswith("--") for word in words[3:])


@pytest.mark.parametrize("command", ["list", "show"])
def test_examples_of_help_run(command, run):
    text = CliRunner().invoke(cli, ["tokenizers", command, "--help"]).output
    for line in re.findall(r"^\s+scdata tokenizers (.+)$", text, re.MULTILINE):
        if line.split()[0] == command:
            code, out, err = run(*shlex.split(line))
            assert (code, err) == (0, "")
            assert out


def test_list_says_what_each_preset_needs(run):
    code, out, _ = run("list")
    assert code == 0
    said = {entry.split()[0]: entry for entry in re.split(r"\n(?=\S)", out)}
    assert sorted(said) == preset_names()
    assert "published files, not here: run `scdata tokenizers fetch geneformer-v2`" in said["geneformer-v2"]
    assert (
        "and `scdata tokenizers import transcriptformer FILE...` with your copy of transcriptformer/vocab.json.gz (which has "
        "no public address)" in said["transcriptformer"]
    )
    assert "stores counts; the source's genes" in said["counts"]


def test_list_says_what_is_in_the_cache(run, tmp_path, cache):
    before = json.loads(run("list", "--json")[1])
    assert set(before) == set(preset_names())
    assert before["counts"]["assets"] == {"needed": False, "cached": True, "files": {}}
    (url,) = [file["url"] for file in before["scgpt"]["assets"]["files"].values()]
    assert url.startswith("https://raw.githubusercontent.com/bowang-lab/scGPT/")
    (tmp_path / "default_census_vocab.json").write_text('{"A": 0}')
    assert run("import", "scgpt", tmp_path / "default_census_vocab.json", "--force")[0] == 0
    after = json.loads(run("list", "--json")[1])
    for name in ("scgpt", "cell-jepa"):  # they share the file
        assert after[name]["assets"] == {
            "needed": True,
            "cached": True,
            "files": {"scgpt/default_census_vocab.json": {"cached": True, "pinned": False, "url": url}},
        }
    said = run("list")[1]
    assert "published files, in the cache (not as published: scgpt/default_census_vocab.json)" in said


def test_list_tells_some_from_none(run, tmp_path):
    (tmp_path / "g.txt").write_text("ENSG00000000001\n")
    assert run("import", "transcriptformer", tmp_path / "g.txt")[0] == 0
    said = run("list")[1]
    assert (
        "published files, 1 of 2 in the cache, not transcriptformer/assay_vocab.json: run `scdata tokenizers fetch tr"
        in said
    )


def test_show_prints_the_file_and_json_what_it_comes_to(run, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('extends = "scgpt"\n[value]\nties = "random"  # a remark\n')
    code, out, _ = run("show", path)
    assert code == 0
    assert out.strip() == path.read_text().strip()
    code, out, _ = run("show", path, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["value"]["ties"], found["value"]["n_bins"], found["context_length"]) == ("random", 51, 1200)
    assert "extends" not in found
    assert found["assets"][0]["sha256"] == "9fe73cf29929b5c66a5fffcfb2bcbdd3e38a3a086848cd12f8f918bcf458d75f"


def test_import_says_what_came_of_each_file(run, tmp_path):
    (tmp_path / "human.txt").write_text("ENSG00000000001.4\nENSG00000000002\n")
    (tmp_path / "mouse.txt").write_text("ENSMUSG00000000001\nENSG00000000002\n")
    code, out, err = run("import", "transcriptformer", tmp_path / "human.txt", tmp_path / "mouse.txt")
    assert (code, err) == (0, "")
    assert "transcriptformer/vocab.json.gz: 10 entries from human.txt, mouse.txt" in out
    assert (
        "transcriptformer still lacks transcriptformer/assay_vocab.json: run `scdata tokenizers fetch transcriptformer`"
        in out
    )
    (tmp_path / "assay_vocab.json").write_text(json.dumps(ASSAYS))
    code, out, err = run("import", "transcriptformer", tmp_path / "assay_vocab.json")
    assert (code, out) == (1, "")
    assert "assay_vocab.json is not transcriptformer/assay_vocab.json as published" in err
    assert "--force does it all the same" in err
    code, out, err = run("import", "transcriptformer", tmp_path / "assay_vocab.json", "--force")
    assert code == 0
    assert f"warning: {tmp_path / 'assay_vocab.json'} is not transcriptformer/assay_vocab.json as published" in err
    assert "transcriptformer is ready: 3 genes, 10 token ids" in out
    code, out, _ = run("import", "transcriptformer", tmp_path / "human.txt", tmp_path / "mouse.txt")
    assert (code, out.split("\n")[0]) == (0, "transcriptformer/vocab.json.gz: there already")


def test_import_speaks_json(run, tmp_path, cache):
    (tmp_path / "assay_vocab.json").write_text(json.dumps(ASSAYS))
    code, out, err = run("import", "transcriptformer", tmp_path / "assay_vocab.json", "--json", "--force")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["cache"] == str(cache)
    assert found["missing"] == ["transcriptformer/vocab.json.gz"]
    (file,) = found["files"].values()
    assert (list(file["source"]), file["pinned"], file["entries"]) == (["assay_vocab.json"], False, 2)
    assert file["there"] is False
    assert len(found["notes"]) == 1
    assert "as published" in found["notes"][0]


def test_import_finds_files_that_do_not_fit_together(run, tmp_path):
    tables = {
        "token_dictionary": {"<pad>": 0, "<mask>": 1, "A": 2},
        "ensembl_mapping_dict": {"A": "A"},
        "gene_median_dictionary": {"B": 1.5},
    }
    for name, table in tables.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(table))
    code, _, err = run("import", "geneformer-v1", "--force", *(tmp_path / f"{name}.json" for name in tables))
    assert code == 1
    assert "no median for 1 genes, such as 'A'" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fetch"], 2, "Missing argument 'NAME...'"),
        (["fetch", "scgtp"], 2, "unknown preset 'scgtp': did you mean 'scgpt'?"),
        (["import", "scgpt"], 2, "Missing argument 'FILE...'"),
        (["import", "scgpt", "/nothing/there"], 2, "does not exist"),
        (["import", "counts", __file__], 1, "preset 'counts' needs no published files"),
        (["show", "genformer-v2"], 2, "did you mean 'geneformer-v2'?"),
        (["fech"], 2, "No such command 'fech'"),
    ],
)
def test_wrong_usage_is_answered(run, arguments, code, message):
    found, _, err = run(*arguments)
    assert found == code
    assert message in err
    assert "Traceback" not in err
