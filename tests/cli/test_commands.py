"""The commands as people type them: exit status, messages, and the examples of --help."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from click.testing import CliRunner

from scdata.cli.main import cli, main

COMMANDS = ["build", "inspect", "verify", "bench", "tokenizers", "tokenizers list", "tokenizers show", "demo"]


def run(*arguments):
    """Status, standard output, standard error of the command line in this process."""
    with CliRunner().isolation() as (out, err, _):
        with pytest.raises(SystemExit) as exit_:
            main([str(a) for a in arguments])
        return exit_.value.code, out.getvalue().decode(), err.getvalue().decode()


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "set"
    code, _, err = run("build", "synthetic:cells=300,genes=80,mean_genes=20", "-o", out, "--split", "val=0.2")
    assert code == 0, err
    return out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    result = CliRunner().invoke(cli, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"scdata {command.split()[0]}" in result.output


@pytest.mark.parametrize("command", ["inspect", "verify", "tokenizers list", "tokenizers show"])
def test_examples_of_help_run(command, tmp_path):
    text = CliRunner().invoke(cli, [*command.split(), "--help"]).output
    lines = re.findall(r"^\s+(scdata .+)$", text.split("Example", 1)[1].split("Options")[0], re.MULTILINE)
    assert lines
    for line in lines:
        code, out, err = run(*shlex.split(line.replace("/tmp", str(tmp_path)))[1:])
        assert code == 0, err
        assert out


def test_build_says_what_it_did(small_set):
    text = run("build", "synthetic:cells=300,genes=80,mean_genes=20", "-o", small_set, "--overwrite")[1]
    assert re.search(r"29\d cells \(train 29\d\) of 80 genes as counts", text)
    assert "bytes a cell" in text
    assert re.search(r"dropped \d cells: no counts \((\d datasets|synthetic-0000)\)", text)


def test_build_json_lines_end_with_the_summary(tmp_path):
    code, out, _ = run("build", "synthetic:cells=200,genes=40", "-o", tmp_path / "s", "--json", "--split", "val=0.5")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {line["event"] for line in lines} >= {"phase", "note", "done"}
    assert lines[-1]["event"] == "done"
    assert lines[-1]["cells"] == sum(lines[-1]["splits"].values())


def test_build_from_a_config_file(tmp_path):
    config = tmp_path / "build.toml"
    config.write_text(
        f'sources = ["synthetic:cells=200,genes=40"]\nout = "{tmp_path}/s"\nsplit = ["val=0.5"]\nshard-size = "1MB"\n'
    )
    code, out, err = run("build", "--config", config, "--seed", "3")
    assert code == 0, err
    assert "val" in out
    config.write_text("sead = 3\n")
    code, _, err = run("build", "--config", config, "synthetic:cells=9", "-o", tmp_path / "t")
    assert code == 2
    assert "unknown key 'sead': did you mean 'seed'?" in err


def test_dry_run_leaves_nothing(tmp_path):
    code, out, _ = run("build", "synthetic:cells=200,genes=40", "-o", tmp_path / "s", "--dry-run")
    assert code == 0
    assert "40 genes" in out
    assert not (tmp_path / "s").exists()


def test_inspect_and_verify_in_json(small_set):
    table = json.loads(run("inspect", small_set, "--json")[1])
    assert table["n_cells"] == sum(split["n_cells"] for split in table["splits"].values())
    assert len(table["cells"]) == 3
    assert json.loads(run("verify", small_set, "--json")[1])["ok"] is True


def test_verify_ends_with_one_and_names_the_block(small_set):
    shard = next((small_set / "shards").rglob("train-*.tar"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
    code, out, _ = run("verify", small_set)
    shard.write_bytes(whole)
    assert code == 1
    assert "block train-000000-000000.arrow" in out


def test_bench_prints_every_mode(small_set):
    table = json.loads(run("bench", small_set, "--seconds", "0.05", "--json")[1])
    assert [(row["output"], row["batch_size"]) for row in table["modes"]] == [
        (output, size) for output in ("packed", "padded", "dense") for size in (64, 1024)
    ]
    assert all(row["cells_s"] > 0 for row in table["modes"])


def test_bench_prints_and_draws_the_shuffle(small_set, tmp_path):
    arguments = ["bench", small_set, "--shuffle", "--batch-size", "16", "--label", "cell_type"]
    code, out, err = run(*arguments, "--plot", tmp_path / "shuffle.png")
    assert code == 0, err
    assert re.search(r"^scdata +[01]\.\d{3} +[01]\.\d{3} +\d+\.\d\d +\d+\.\d\d$", out, re.MULTILINE)
    assert (tmp_path / "shuffle.png").read_bytes().startswith(b"\x89PNG")
    (table,) = json.loads(run(*arguments, "--json")[1])["shuffle"]
    assert table["label"] == "cell_type"
    assert [one["order"] for one in table["orders"]][:2] == ["scdata", "full permutation"]


def test_options_of_the_shuffle_are_not_taken_without_it(small_set):
    code, _, err = run("bench", small_set, "--lanes", "4")
    assert code == 2
    assert "--lanes is for the measure of the shuffle: add --shuffle" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["build"], 2, "no SOURCE given"),
        (["build", "synthetic:cells=9"], 2, "no output given: add -o"),
        (["build", "nothing.h5ad", "-o", "x"], 1, "nothing.h5ad"),
        (["build", "synthetic:cells=9", "-o", "x", "--tokenizer", "scgtp"], 2, "did you mean 'scgpt'?"),
        (["build", "synthetic:cells=9", "-o", "x", "--tokenizer", "scgpt"], 1, "--assets fit"),
        (["build", "synthetic:cells=9", "-o", "x", "--split", "val"], 2, "NAME=FRACTION"),
        (["build", "synthetic:cells=9", "-o", "x", "--shard-size", "big"], 2, "expected a size such as 256MB"),
        (["inspect", "nowhere"], 1, "nowhere does not exist"),
        (["tokenizers", "show", "genformer-v2"], 2, "did you mean 'geneformer-v2'?"),
        (["bulid"], 2, "No such command 'bulid': did you mean 'build'?"),
    ],
)
def test_errors_have_a_status_and_a_remedy(arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(*arguments)
    assert status == code
    assert message in err
    assert not (tmp_path / "x" / "manifest.json").exists()


def test_the_installed_command_runs():
    done = subprocess.run([sys.executable, "-m", "scdata.cli.main", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "scdata, version" in done.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('workers = "2"', "workers: expected int, found '2' (str)"),
        ("seed = 1.5", "seed: expected int, found 1.5 (float)"),
        ("split = 3", "split: expected a list of strings, found 3"),
    ],
)
def test_config_values_of_another_type(tmp_path, line, message):
    (tmp_path / "build.toml").write_text(line)
    code, _, err = run("build", "--config", tmp_path / "build.toml", "synthetic:cells=9", "-o", tmp_path / "t")
    assert code == 2
    assert message in err


def test_config_takes_one_string_for_a_list(tmp_path):
    (tmp_path / "build.toml").write_text(
        'sources = "synthetic:cells=200,genes=40"\nsplit = "val=0.5"\nobs = "cell_type"\n'
    )
    code, out, err = run("build", "--config", tmp_path / "build.toml", "-o", tmp_path / "s", "--json")
    assert code == 0, err
    assert set(json.loads(out.splitlines()[-1])["splits"]) == {"train", "val"}
