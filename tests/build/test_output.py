"""What stands at the output already: refused, gone on with, or replaced, and never more deleted than is ours."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import scdata
from scdata._errors import LayerNotFoundError, OutputExistsError, PlanChangedError, SourceError
from scdata.build import BuildConfig, Progress, pipeline, plan_build
from scdata.build.lock import LOCK

SOURCE = "synthetic:cells=400,genes=30,mean_genes=10"
ARGUMENTS = {"splits": ["val=0.3", "a=0.2"], "block_size": 64}


def unfinished(out, source=SOURCE, **arguments):
    """An output with a plan, as a build that was killed early leaves it."""
    arguments = {key: tuple(v) if isinstance(v, list) else v for key, v in arguments.items()}
    config = BuildConfig(sources=(str(source),), out=str(out), **arguments)
    config.build_path.mkdir(parents=True)
    (config.build_path / LOCK).touch()
    plan_build(config, Progress())
    return config


@pytest.fixture
def made(tmp_path):
    out = tmp_path / "set"
    scdata.build_shards(SOURCE, out, **ARGUMENTS)
    return out


# -- refused -----------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("there", ["notes.txt", ".build/project.json", "shards/000/train-000000.tar"])
def test_a_folder_that_is_not_ours_is_left_alone(tmp_path, tree, there, overwrite):
    file = tmp_path / "set" / there
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(OutputExistsError) as error:
        scdata.build_shards(SOURCE, tmp_path / "set", overwrite=overwrite)
    assert "is not empty and holds no set of ours" in str(error.value)
    assert there.split("/")[0] in str(error.value)
    assert list(tree(tmp_path / "set")) == [there]


def test_a_file_is_no_output(tmp_path):
    (tmp_path / "set").write_text("mine")
    with pytest.raises(OutputExistsError, match="is a file: name a folder with -o"):
        scdata.build_shards(SOURCE, tmp_path / "set")


@pytest.mark.parametrize("text", ["", "{}", '{"format": "other"}', "[1]", "\0"])
def test_a_manifest_of_others_is_left_alone(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match=r"holds a manifest.json that is none of ours"):
            scdata.build_shards(SOURCE, tmp_path, overwrite=overwrite)
    assert (tmp_path / "manifest.json").read_text() == text


def test_a_complete_set_is_refused(made, tree):
    before = tree(made)
    with pytest.raises(
        OutputExistsError, match=r"a complete set of \d+ cells: --overwrite \(overwrite=True\) replaces it"
    ):
        scdata.build_shards(SOURCE, made, **ARGUMENTS)
    assert tree(made) == before


def test_litter_of_a_build_beside_a_complete_set_is_cleared_when_it_is_refused(made, tree):
    before = tree(made)
    (made / ".build").mkdir()
    (made / ".build" / "lock").touch()
    with pytest.raises(OutputExistsError, match="complete set"):
        scdata.build_shards(SOURCE, made, **ARGUMENTS)
    assert tree(made) == before


# -- replaced ----------------------------------------------------------------


def test_overwrite_replaces_a_set_and_nothing_else(made, tree, tmp_path):
    (made / "notes.txt").write_text("mine")
    (made / "shards" / "mine.txt").write_text("mine")
    scdata.build_shards("synthetic:cells=200,genes=20", made, overwrite=True)
    assert (made / "notes.txt").read_text() == (made / "shards" / "mine.txt").read_text() == "mine"
    (made / "notes.txt").unlink()
    (made / "shards" / "mine.txt").unlink()
    scdata.build_shards("synthetic:cells=200,genes=20", tmp_path / "fresh")
    assert tree(made) == tree(tmp_path / "fresh")


def test_overwrite_with_bad_input_costs_no_set(made, tree):
    before = tree(made)
    for arguments in ({"source": "nowhere.h5ad"}, {"source": SOURCE, "obs": ["nope"]}):
        with pytest.raises((SourceError, LayerNotFoundError)):
            scdata.build_shards(out=made, overwrite=True, **arguments)
        assert tree(made) == before


def test_overwrite_of_a_set_whose_build_was_killed_at_its_end(made, tree, tmp_path, monkeypatch):
    shutil.rmtree(made)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "finish_build", lambda config: None)
        scdata.build_shards(SOURCE, made, **ARGUMENTS)
    scdata.build_shards(SOURCE, made, overwrite=True, seed=1, **ARGUMENTS)
    scdata.build_shards(SOURCE, tmp_path / "fresh", seed=1, **ARGUMENTS)
    assert tree(made) == tree(tmp_path / "fresh")


@pytest.mark.parametrize("again", [{"overwrite": True}, {}])
def test_overwrite_killed_at_every_step(made, tree, tmp_path, monkeypatch, again):
    new = {"source": "synthetic:cells=200,genes=20"}
    scdata.build_shards(out=tmp_path / "fresh", **new)
    expected, saved = tree(tmp_path / "fresh"), tmp_path / "saved"
    shutil.copytree(made, saved)
    real, steps = Path.unlink, 0
    while True:
        shutil.rmtree(made)
        shutil.copytree(saved, made)
        left = steps

        def unlink(path, missing_ok=False):
            nonlocal left
            if not path.name.endswith(".tmp"):
                if left == 0:
                    raise KeyboardInterrupt
                left -= 1
            return real(path, missing_ok=missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink)
            try:
                scdata.build_shards(out=made, overwrite=True, **new)
                break
            except KeyboardInterrupt:
                pass
        if (made / "manifest.json").exists():
            # killed when only clearing up was left, or before anything was deleted
            assert scdata.verify_shards(made).ok
        if not (made / "manifest.json").exists() or "overwrite" in again:
            scdata.build_shards(out=made, **new, **again)
            assert tree(made) == expected, steps
        steps += 1
    assert steps > 8


def test_overwrite_where_there_is_nothing(tmp_path):
    config = BuildConfig(sources=(SOURCE,), out=str(tmp_path / "set"), overwrite=True)
    assert plan_build(config, Progress())[1].n_shards == [1]


def test_overwrite_of_an_unfinished_build(tmp_path, tree):
    out = tmp_path / "set"
    unfinished(out, **ARGUMENTS)
    scdata.build_shards("synthetic:cells=200,genes=20", out, overwrite=True)
    scdata.build_shards("synthetic:cells=200,genes=20", tmp_path / "fresh")
    assert tree(out) == tree(tmp_path / "fresh")


# -- gone on with --------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 5}, "config seed was 0 and is 5"),
        ({"splits": ["val=0.5"]}, "config splits was ['val=0.3', 'a=0.2'] and is ['val=0.5']"),
        ({"block_size": 65}, "config block_size was 64 and is 65"),
        ({"obs": ["batch"]}, "config obs was None and is ['batch']"),
        ({"source": ["synthetic:cells=400,genes=30"]}, "mean_genes=10"),
        ({"source": [SOURCE, SOURCE]}, "it had 1 sources, now 2"),
    ],
)
def test_another_command_is_refused_naming_the_difference(tmp_path, tree, change, difference):
    out = tmp_path / "set"
    unfinished(out, **ARGUMENTS)
    before = tree(out)
    with pytest.raises(PlanChangedError) as error:
        scdata.build_shards(**{"source": SOURCE, "out": out, **ARGUMENTS, **change})
    assert difference in str(error.value)
    assert "start anew with --overwrite" in str(error.value)
    assert tree(out) == before
    scdata.build_shards(SOURCE, out, **ARGUMENTS)
    assert scdata.verify_shards(out).ok


def test_workers_scratch_and_place_may_change(tmp_path):
    unfinished(tmp_path / "set", **ARGUMENTS)
    shutil.move(tmp_path / "set", tmp_path / "moved")
    scdata.build_shards(SOURCE, tmp_path / "moved", scratch=str(tmp_path / "s"), **ARGUMENTS)
    assert scdata.verify_shards(tmp_path / "moved").ok


def test_other_libraries_are_refused(tmp_path):
    config = unfinished(tmp_path / "set")
    path = config.build_path / "plan.json"
    table = json.loads(path.read_text())
    table["libraries"]["numpy"] = "1.0"
    path.write_text(json.dumps(table))
    with pytest.raises(PlanChangedError, match=r"libraries numpy was '1.0' and is '\d"):
        scdata.build_shards(SOURCE, tmp_path / "set")


def test_a_changed_file_is_refused_and_a_touched_one_is_not(make_h5ad, tmp_path):
    path = make_h5ad("x", np.ones((100, 5)))
    unfinished(tmp_path / "set", path)
    make_h5ad("x", np.full((100, 5), 2))
    with pytest.raises(PlanChangedError, match=r"source x\.h5ad is another, or has changed since"):
        scdata.build_shards(path, tmp_path / "set")
    unfinished(tmp_path / "other", path)
    path.touch()
    assert scdata.build_shards(path, tmp_path / "other")["n_cells"] == 100


def test_a_changed_preset_is_refused(tmp_path):
    preset = tmp_path / "own.toml"
    preset.write_text('description = "a"\nstores = "counts"\n[value]\nkind = "counts"\n')
    unfinished(tmp_path / "set", tokenizer=str(preset))
    preset.write_text('description = "a"\nstores = "counts"\n[value]\nkind = "lognorm"\n')
    with pytest.raises(PlanChangedError, match=r"value of the preset was .*'counts'.* and is .*'lognorm'"):
        scdata.build_shards(SOURCE, tmp_path / "set", tokenizer=str(preset))


def test_scratch_files_of_another_plan_are_not_used(tmp_path, tree, monkeypatch):
    scratch, out = tmp_path / "scratch", tmp_path / "set"
    with monkeypatch.context() as patch:
        # killed after the scatter, and the output then thrown away, but not the scratch folder
        patch.setattr(pipeline, "write_manifest", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            scdata.build_shards(SOURCE, out, scratch=str(scratch))
    assert list(scratch.rglob("scatter-*.json"))
    shutil.rmtree(out)
    new = "synthetic:cells=400,genes=30,mean_genes=10,seed=9"
    scdata.build_shards(new, out, scratch=str(scratch))
    scdata.build_shards(new, tmp_path / "fresh")
    assert tree(out) == tree(tmp_path / "fresh")
    assert list(scratch.iterdir()) == []


def test_overwrite_goes_on_with_an_unfinished_build_of_the_same_command(tmp_path):
    config = BuildConfig(sources=(SOURCE,), out=str(tmp_path / "set"), overwrite=True)
    config.build_path.mkdir(parents=True)
    (config.build_path / LOCK).touch()
    plan_build(config, Progress())
    before = (config.build_path / "plan.json").stat().st_mtime_ns
    plan_build(config, Progress())
    assert (config.build_path / "plan.json").stat().st_mtime_ns == before
