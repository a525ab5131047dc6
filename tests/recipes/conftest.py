"""Recipes as users run them: scripts by their path, on the demo's cells, a few steps of a very small model."""

import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import scdata
from scdata.resources import resource

torch = pytest.importorskip("torch")


@dataclasses.dataclass(frozen=True)
class Case:
    """A recipe as the tests run it.

    Parameters
    ----------
    name
        Its folder.
    preset
        ``--preset``; None: the config's.
    shape
        A model of next to no size.
    config
        Keys that differ from the tests' own (`CONFIG`).
    overfit
        Share of the best baseline's loss that a model which learns one batch by heart must come below, and steps it may take.
    """

    name: str
    preset: str | None
    shape: dict[str, int]
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    overfit: tuple[float, int] = (0.1, 400)

    def __str__(self) -> str:
        return f"{self.name}-{self.preset}" if self.preset else self.name


# what differs from the configs that people use
CONFIG: dict[str, Any] = {
    "context_length": 48,
    "batch_size": 16,
    "steps": 24,
    "learning_rate": 5e-3,
    "warmup_steps": 5,
    "eval_every": 8,
    "eval_batches": 3,
    "checkpoint_every": 6,
}
MICRO = {"width": 8, "layers": 1, "heads": 2}
READ_DEPTH = {**MICRO, "decoder_width": 8, "decoder_layers": 1, "decoder_heads": 2}
CASES = [
    Case("masked_gene_modelling", None, MICRO, {"second_pass_after": 10}),
    Case("masked_gene_modelling", "geneformer-v2", MICRO),
    Case("joint_embedding", None, MICRO, {"momentum": 0.9}),
    Case("autoregressive", None, MICRO, {"context_length": 96}, overfit=(0.3, 400)),
    Case("masked_diffusion", None, {**MICRO, "patch": 64, "gene_width": 8}, {"context_length": 2000}),
    Case("read_depth", None, READ_DEPTH, overfit=(0.2, 150)),
]


@pytest.fixture(scope="session")
def counts_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's cells as counts, a tenth of them to judge by, with fitted statistics."""
    out = tmp_path_factory.mktemp("recipe") / "counts.set"
    scdata.build_shards(resource("demo/demo_pbmc_ifnb_1k.h5ad"), out, splits=["val=0.1"], block_size=128)
    scdata.fit_set(out)
    return out


@pytest.fixture(scope="session")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy away from the checkout, as in a wheel: `common` must be found beside a recipe."""
    folder = tmp_path_factory.mktemp("installed") / "recipes"
    shutil.copytree(resource("recipes"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def toml(value: Any) -> str:
    """A value as TOML; JSON but for infinities, which are not used."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


@pytest.fixture(scope="session")
def config_of(recipes: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the config of a case: that of the recipe, made small; `changes` win."""

    def write(case: Case, **changes: Any) -> Path:
        table = tomllib.loads((recipes / case.name / "config.toml").read_text())
        del table["sizes"]
        table |= CONFIG | case.config | changes | {"size": "micro"}
        lines = [f"{key} = {toml(value)}" for key, value in table.items()]
        lines += ["[sizes.micro]", *(f"{key} = {value}" for key, value in case.shape.items())]
        path = tmp_path_factory.mktemp("config") / "micro.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture(scope="session")
def command_of(recipes: Path, counts_set: Path, config_of: Callable[..., Path]) -> Callable[..., list[str]]:
    """The command line of a case."""

    def command(case: Case, out: Path, *arguments: Any, ranks: int = 1, **changes: Any) -> list[str]:
        start = [sys.executable, "-W", "error"]
        if ranks > 1:
            start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        preset = ["--preset", case.preset] if case.preset else []
        options = [
            "--set",
            counts_set,
            "--out",
            out,
            "--config",
            config_of(case, **changes),
            *preset,
            "--json",
            *arguments,
        ]
        return [*start, str(recipes / case.name / "train.py"), *map(str, options)]

    return command


@pytest.fixture(scope="session")
def checkpoint_of(
    command_of: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Case], Path]:
    """The checkpoint of a case after two steps, trained once."""

    @lru_cache
    def trained(name: str) -> Path:
        case, out = next(case for case in CASES if str(case) == name), tmp_path_factory.mktemp("two_steps") / "run"
        lines_of(subprocess.run(command_of(case, out, "--max-steps", 2), capture_output=True, text=True))
        return max(out.glob("checkpoint-*.pt"))

    return lambda case: trained(str(case))


def lines_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def losses(out: Path) -> list[tuple[int, float]]:
    """Steps and losses of a run's log."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


@pytest.fixture
def load(recipes: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script of the recipes, by its path below them, into this process."""
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    random = torch.get_rng_state()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = set(sys.modules)

    def script(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location("recipe_" + name.replace("/", "_"), recipes / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    yield script
    for name in set(sys.modules) - before:
        if name == "common" or name.startswith(("common.", "recipe_")):
            sys.modules.pop(name, None)
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)
    torch.set_rng_state(random)


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> Any:
    """Exit status of a script's main in this process: None, or the message."""
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
    try:
        if hasattr(module, "STYLES"):
            module.main(module.__doc__, module.HERE, module.Config, module.STYLES)
        else:
            module.main()
    except SystemExit as stop:
        return stop.code
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two ranks and the batch that is learned by heart are for the slow suite, but for the first recipe: minutes in all."""
    for item in items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        named = item.name.startswith(("test_two_ranks_equal_one[", "test_one_batch_is_learned_by_heart["))
        if named and case in CASES[1:]:
            item.add_marker(pytest.mark.slow)
