"""Read depth: its baselines, worked out again and slowly, and its model."""

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import scdata
from scdata.objectives import MaskedValues
from tests.recipes.conftest import READ_DEPTH, run

torch = pytest.importorskip("torch")
MASKED, MASKED_ZEROS = 0.3, 0.03


@pytest.fixture
def recipe(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("read_depth/train")


@pytest.fixture
def preset(recipes: Path) -> str:
    return str(recipes / "read_depth" / "variable-genes.toml+fit")


def built(recipe: ModuleType, counts_set: Path, preset: str, **changes: Any) -> Any:
    """The recipe, what it fits, its untrained model, and batches of the val split."""
    table = tomllib.loads((recipe.HERE / "config.toml").read_text())
    config = recipe.Config(**{**table, "sizes": {"micro": READ_DEPTH}, "size": "micro", **changes})
    self, data = recipe.ReadDepth(config), sys.modules["common.data"]
    whole = {"objective": None, "shuffle": False, "context_length": 20_000, "batch_size": 64}
    train = data.open_split(str(counts_set), "train", self, preset, **whole)
    marginals = self.fit(train)
    val = data.open_split(str(counts_set), "val", self, preset, shuffle=False, batch_size=16)
    batches = [batch for _, batch in zip(range(3), val, strict=False)]
    return self, marginals, self.build(train, marginals).eval(), batches


def test_baselines_equal_slow_ones(recipe: ModuleType, counts_set: Path, preset: str) -> None:
    options = {"tokenizer": preset, "output": "dense", "shuffle": False, "batch_size": 64}
    batches = list(scdata.ShardDataset(counts_set, **options))
    values, targets, depths = (
        np.concatenate([b[key].numpy() for b in batches]).astype(float) for key in ("values", "targets", "depths")
    )
    assert values.shape == (900, 1000)
    chance, thinned = np.where(values > 0, MASKED, MASKED_ZEROS), depths[:, 1] < depths[:, 0]
    assert 0.3 < thinned.mean() < 0.6
    mean = (chance * targets).sum(0) / chance.sum(0)
    design = np.column_stack([np.ones(900), depths - 3])
    lines = []
    for gene in range(1000):
        root = np.sqrt(chance[:, gene])
        # a ridge is two more observations of 0
        rows = np.vstack([design * root[:, None], np.sqrt(0.1) * np.eye(3)[1:]])
        lines.append(np.linalg.lstsq(rows, np.r_[targets[:, gene] * root, 0, 0], rcond=None)[0])
    shown, found = (1 - chance) * thinned[:, None], values > 0
    every = [(shown * where * targets).sum() / (shown * where).sum() for where in (found, ~found)]
    if_found = [
        ((shown * where * targets).sum(0) + one) / ((shown * where).sum(0) + 1)
        for where, one in zip((found, ~found), every, strict=True)
    ]
    of_shown = (shown * targets).sum(0) / shown.sum(0)

    objective = MaskedValues(rate=MASKED, zero_rate=MASKED_ZEROS, mask_value=-1)
    val = scdata.ShardDataset(counts_set, split="val", objective=objective, **{**options, "batch_size": 16})
    hidden, seen = [], []
    for _, batch in zip(range(3), val, strict=False):
        for row in range(16):
            v, t, d = (batch[key][row].numpy().astype(float) for key in ("values", "targets", "depths"))
            masked = batch["masked"][row].numpy()
            line = np.maximum(0, np.array(lines) @ np.r_[1, d - 3])
            hidden.append(np.stack([(mean - t) ** 2, (line - t) ** 2])[:, masked])
            if d[1] < d[0]:
                guess = np.where(v > 0, *if_found)
                seen.append(np.stack([(of_shown - t) ** 2, (v - t) ** 2, (guess - t) ** 2])[:, ~masked])
    self, marginals, model, own = built(recipe, counts_set, preset)
    judge, cpu = sys.modules["common.judge"].judge, torch.device("cpu")
    trivial, others = self.baselines(marginals, model), self.other_baselines(marginals, model)
    judged = judge(own, model, trivial, self.n_scored, cpu, others)
    expected = np.concatenate(hidden, 1).mean(1)
    assert judged.baselines == pytest.approx(
        dict(zip(("gene_mean", "gene_mean_at_depth"), expected, strict=True)), rel=1e-4
    )
    names = ("gene_mean", "input_rescaled", "gene_mean_if_found")
    of_thinned = dict(zip(names, np.concatenate(seen, 1).mean(1), strict=True))
    assert judged.others == {"thinned": pytest.approx(of_thinned, rel=1e-4)}
    # the untrained model is the better of each
    assert judged.model == pytest.approx(judged.baselines["gene_mean_at_depth"], rel=1e-6)
    assert judged.terms["thinned"] == pytest.approx(of_thinned["gene_mean_if_found"], rel=1e-4)


def trained(model: Any) -> Any:
    """The model with weights that do something."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return model


def test_hidden_values_are_not_seen(recipe: ModuleType, counts_set: Path, preset: str) -> None:
    _, _, model, batches = built(recipe, counts_set, preset)
    trained(model)
    batch = batches[0]
    other = torch.where(batch["masked"], 9 - batch["values"], batch["values"])
    with torch.no_grad():
        before = model.predict(batch)
        torch.testing.assert_close(model.predict(dict(batch, values=other)), before, rtol=0, atol=0)
        # what is shown, how deep the cell was read, and how deep it shall be, is
        for key, changed in (
            ("values", torch.where(batch["masked"], batch["values"], batch["values"] * 2)),
            ("depths", batch["depths"] + torch.tensor([0.5, 0.0])),
            ("depths", batch["depths"] - torch.tensor([0.0, 0.5])),
        ):
            assert ((model.predict(dict(batch, **{key: changed})) - before).abs() > 1e-4)[batch["masked"]].any()


def test_other_cells_of_a_batch_change_nothing(recipe: ModuleType, counts_set: Path, preset: str) -> None:
    """Padding and the longest cell of a batch do not matter."""
    _, _, model, batches = built(recipe, counts_set, preset)
    trained(model)
    batch = batches[0]
    few = {key: value[:1] for key, value in batch.items() if key not in ("state", "masked_values")}
    with torch.no_grad():
        torch.testing.assert_close(model.predict(few), model.predict(batch)[:1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.embed(few), model.embed(batch)[:1], rtol=1e-4, atol=1e-4)


def test_embeddings_are_of_the_whole_cell(recipe: ModuleType, counts_set: Path, preset: str) -> None:
    _, _, model, batches = built(recipe, counts_set, preset)
    trained(model)
    batch, width = batches[0], READ_DEPTH["width"]
    with torch.no_grad():
        rows = model.embed(batch)
        assert rows.shape == (16, 4 * width)
        thinner = dict(batch, values=batch["values"] * 0, depths=batch["depths"] - torch.tensor([0.0, 0.4]))
        torch.testing.assert_close(model.embed(thinner), rows)
        # S, T, the highest and the mean of genes
        cell = {key: batch[key][:1] for key in ("targets", "depths")}
        both = cell["depths"][:, :1].expand(-1, 2)
        x, place, _ = model.encode(cell["targets"], both, torch.zeros_like(cell["targets"], dtype=torch.bool))
    assert place[0, -2:].tolist() == [1000, 1001]
    expected = [x[0, -1], x[0, -2], x[0, :-2].amax(0), x[0, :-2].mean(0)]
    torch.testing.assert_close(rows[0], torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_the_encoder_reads_the_highest_values(recipe: ModuleType, counts_set: Path, preset: str) -> None:
    _, _, model, batches = built(recipe, counts_set, preset, context_length=20)
    batch = batches[0]
    nothing = torch.zeros_like(batch["masked"])
    _, place, there = model.encode(batch["values"], batch["depths"], nothing)
    for row in range(16):
        values, kept = batch["values"][row], place[row][there[row]][:-2]
        most = min(20, int((values > 0).sum()))
        assert len(kept) >= most  # more, where several have the lowest value
        assert values[kept].min() >= values.sort(descending=True).values[most - 1]


def test_presets_that_do_not_suit(recipe: ModuleType, counts_set: Path, tmp_path: Path, monkeypatch: Any) -> None:
    arguments = ["--set", counts_set, "--out", tmp_path / "run"]
    said = run(recipe, monkeypatch, *arguments, "--preset", "scgpt")
    assert "gives quantile, and this recipe learns from lognorm: use variable-genes.toml, scfoundation+fit" in said
    plain = tmp_path / "plain.toml"
    plain.write_text('stores = "counts"\ndescription = "no depth"\n[value]\nkind = "lognorm"\n')
    said = run(recipe, monkeypatch, *arguments, "--preset", plain)
    assert "'plain.toml' does not thin cells ([depth.thin]) or has no depths T and S: use one that does" in said


def test_other_variable_genes_are_refused(recipe: ModuleType, counts_set: Path, preset: str) -> None:
    self, marginals, _, _ = built(recipe, counts_set, preset)
    data = sys.modules["common.data"].open_split(str(counts_set), "val", self, preset)
    with pytest.raises(ValueError, match="variable genes are others"):
        self.build(data, {**marginals, "tokens": marginals["tokens"].flip(0)})
