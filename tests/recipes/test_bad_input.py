"""What recipes say of configs, sets and checkpoints that they cannot use."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import scdata
from tests.recipes.conftest import CASES, run

torch = pytest.importorskip("torch")
CASE = CASES[0]
Config = Callable[..., Path]


@pytest.fixture
def recipe(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("masked_gene_modelling/train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("batch_size", "batchsize"), "unknown key 'batchsize': did you mean 'batch_size'?"),
        (("masked = 0.15", "masked = 1.4"), "masked = 1.4: expected a number between 0 and 1"),
        (("generated = [0.25", "generated = [0.0"), "generated = 0.0: expected a number between 0 and 1"),
        (("threads = 1\n", ""), "key 'threads' is missing"),
        (("batch_size = 16", 'batch_size = "16"'), "batch_size = '16': expected int"),
        (("batch_size = 16", "batch_size = 0"), "batch_size = 0: expected at least 1"),
        (("accumulate = 1", "accumulate = 3"), "batch_size 16 is no multiple of accumulate = 3"),
        (("dropout = 0.0", "dropout = 1.0"), "dropout = 1.0: expected a number from 0"),
        (("width = 8", "widht = 8"), "[sizes.micro]: unknown key 'widht': did you mean 'width'?"),
        (("heads = 2", "heads = 3"), "width 8 is no multiple of 3 heads"),
        (("layers = 1", ""), "layers = None: expected a whole number above 0"),
        (('"cpu"', '"tpu"'), "device = 'tpu': expected 'cpu'"),
        (('"scgpt+fit"', '"counts"'), "gives counts, and this recipe learns from rank or quantile: use scgpt+fit"),
        (('"scgpt+fit"', '"scgtp"'), "cannot be made of them"),
        (("batch_size =", "batch_size"), "not a TOML file"),
    ],
)
def test_bad_config(
    recipe: ModuleType,
    counts_set: Path,
    config_of: Config,
    tmp_path: Path,
    change: tuple[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "bad.toml"
    text = config_of(CASE).read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    stop = run(recipe, monkeypatch, "--set", counts_set, "--out", tmp_path / "out", "--config", path)
    assert message in stop
    assert not (tmp_path / "out").exists()


def test_unknown_size(recipe: ModuleType, counts_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = run(recipe, monkeypatch, "--set", counts_set, "--out", tmp_path / "out", "--size", "smal")
    assert "unknown size 'smal': did you mean 'small'? Known: tiny, mini, small" in stop


def test_story(
    recipe: ModuleType,
    counts_set: Path,
    config_of: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--set", counts_set, "--out", tmp_path / "out", "--config", config_of(CASE)]
    assert run(recipe, monkeypatch, *arguments, "--max-minutes", 0) is None
    text = capsys.readouterr().out
    assert "Without a model, loss in bins^2: global mean" in text
    assert "After 0 steps" in text
    assert "not beaten" in text
    assert "holds a run already" in run(recipe, monkeypatch, *arguments)
    assert "seed was 0 and is 3" in run(recipe, monkeypatch, *arguments, "--resume", "--seed", 3)
    assert "steps was 24 and is 9" in run(recipe, monkeypatch, *arguments, "--resume", "--max-steps", 9)
    wrong = run(recipe, monkeypatch, *arguments, "--resume", "--preset", "geneformer-v2")
    assert "preset was 'scgpt+fit' and is 'geneformer-v2+fit'" in wrong
    capsys.readouterr()
    assert run(recipe, monkeypatch, *arguments, "--resume", "--json", "--max-minutes", 1e-9) is None
    assert all(json.loads(line) for line in capsys.readouterr().out.splitlines())
    other = tmp_path / "other.set"
    scdata.build_shards("synthetic:cells=200,genes=60", other, splits=["val=0.2"])
    assert "set (sha256 of its manifest) was" in run(recipe, monkeypatch, "--set", other, *arguments[2:], "--resume")
    newest = sorted((tmp_path / "out").glob("checkpoint-*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[:5000])
    assert "is damaged" in run(recipe, monkeypatch, *arguments, "--resume")


def test_resume_without_checkpoint(
    recipe: ModuleType, counts_set: Path, config_of: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--set", counts_set, "--out", tmp_path / "new", "--config", config_of(CASE), "--resume"]
    assert "no checkpoint to resume from" in run(recipe, monkeypatch, *arguments)


def test_set_without_val(
    recipe: ModuleType, tmp_path: Path, config_of: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    scdata.build_shards("synthetic:cells=100,genes=50", tmp_path / "all.set")
    arguments = ["--set", tmp_path / "all.set", "--out", tmp_path / "out", "--config", config_of(CASE)]
    stop = run(recipe, monkeypatch, *arguments)
    assert "no split 'val'" in stop
    assert "--split val=0.1" in stop


def test_fewer_cells_than_a_batch(
    recipe: ModuleType, tmp_path: Path, config_of: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = tmp_path / "few.set"
    scdata.build_shards("synthetic:cells=12,genes=50", few, splits=["val=0.5"])
    stop = run(recipe, monkeypatch, "--set", few, "--out", tmp_path / "out", "--config", config_of(CASE))
    assert "less than a batch of 16: lower batch_size" in stop


def test_set_of_other_tokens(
    recipe: ModuleType, tmp_path: Path, config_of: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "levels.set"
    scdata.build_shards("synthetic:cells=100,genes=50", out, tokenizer="depth-bins", assets="fit", splits=["val=0.2"])
    stop = run(recipe, monkeypatch, "--set", out, "--out", tmp_path / "out", "--config", config_of(CASE))
    assert "cannot be made of them" in stop
    assert "presets scgpt+fit" in stop


@pytest.mark.parametrize("tokenizer", ["scgpt", "geneformer-v2"])
def test_set_with_tokens_of_its_own(
    recipe: ModuleType,
    tmp_path: Path,
    config_of: Config,
    tokenizer: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The set's tokens win over the config's."""
    out = tmp_path / "own.set"
    scdata.build_shards("synthetic:cells=100,genes=50", out, tokenizer=tokenizer, assets="fit", splits=["val=0.2"])
    arguments = ["--set", out, "--out", tmp_path / "out", "--config", config_of(CASE, preset="counts"), "--json"]
    assert run(recipe, monkeypatch, *arguments, "--max-steps", 2) is None
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["preset"], last["steps"]) == (f"{tokenizer}+fit", 2)


