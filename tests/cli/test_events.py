import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

import scdata.cli
from scdata.shard.shard_set import ShardSet

SCHEMA = json.loads((Path(scdata.cli.__file__).parent / "events.schema.json").read_text())
SOURCE = "synthetic:cells=3000,genes=80,mean_genes=20"


def start(*arguments):
    command = [sys.executable, "-m", "scdata.cli.main", "build", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def events(out):
    """The events of a command, each as the schema has it."""
    lines = [json.loads(line) for line in out.splitlines()]
    for line in lines:
        jsonschema.validate(line, SCHEMA)
    return lines


def test_events_of_a_build_are_as_the_schema_says(tmp_path):
    out, _ = start(SOURCE, "-o", tmp_path / "set", "--json", "--split", "val=0.5").communicate()
    lines = events(out)
    assert {"note", "phase", "done"} <= {line["event"] for line in lines} <= {"note", "phase", "progress", "done"}
    assert lines[-1]["event"] == "done"
    assert any(line.get("text", "").startswith("memory: at most 0.") for line in lines)


def test_events_of_a_dry_run_tell_about_what_the_build_comes_to(tmp_path):
    options = [SOURCE, "-o", tmp_path / "set", "--json", "--obs-filter", "age > 30"]
    plan = events(start(*options, "--dry-run").communicate()[0])[-1]
    assert plan["event"] == "plan"
    assert not (tmp_path / "set").exists()
    done = events(start(*options).communicate()[0])[-1]
    dropped = {drop["reason"]: 0 for drop in done["drops"]}
    for drop in done["drops"]:
        dropped[drop["reason"]] += drop["n_cells"]
    assert plan["n_cells"] == 3000 - dropped["obs filter"]
    manifest = ShardSet(tmp_path / "set").manifest
    assert plan["nnz"] == pytest.approx(manifest["splits"]["train"]["n_tokens"], rel=0.05)
    assert plan["n_bytes"] < done["bytes"] < 40 * plan["n_bytes"]  # a small set is mostly heads of blocks
    assert plan["core_hours"] < done["seconds"] / 3600
    assert 250e6 < plan["memory_bytes"] < 300e6


@pytest.mark.parametrize(
    ("arguments", "status", "kind", "message"),
    [
        (["no.h5ad"], 1, "SourceError", "no.h5ad: not found"),
        ([SOURCE, "--codec", "none", "--block-size", "0"], 2, "ValueError", "block_size = 0"),
        ([SOURCE, "--obs-filter", "age > 999"], 1, "BuildError", "keeps none of the 3000 cells"),
    ],
)
def test_what_ends_a_build_is_its_last_event(tmp_path, arguments, status, kind, message):
    process = start(*arguments, "-o", tmp_path / "set", "--json")
    out, err = process.communicate()
    last = events(out)[-1]
    assert process.returncode == status
    assert (last["event"], last["kind"]) == ("error", kind)
    assert message in last["message"]
    assert message in err


def test_a_build_that_is_stopped_says_so(tmp_path):
    process = start("synthetic:cells=900000,genes=500,mean_genes=200", "-o", tmp_path / "set", "--json")
    while not (tmp_path / "set" / ".build" / "plan.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    lines = events(out)
    assert process.returncode == 130
    assert lines[-1]["event"] == "error"
    assert "the same command goes on" in lines[-1]["message"]


def test_a_config_file_reproduces_a_build(tmp_path):
    options = ["--split", "val=0.2:donor_id", "--limit", "2000", "--obs", "age,cell_type", "--min-genes", "5", "--seed", "4",
               "--shard-size", "100kB", "--block-size", "300", "--codec", "none", "--obs-filter", "age > 30"]  # fmt: skip
    _, err = (first := start(SOURCE, "-o", tmp_path / "line", *options)).communicate()
    assert first.returncode == 0, err
    (tmp_path / "build.toml").write_text(
        f'sources = ["{SOURCE}"]\nsplit = ["val=0.2:donor_id"]\nlimit = 2000\nobs = ["age", "cell_type"]\nmin-genes = 5\n'
        'seed = 4\nshard-size = "100kB"\nblock-size = 300\ncodec = "none"\nobs-filter = "age > 30"\n'
    )
    _, err = (second := start("--config", tmp_path / "build.toml", "-o", tmp_path / "file")).communicate()
    assert second.returncode == 0, err
    files = [
        sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*")) for name in ("line", "file")
    ]
    assert files[0] == files[1]
    assert len(files[0]) > 8
    for path in files[0]:
        if (tmp_path / "line" / path).is_file():
            assert (tmp_path / "line" / path).read_bytes() == (tmp_path / "file" / path).read_bytes()
