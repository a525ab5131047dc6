"""Joint embedding: its baselines, worked out again and slowly, what the student may see, and collapse, which must show."""

import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import scdata
from scdata.objectives import JointEmbedding
from tests.recipes.conftest import MICRO, run

torch = pytest.importorskip("torch")
Batches = list[dict[str, Any]]


@pytest.fixture
def recipe(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("joint_embedding/train")


@pytest.fixture
def own(recipe: ModuleType) -> Any:
    table = tomllib.loads((recipe.HERE / "config.toml").read_text())
    table |= {"context_length": 48, "sizes": {"micro": MICRO}, "size": "micro"}
    return recipe.CellJEPA(recipe.Config(**table))


@pytest.fixture
def marginals(own: Any, counts_set: Path) -> dict[str, Any]:
    return own.fit(scdata.ShardDataset(counts_set, tokenizer="cell-jepa+fit", output="packed", shuffle=False))


@pytest.fixture
def model(own: Any, marginals: dict[str, Any], counts_set: Path) -> Any:
    torch.manual_seed(0)
    return own.build(scdata.ShardDataset(counts_set, tokenizer="cell-jepa+fit"), marginals).eval()


@pytest.fixture
def batches(counts_set: Path) -> Batches:
    options = {"context_length": 48, "batch_size": 16, "shuffle": False, "objective": JointEmbedding(rate=0.15)}
    val = scdata.ShardDataset(counts_set, split="val", tokenizer="cell-jepa+fit", **options)
    return [batch for _, batch in zip(range(3), val, strict=False)]


def judged(own: Any, model: Any, marginals: dict[str, Any], batches: Batches) -> Any:
    model.before_judging(batches)
    baselines, others = own.baselines(marginals, model), own.other_baselines(marginals, model)
    return sys.modules["common.judge"].judge(batches, model, baselines, own.n_scored, torch.device("cpu"), others)


def test_baselines_equal_slow_ones(own: Any, model: Any, marginals: dict[str, Any], batches: Batches) -> None:
    mean = marginals["mean"].numpy().astype(float)
    special = set(range(model.student.is_gene.numel())) - set(model.student.is_gene.nonzero()[:, 0].tolist())
    errors, rows = defaultdict(list), []
    for batch in batches:
        for row in range(len(batch["cell_id"])):
            cells = zip(*(batch[key][row].tolist() for key in ("token_ids", "values", "masked")), strict=True)
            there = batch["attention_mask"][row].tolist()
            genes = [gene for gene, is_there in zip(cells, there, strict=True) if is_there and gene[0] not in special]
            shift = np.mean([value - mean[token] for token, value, masked in genes if not masked])
            for token, value, masked in genes:
                if masked:
                    errors["gene_mean"].append((value - mean[token]) ** 2)
                    errors["shifted_gene_mean"].append((value - mean[token] - shift) ** 2)
        rows.append(model.embed(batch).double().numpy())
    cells = np.concatenate(rows)
    unit = cells / np.linalg.norm(cells, axis=1, keepdims=True)
    direction = unit.mean(0) / np.linalg.norm(unit.mean(0))
    found = judged(own, model, marginals, batches)
    assert found.baselines == {"constant": pytest.approx(np.mean(1 - unit @ direction), rel=1e-4)}
    assert found.others["bins"] == pytest.approx({key: np.mean(value) for key, value in errors.items()}, rel=1e-5)
    assert found.terms["bins"] == pytest.approx(found.others["bins"]["gene_mean"], rel=1e-6)  # untrained
    # no constant is nearer to the judged cells
    nearby = direction + 0.05 * np.random.default_rng(0).standard_normal((50, len(direction)))
    others = 1 - unit @ (nearby / np.linalg.norm(nearby, axis=1, keepdims=True)).T
    assert found.baselines["constant"] < others.mean(0).min()
    centred = cells - cells.mean(0)
    singular = np.linalg.svd(centred, compute_uv=False)
    shares = singular[singular > 1e-9] / singular.sum()
    expected = {"teacher_rank": np.exp(-(shares * np.log(shares)).sum()), "teacher_variance": centred.var(0).mean()}
    assert found.watched == pytest.approx(expected, rel=1e-3)


def test_collapse_is_level_with_the_constant(own: Any, model: Any, marginals: dict[str, Any], batches: Batches) -> None:
    """Student and teacher that give all cells one embedding agree wholly, and so does the constant: nothing is beaten."""
    with torch.no_grad():
        for encoder in (model.student, model.teacher):
            encoder.last_norm.weight.zero_()
            encoder.last_norm.bias.copy_(torch.arange(1.0, 9.0))
        model.predictor[-1].weight.zero_()
        model.predictor[-1].bias.copy_(model.teacher.last_norm.bias)
    found = judged(own, model, marginals, batches)
    assert found.model == pytest.approx(0, abs=1e-9)
    assert found.baselines["constant"] == pytest.approx(0, abs=1e-9)
    assert found.watched == {"teacher_rank": 0.0, "teacher_variance": 0.0}
    told = sys.modules["common.report"].comparison(found.model, found.baselines)
    assert "not beaten, level with it" in told[1]


def test_student_does_not_see_what_is_hidden(model: Any, batches: Batches) -> None:
    first = batches[0]
    torch.nn.init.normal_(model.head.weight, std=0.3)
    changed = dict(first, masked_values=torch.where(first["masked"], 37, first["masked_values"]))
    torch.testing.assert_close(model(first), model(changed))
    # nor do hidden genes see each other: another gene at one hidden place changes no other token
    row = 0
    places = first["masked"][row].nonzero()[:, 0]
    assert len(places) > 1
    ids = first["token_ids"].clone()
    ids[row, places[0]] = ids[row, places[1]]
    before, after = (
        model.student(tokens, first["masked_values"], first["attention_mask"], first["masked"])
        for tokens in (first["token_ids"], ids)
    )
    others = torch.arange(before.shape[1]) != places[0]
    torch.testing.assert_close(before[row, others], after[row, others])
    assert not torch.allclose(before[row, places[0]], after[row, places[0]])


def test_teacher_is_the_moving_average(own: Any, model: Any, batches: Batches) -> None:
    assert own.config.momentum == 0.996
    before = model.teacher.gene.weight.clone()
    with torch.no_grad():
        model.student.gene.weight.add_(1.0)
    model.after_step()
    torch.testing.assert_close(model.teacher.gene.weight - before, torch.full_like(before, 0.004), atol=1e-6, rtol=1e-3)
    sum(model(batches[0]).values()).backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    assert all(p.grad is not None for p in model.student.parameters())
    model.train()
    assert not model.teacher.training


def test_padding_changes_nothing(own: Any, model: Any, counts_set: Path) -> None:
    torch.nn.init.normal_(model.head.weight, std=0.3)
    data = sys.modules["common.data"]
    first, padded = (
        next(iter(data.open_split(str(counts_set), "val", own, "cell-jepa+fit", batch_size=4, pad_to=pad)))
        for pad in (None, 80)
    )
    assert padded["token_ids"].shape[1] == 80
    torch.testing.assert_close(model(first), model(padded), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.embed(first), model.embed(padded), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--preset", "geneformer-v2"],
            "gives rank, and this recipe learns from quantile: use cell-jepa+fit, scgpt+fit",
        ),
        (["momentum = 1.0"], "momentum = 1.0: expected a number from 0 and below 1"),
        (["bins_weight = -1.0"], "bins_weight = -1.0: expected 0 or more"),
        (["masked = 0.0"], "masked = 0.0: expected a number between 0 and 1"),
    ],
)
def test_bad_input(
    recipe: ModuleType,
    counts_set: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if " = " in arguments[0]:
        key = arguments[0].split(" = ")[0]
        lines = (recipe.HERE / "config.toml").read_text().splitlines()
        path = tmp_path / "bad.toml"
        path.write_text("\n".join(arguments[0] if line.startswith(f"{key} =") else line for line in lines))
        arguments = ["--config", str(path)]
    stop = run(recipe, monkeypatch, "--set", counts_set, "--out", tmp_path / "out", *arguments)
    assert message in stop