def test_loss_that_is_no_number(
    recipe: ModuleType, counts_set: Path, config_of: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last checkpoint stays, and the file names the batch."""
    path = config_of(CASE, learning_rate=1e30, clip_norm=1e30, warmup_steps=0)
    stop = run(recipe, monkeypatch, "--set", counts_set, "--out", tmp_path / "out", "--config", path)
    assert "the loss of step" in stop
    assert "Lower learning_rate" in stop
    told: dict[str, Any] = json.loads((tmp_path / "out" / "nonfinite.json").read_text())
    data = scdata.ShardDataset(counts_set, tokenizer="scgpt+fit", batch_size=16, context_length=48, drop_last=True)
    data.load_state_dict(told["state"])
    assert told["state"]["position"] == 16 * (told["step"] - 1)
    assert next(iter(data))["state"]["position"] == 16 * told["step"]
    assert torch.load(max((tmp_path / "out").glob("checkpoint-*.pt")), weights_only=True)["step"] < told["step"]


def test_a_loss_never_stands_alone(load: Callable[[str], ModuleType], recipe: ModuleType) -> None:
    import sys

    with pytest.raises(ValueError, match="give at least one"):
        sys.modules["common.report"].comparison(1.0, {})
    with pytest.raises(ValueError, match="give at least one"):
        sys.modules["common.judge"].judge([], torch.nn.Linear(1, 1), {}, lambda batch: {}, torch.device("cpu"))
