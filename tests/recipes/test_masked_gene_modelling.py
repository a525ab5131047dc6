"""The recipe as users run it: a script by its path, on the demo's cells, a few steps of a very small model."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import scdata
from scdata.objectives import MaskedValues
from scdata.resources import resource

torch = pytest.importorskip("torch")

CONFIG = """
tokenizer = "scgpt+fit"
context_length = 48
mask_fraction = 0.4
size = "micro"
batch_size = 16
steps = 70
learning_rate = 5e-3
warmup_steps = 5
weight_decay = 0.01
clip_norm = 1.0
eval_every = 20
eval_batches = 3
checkpoint_every = 6
device = "cpu"
threads = 1
[sizes.micro]
width = 8
layers = 1
heads = 2
"""
KEYS = {"recipe", "preset", "n_params", "steps", "val_loss", "baselines", "unit", "seconds", "loader_share"}


@pytest.fixture(scope="session")
def counts_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("recipe") / "counts.set"
    scdata.build_shards(resource("demo/demo_pbmc_ifnb_1k.h5ad"), out, splits=["val=0.1"], block_size=128)
    return out


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy away from the checkout, as in a wheel: `common` must be found beside the recipe."""
    folder = tmp_path_factory.mktemp("installed") / "recipes"
    shutil.copytree(resource("recipes"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "masked_gene_modelling" / "train.py"


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "micro.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="session")
def whole(counts_set: Path, script: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that nobody stops: its lines of output, and its folder."""
    out = tmp_path_factory.mktemp("run") / "whole"
    command = [sys.executable, "-W", "error", script, "--set", counts_set, "--out", out, "--config", config, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    return {"lines": [json.loads(line) for line in done.stdout.splitlines()], "out": out}


def losses(out: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


# -- what it says ------------------------------------------------------------


def test_last_line_is_the_result(whole: dict[str, Any]) -> None:
    last = whole["lines"][-1]
    assert set(last) == KEYS
    assert (last["recipe"], last["preset"], last["unit"]) == ("masked_gene_modelling", "scgpt+fit", "bins^2")
    assert list(last["baselines"]) == ["global_mean", "gene_mean", "shifted_gene_mean"]
    assert last["steps"] == 70
    assert last["seconds"] > 0
    assert 0 <= last["loader_share"] <= 1
    assert last["val_loss"] < last["baselines"]["gene_mean"]


def test_log_and_curve(whole: dict[str, Any]) -> None:
    assert [step for step, _ in losses(whole["out"])] == list(range(1, 71))
    assert (whole["out"] / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(whole["out"].glob("checkpoint-*.pt"))) == 2


def test_untrained_model_is_the_gene_mean(whole: dict[str, Any]) -> None:
    first = json.loads((whole["out"] / "log.jsonl").read_text().splitlines()[0])
    assert first["step"] == 0
    assert first["val_loss"] == pytest.approx(whole["lines"][-1]["baselines"]["gene_mean"], rel=1e-6)


# -- the trivial predictors, again and slowly --------------------------------


def test_baselines_equal_slow_ones(whole: dict[str, Any], counts_set: Path) -> None:
    seen = defaultdict(list)
    train = scdata.ShardDataset(
        counts_set, tokenizer="scgpt+fit", output="packed", context_length=20_000, shuffle=False
    )
    specials = set(train.vocab.specials.values())
    for batch in train:
        for token, value in zip(batch["token_ids"].tolist(), batch["values"].tolist(), strict=True):
            if token not in specials:
                seen[token].append(value)
    everywhere = np.concatenate([np.array(values) for values in seen.values()]).mean()
    mean = {token: np.mean(values) for token, values in seen.items()}

    objective = MaskedValues(rate=0.4, mask_value=-1)
    options = {"context_length": 48, "batch_size": 16, "shuffle": False, "objective": objective}
    val = scdata.ShardDataset(counts_set, split="val", tokenizer="scgpt+fit", **options)
    errors = defaultdict(list)
    for _, batch in zip(range(3), val, strict=False):
        for row, n in enumerate(batch["n_tokens"].tolist()):
            cell = zip(*(batch[key][row, :n].tolist() for key in ("token_ids", "values", "masked")), strict=True)
            genes = [(value, mean.get(token, everywhere), hide) for token, value, hide in cell if token not in specials]
            above = [value - m for value, m, hide in genes if not hide]
            for value, m, hide in genes:
                if hide:
                    errors["global_mean"].append((value - everywhere) ** 2)
                    errors["gene_mean"].append((value - m) ** 2)
                    errors["shifted_gene_mean"].append((value - m - np.mean(above)) ** 2)
    expected = {name: np.mean(values) for name, values in errors.items()}
    assert whole["lines"][-1]["baselines"] == pytest.approx(expected, rel=1e-5)


# -- resuming ----------------------------------------------------------------


def test_resume_after_kill_is_exact(
    whole: dict[str, Any], counts_set: Path, script: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-W", "error", script, "--set", counts_set, "--out", out, "--config", config, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if json.loads(line).get("step") == 33:  # between two checkpoints
                os.kill(child.pid, signal.SIGKILL)
                break
    assert child.returncode == -signal.SIGKILL
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert 30 <= lines[0]["step"] < 70
    assert losses(out) == losses(whole["out"])
    assert (out / "log.jsonl").read_bytes() == (whole["out"] / "log.jsonl").read_bytes()
    assert lines[-1]["val_loss"] == whole["lines"][-1]["val_loss"]
    assert lines[-1]["baselines"] == whole["lines"][-1]["baselines"]


# -- in this process, for speed ----------------------------------------------


@pytest.fixture
def recipe(script: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    random = torch.get_rng_state()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    spec = importlib.util.spec_from_file_location("masked_gene_modelling_train", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    yield module
    for name in [name for name in sys.modules if name == "common" or name.startswith("common.")]:
        del sys.modules[name]
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)
    torch.set_rng_state(random)


def run(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> Any:
    """Exit status: None, or the message."""
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
    try:
        recipe.main()
    except SystemExit as stop:
        return stop.code
    return None


def test_story(
    recipe: ModuleType,
    counts_set: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--set", counts_set, "--out", tmp_path / "out", "--config", config]
    assert run(recipe, monkeypatch, *arguments, "--max-minutes", 0) is None
    text = capsys.readouterr().out
    assert "Untrained, it is the mean of each gene" in text
    assert "After 0 steps" in text
    assert "not beaten" in text
    assert "holds a run already" in run(recipe, monkeypatch, *arguments)
    assert "seed was 0 and is 3" in run(recipe, monkeypatch, *arguments, "--resume", "--seed", 3)
    assert "steps was 70 and is 9" in run(recipe, monkeypatch, *arguments, "--resume", "--max-steps", 9)
    capsys.readouterr()
    assert run(recipe, monkeypatch, *arguments, "--resume", "--json", "--max-minutes", 1e-9) is None
    assert all(json.loads(line) for line in capsys.readouterr().out.splitlines())


def test_resume_with_another_set(
    recipe: ModuleType, counts_set: Path, whole: dict[str, Any], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = counts_set.with_name("other.set")
    scdata.build_shards("synthetic:cells=200,genes=60", other, splits=["val=0.2"])
    arguments = ["--set", other, "--out", whole["out"], "--config", config, "--resume"]
    assert "set (sha256 of its manifest) was" in run(recipe, monkeypatch, *arguments)


def test_resume_without_checkpoint(
    recipe: ModuleType, counts_set: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--set", counts_set, "--out", tmp_path / "new", "--config", config, "--resume"]
    assert "no checkpoint to resume from" in run(recipe, monkeypatch, *arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("batch_size", "batchsize"), "unknown key 'batchsize': did you mean 'batch_size'?"),
        (("mask_fraction = 0.4", "mask_fraction = 1.4"), "mask_fraction = 1.4: expected a number between 0 and 1"),
        (("threads = 1\n", ""), "key 'threads' is missing"),
        (("batch_size = 16", "batch_size = '16'"), "batch_size = '16': expected int"),
        (("batch_size = 16", "batch_size = 0"), "batch_size = 0: expected at least 1"),
        (("width = 8", "widht = 8"), "[sizes.micro]: unknown key 'widht': did you mean 'width'?"),
        (("heads = 2", "heads = 3"), "width 8 is no multiple of 3 heads"),
        (("layers = 1", ""), "layers = None: expected a whole number above 0"),
        (('"cpu"', '"tpu"'), "device = 'tpu': expected 'cpu'"),
        (('"scgpt+fit"', '"scgpt"'), "which is not part of scdata"),
        (('"scgpt+fit"', '"counts"'), "not quantile bins"),
        (("batch_size =", "batch_size"), "not a TOML file"),
    ],
)
def test_bad_config(
    recipe: ModuleType,
    counts_set: Path,
    tmp_path: Path,
    change: tuple[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(CONFIG.replace(*change))
    stop = run(recipe, monkeypatch, "--set", counts_set, "--out", tmp_path / "out", "--config", path)
    assert message in stop
    assert not (tmp_path / "out").exists()


def test_unknown_size(recipe: ModuleType, counts_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = run(recipe, monkeypatch, "--set", counts_set, "--out", tmp_path / "out", "--size", "smal")
    assert "unknown size 'smal': did you mean 'small'? Known: tiny, small, base" in stop


def test_set_without_val(recipe: ModuleType, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scdata.build_shards("synthetic:cells=100,genes=50", tmp_path / "all.set")
    stop = run(recipe, monkeypatch, "--set", tmp_path / "all.set", "--out", tmp_path / "out", "--config", config)
    assert "no split 'val'" in stop
    assert "--split val=0.1" in stop


def test_set_of_ranks(recipe: ModuleType, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "ranks.set"
    scdata.build_shards(
        "synthetic:cells=100,genes=50", out, tokenizer="geneformer-v2", assets="fit", splits=["val=0.2"]
    )
    stop = run(recipe, monkeypatch, "--set", out, "--out", tmp_path / "out", "--config", config)
    assert "gives no bins that could be hidden (geneformer-v2+fit: rank)" in stop
    assert "--tokenizer counts" in stop


def test_set_with_bins_of_its_own(
    recipe: ModuleType,
    tmp_path: Path,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The set's tokenizer wins over the config's."""
    out = tmp_path / "own.set"
    scdata.build_shards("synthetic:cells=100,genes=50", out, tokenizer="scgpt", assets="fit", splits=["val=0.2"])
    path = tmp_path / "other.toml"
    path.write_text(config.read_text().replace('"scgpt+fit"', '"counts"'))
    arguments = ["--set", out, "--out", tmp_path / "out", "--config", path, "--max-steps", 2, "--json"]
    assert run(recipe, monkeypatch, *arguments) is None
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["preset"], last["steps"]) == ("scgpt+fit", 2)


# -- masks -------------------------------------------------------------------


@pytest.fixture
def bins(recipe: ModuleType, counts_set: Path) -> Callable[..., scdata.ShardDataset]:
    def load(**options: Any) -> scdata.ShardDataset:
        objective = sys.modules["common.masking"].hiding(0.4)
        options = {"split": "val", "tokenizer": "scgpt+fit", "context_length": 48, "objective": objective, **options}
        return scdata.ShardDataset(counts_set, **options)

    return load


def test_genes_are_hidden_or_visible(recipe: ModuleType, bins: Callable[..., scdata.ShardDataset]) -> None:
    data = bins(batch_size=16)
    is_gene = sys.modules["common.data"].gene_tokens(data)
    n_hidden = n_genes = 0
    for batch in data:
        task = sys.modules["common.masking"].asked(batch, is_gene)
        genes = batch["attention_mask"] & (batch["token_ids"] != 1)
        assert torch.equal(task.hidden | task.visible, genes)
        assert not (task.hidden & task.visible).any()
        assert (task.values[task.hidden] == -1).all()
        assert torch.equal(task.values[~task.hidden], task.truth[~task.hidden])
        n_hidden, n_genes = n_hidden + int(task.hidden.sum()), n_genes + int(genes.sum())
    assert n_hidden / n_genes == pytest.approx(0.4, abs=0.03)


def test_padding_changes_nothing(recipe: ModuleType, bins: Callable[..., scdata.ShardDataset]) -> None:
    """A cell's prediction is the same in a wider batch."""
    data, wide = bins(batch_size=4), bins(batch_size=4, pad_to=80)
    is_gene = sys.modules["common.data"].gene_tokens(data)
    means = sys.modules["common.baselines"].Means(torch.rand(len(is_gene)) * 40, 20.0, 4.0)
    model = sys.modules["common.model"].ValueModel(means, width=8, layers=2, heads=2)
    torch.nn.init.normal_(model.head.weight)
    narrow_out, wide_out = (model(sys.modules["common.masking"].asked(next(iter(d)), is_gene)) for d in (data, wide))
    torch.testing.assert_close(narrow_out[:, :48], wide_out[:, :48], rtol=1e-5, atol=1e-4)
