"""Masked diffusion: its baselines, worked out again and slowly, its untrained model, and the sampler."""

import math
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import scdata
from scdata.objectives import MaskedDiffusion
from tests.recipes.conftest import CASES, lines_of, run

torch = pytest.importorskip("torch")
CASE = next(case for case in CASES if case.name == "masked_diffusion")
Batches = list[dict[str, Any]]


@pytest.fixture
def recipe(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("masked_diffusion/train")


@pytest.fixture
def own(recipe: ModuleType) -> Any:
    table = tomllib.loads((recipe.HERE / "config.toml").read_text())
    table |= {"sizes": {"micro": CASE.shape}, "size": "micro", "conditions": tuple(table["conditions"])}
    return recipe.LingshuCell(recipe.Config(**table))


@pytest.fixture
def preset(recipe: ModuleType, tmp_path: Path) -> str:
    """Of 40 genes, so that slow ways are quick enough."""
    path = tmp_path / "few-genes.toml"
    path.write_text((recipe.HERE / "variable-genes.toml").read_text().replace("n = 1024", "n = 40"))
    return str(path)


@pytest.fixture
def train(own: Any, counts_set: Path, preset: str, recipe: ModuleType) -> Any:
    options = {"objective": None, "output": "dense", "shuffle": False}
    return sys.modules["common.data"].open_split(str(counts_set), "train", own, preset, **options)


@pytest.fixture
def batches(own: Any, counts_set: Path, preset: str) -> Batches:
    options = {"shuffle": False, "batch_size": 16, "output": "dense", "columns": ["condition"]}
    val = scdata.ShardDataset(counts_set, split="val", tokenizer=preset, objective=MaskedDiffusion(), **options)
    return [batch for _, batch in zip(range(2), val, strict=False)]


def test_baselines_equal_slow_ones(own: Any, train: Any, batches: Batches) -> None:
    lowest = [*range(100), *range(100, 1000, 10), *range(1000, 10000, 100), 10000]
    cells = [
        (row.tolist(), int(code))
        for batch in train
        for row, code in zip(batch["values"], batch["condition"], strict=True)
    ]
    n_levels = len(lowest)
    of_gene = defaultdict(Counter)
    for levels, _ in cells:
        for gene, level in enumerate(levels):
            of_gene[gene][level] += 1
    everywhere = sum(of_gene.values(), Counter())

    def overall(level: int) -> float:
        return (everywhere[level] + len(everywhere) / n_levels) / (everywhere.total() + len(everywhere))

    def share(there: Counter[int], level: int, base: float) -> float:
        return (there[level] + len(there) * base) / (there.total() + len(there)) if there else base

    def marginal(gene: int, level: int) -> float:
        return share(of_gene[gene], level, overall(level))

    mean = [sum(marginal(gene, level) * count for level, count in enumerate(lowest)) for gene in of_gene]

    def depth(levels: list[int], visible: list[bool]) -> int:
        seen = sum(lowest[level] for level, there in zip(levels, visible, strict=True) if there)
        expected = sum(own_mean for own_mean, there in zip(mean, visible, strict=True) if there)
        return max(-4, min(4, round(2 * math.log2((seen + 10) / (expected + 10)))))

    by_depth, by_condition = defaultdict(Counter), defaultdict(Counter)
    for levels, code in cells:
        group = depth(levels, [True] * len(levels))
        for gene, level in enumerate(levels):
            by_depth[group, gene][level] += 1
            by_condition[group, code, gene][level] += 1
    losses = defaultdict(list)
    for batch in batches:
        for row in range(len(batch["cell_id"])):
            levels, masked = batch["values"][row].tolist(), batch["masked"][row].tolist()
            group, code = depth(levels, [not hidden for hidden in masked]), int(batch["condition"][row])
            for gene, (level, hidden) in enumerate(zip(levels, masked, strict=True)):
                if hidden:
                    base = marginal(gene, level)
                    losses["global_marginal"].append(-math.log(overall(level)))
                    losses["gene_marginal"].append(-math.log(base))
                    losses["gene_marginal_of_depth"].append(-math.log(share(by_depth[group, gene], level, base)))
                    both = share(by_condition[group, code, gene], level, base)
                    losses["gene_marginal_of_depth_and_condition"].append(-math.log(both))
    expected = {name: np.mean(found) for name, found in losses.items()}
    marginals = own.fit(train)
    model = own.build(train, marginals)
    judge = sys.modules["common.judge"].judge
    found = judge(batches, model, own.baselines(marginals, model), own.n_scored, torch.device("cpu"))
    assert found.baselines == pytest.approx(expected, rel=1e-5)
    assert found.model == pytest.approx(expected["gene_marginal"], rel=1e-5)  # untrained
    assert expected["gene_marginal"] < expected["global_marginal"]


def test_hidden_levels_are_not_seen(own: Any, train: Any, batches: Batches) -> None:
    torch.manual_seed(0)
    model = own.build(train, own.fit(train)).eval()
    torch.nn.init.normal_(model.head.weight, std=0.3)
    first = batches[0]
    row, gene = first["masked"].nonzero(as_tuple=True)
    assert (first["masked_values"][row, gene] == 281).all()
    other = dict(first, masked_values=first["masked_values"].masked_fill(first["masked"], 400))
    torch.testing.assert_close(model(first), model(other))
    visible = (~first["masked"][0]).nonzero()[0, 0]
    other = dict(first, masked_values=first["masked_values"].clone())
    other["masked_values"][0, visible] += 3
    assert model(first)["masked"] != model(other)["masked"]


def test_conditions(own: Any, train: Any, batches: Batches) -> None:
    """Hidden in training for about the share asked for, never when judged; null has an id of its own."""
    model = own.build(train, own.fit(train))
    n = 20_000
    times = torch.rand(n, generator=torch.Generator().manual_seed(0))
    batch = {"values": torch.zeros(n, 1), "condition": torch.full((n,), -1), "diffusion_time": times}
    batch["condition"][::2] = 1
    assert model.categories == {"condition": ["IFN-beta", "control"]}
    judged, trained = model.eval().conditions(batch)[:, 0], model.train().conditions(batch)[:, 0]
    assert judged[:4].tolist() == [1, 2, 1, 2]
    assert set(trained.tolist()) == {1, 2, 3}
    for part in (times < 0.3, times > 0.7):
        assert (trained == 3)[part].double().mean() == pytest.approx(0.1, abs=0.015)
    torch.testing.assert_close(model.embed(batches[0]), model.embed(dict(batches[0], condition=torch.zeros(16) - 1)))


@pytest.fixture
def sampler(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("masked_diffusion/sample")


def test_revealed_levels_stay(sampler: ModuleType) -> None:
    """Also those that were there from the start; every step asks only for what is still hidden."""
    start = torch.full((5, 30), 4)
    start[:, 7] = 2
    asked = []

    def logits(levels: Any, row: Any, gene: Any) -> Any:
        assert (levels[row, gene] == 4).all()
        asked.append(len(row))
        return torch.zeros(len(row), 4)

    steps = list(sampler.denoise(logits, start, 4, 10, torch.Generator().manual_seed(0)))
    assert len(steps) == 10
    assert (start == 4).sum() == 145
    before = start
    for levels in steps:
        shown = before < 4
        assert torch.equal(levels[shown], before[shown])
        before = levels
    assert (steps[-1] < 4).all()
    assert (steps[-1][:, 7] == 2).all()
    assert sum(asked) == 145
    assert max(asked) < 40  # about 14.5 a step


def test_sampled_shares_are_the_models(sampler: ModuleType) -> None:
    """Two genes that are always equal come out equal, each level as often as it should."""

    def logits(levels: Any, row: Any, gene: Any) -> Any:
        other = levels[row, 1 - gene]
        known = torch.full((len(row), 3), -1e9)
        known[torch.arange(len(row)), other.clamp(max=2)] = 0
        return torch.where((other < 3)[:, None], known, torch.tensor([0.5, 0.3, 0.2]).log())

    generator = torch.Generator().manual_seed(0)
    *_, drawn = sampler.denoise(logits, torch.full((4000, 2), 3), 3, 400, generator)
    assert (drawn[:, 0] == drawn[:, 1]).double().mean() > 0.99  # both in one step: rarely
    assert torch.bincount(drawn[:, 0]) / 4000 == pytest.approx(torch.tensor([0.5, 0.3, 0.2]), abs=0.03)


def test_guidance(sampler: ModuleType, own: Any, train: Any) -> None:
    torch.manual_seed(0)
    model = own.build(train, own.fit(train)).eval()
    torch.nn.init.normal_(model.head.weight, std=0.3)
    torch.nn.init.normal_(model.condition[0].weight)
    levels = torch.full((2, 40), model.n_levels)
    row, gene = (levels == model.n_levels).nonzero(as_tuple=True)
    conditions = torch.tensor([[0], [1]])
    free, given, twice = (sampler.guided(model, conditions, w)(levels, row, gene) for w in (-1, 0, 1))
    torch.testing.assert_close(free, model.logits(levels, model.hidden_conditions(2), row, gene))
    torch.testing.assert_close(given, model.logits(levels, conditions, row, gene))
    torch.testing.assert_close(twice, free + 2 * (given - free))
    torch.testing.assert_close(free[:40], free[40:])
    assert not torch.allclose(given[:40], given[40:])


def test_cells_are_drawn_and_compared(
    sampler: ModuleType,
    counts_set: Path,
    command_of: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    anndata = pytest.importorskip("anndata")
    pytest.importorskip("sklearn")
    lines_of(subprocess.run(command_of(CASE, tmp_path / "run", "--max-steps", 2), capture_output=True, text=True))
    checkpoint, out = max((tmp_path / "run").glob("checkpoint-*.pt")), tmp_path / "cells.h5ad"
    arguments = ["--checkpoint", checkpoint, "--set", counts_set, "-n", 30, "--steps", 4, "-o", out]
    wanted = ["--condition", "condition=IFN-beta", "--keep", "ISG15=104", "--guidance", 1.5, "--compare"]
    assert run(sampler, monkeypatch, *arguments, *wanted) is None
    printed = capsys.readouterr().out
    assert "other real cells" in printed
    assert "each gene on its own" in printed
    cells = anndata.read_h5ad(out)
    assert cells.shape == (30, 1024)
    assert set(cells.obs["condition"]) == {"IFN-beta"}
    assert set(cells[:, cells.var["symbol"] == "ISG15"].X.toarray().ravel()) == {100}  # the start of its level
    for bad, message in (
        (["--condition", "condition=IFN"], "no value 'IFN': did you mean 'IFN-beta'? Known: IFN-beta, control"),
        (["--condition", "tissue=blood"], "learned no condition 'tissue'"),
        (["--keep", "NOGENE=1"], "'NOGENE' is none of the model's 1,024 genes"),
        (["--keep", "ISG15=-1"], "'-1' is no count"),
        (["--steps", 0], "steps = 0: at least 1"),
    ):
        assert message in run(sampler, monkeypatch, *arguments, *bad)


def test_bad_input(
    recipe: ModuleType,
    counts_set: Path,
    config_of: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for changes, message in (
        ({"conditions": ["donor"]}, "no obs column 'donor': Known: condition, "),
        ({"conditions": ["total_counts"]}, "'total_counts' is a column of numbers, and a condition is one of strings"),
        ({"context_length": 500}, "gives 1,024 genes, over context_length = 500: raise it, or choose fewer"),
        ({"condition_dropout": 1.0}, "condition_dropout = 1.0: expected a number from 0 and below 1"),
        (
            {"preset": "scgpt"},
            "gives quantile, and this recipe learns from levels: use lingshu-cell, variable-genes.toml",
        ),
    ):
        path = config_of(CASE, **changes)
        assert message in run(recipe, monkeypatch, "--set", counts_set, "--out", tmp_path / "out", "--config", path)
    unfitted = tmp_path / "unfitted.set"
    scdata.build_shards("synthetic:cells=200,genes=60", unfitted, splits=["val=0.2"])
    stop = run(recipe, monkeypatch, "--set", unfitted, "--out", tmp_path / "out", "--config", config_of(CASE))
    assert f"run `scdata fit {unfitted}` once" in stop


def test_conditions_are_those_of_the_checkpoint(own: Any, train: Any) -> None:
    """Whatever another set has in its columns."""
    marginals = own.fit(train)
    model = own.build(train, marginals)
    model.categories = {"condition": ["IFN-beta", "control", "IL-6"]}
    model.condition[0] = torch.nn.Embedding(5, CASE.shape["width"])
    again = own.rebuild(train, {"marginals": marginals, "model": model.state_dict()})
    again.load_state_dict(model.state_dict())
    assert again.categories == model.categories
    assert again.hidden_conditions(1).tolist() == [[4]]
