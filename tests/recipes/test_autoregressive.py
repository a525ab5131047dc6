"""Autoregressive: its baselines, worked out again and slowly, its model, and the cells that it draws."""

import math
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import scdata
from tests.recipes.conftest import MICRO, run

torch = pytest.importorskip("torch")
CONTEXT = 96


@pytest.fixture
def recipe(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("autoregressive/train")


@pytest.fixture
def preset(recipes: Path) -> str:
    return str(recipes / "autoregressive" / "variable-genes.toml+fit")


def own(recipe: ModuleType) -> Any:
    table = tomllib.loads((recipe.HERE / "config.toml").read_text())
    return recipe.Autoregressive(
        recipe.Config(**{**table, "context_length": CONTEXT, "sizes": {"micro": MICRO}, "size": "micro"})
    )


def built(recipe: ModuleType, counts_set: Path, preset: str) -> Any:
    """The recipe, what it fits, its untrained model, and batches of the val split."""
    self, data = own(recipe), sys.modules["common.data"]
    whole = {"objective": None, "output": "packed", "shuffle": False, "context_length": 20_000}
    train = data.open_split(str(counts_set), "train", self, preset, **whole)
    marginals = self.fit(train)
    val = data.open_split(str(counts_set), "val", self, preset, shuffle=False, batch_size=16)
    batches = [batch for _, batch in zip(range(3), val, strict=False)]
    return self, marginals, self.build(train, marginals).eval(), batches


def poisson_without_zero(rate: float, count: int) -> float:
    """−ln P, by the sum over all counts."""
    log_p = [k * math.log(rate) - rate - math.lgamma(k + 1) for k in range(1, 200)]
    return math.log(sum(map(math.exp, log_p))) - log_p[count - 1]


def rate_of(mean: float) -> float:
    """By Newton's method."""
    rate = 2 * (mean - 1)
    for _ in range(100):
        e = math.exp(-rate)
        rate -= (rate / (1 - e) - mean) / ((1 - e - rate * e) / (1 - e) ** 2)
    return rate


def test_baselines_equal_slow_ones(recipe: ModuleType, counts_set: Path, preset: str) -> None:
    options = {"tokenizer": preset, "shuffle": False, "context_length": 20_000, "output": "packed"}
    train = scdata.ShardDataset(counts_set, **options)
    found: Counter[int] = Counter()
    total: Counter[int] = Counter()
    ends, there = [0.0] * CONTEXT, [0.0] * CONTEXT
    for batch in train:
        ids, values = batch["token_ids"].tolist(), batch["values"].tolist()
        for start, stop in pairwise(batch["cu_seqlens"].tolist()):
            n = stop - start
            for token, count in zip(ids[start:stop], values[start:stop], strict=True):
                found[token] += min(1, CONTEXT / n)
                total[token] += count * min(1, CONTEXT / n)
            for position in range(CONTEXT):
                ends[position] += n == position
                there[position] += n >= position
    n_genes, everywhere = len(train.dense_feature_ids), total.total() / found.total()
    assert n_genes == 2000

    def share(token: int) -> float:
        return (found[token] + len(found) / n_genes) / (found.total() + len(found))

    def mean(token: int) -> float:
        return (total[token] + everywhere) / (found[token] + 1)

    def bucket(position: int) -> int:
        return int(4 * math.log2(1 + position / 4))

    buckets = [bucket(position) for position in range(CONTEXT)]
    by_position = {
        b: (0.5 + sum(ends[i] for i in range(CONTEXT) if buckets[i] == b))
        / (1 + sum(there[i] for i in range(CONTEXT) if buckets[i] == b))
        for b in buckets
    }
    every = (0.5 + sum(ends)) / (1 + sum(there))
    losses, n_scored, n_ends = defaultdict(float), 0, 0
    self, marginals, model, batches = built(recipe, counts_set, preset)
    for batch in batches:
        for row in range(len(batch["cell_id"])):
            seen: list[tuple[int, int]] = []
            targets, counts = batch["target_token_ids"][row].tolist(), batch["target_values"][row].tolist()
            for position, (token, count) in enumerate(zip(targets, counts, strict=True)):
                if token == -100:
                    continue
                end = by_position[buckets[position]]
                if token == train.vocab.specials["[END]"]:
                    n_ends += 1
                    losses["unigram_and_poisson"] -= math.log(every)
                    losses["unigram_not_seen_and_poisson"] -= math.log(end)
                    losses["unigram_not_seen_and_scaled_poisson"] -= math.log(end)
                    continue
                n_scored += 1
                rate, left = rate_of(max(1.001, mean(token))), 1 - sum(share(other) for other, _ in seen)
                ratio = (1 + sum(c - 1 for _, c in seen)) / (1 + sum(mean(other) - 1 for other, _ in seen))
                plain = poisson_without_zero(rate, count)
                losses["unigram_and_poisson"] += plain - math.log((1 - every) * share(token))
                losses["unigram_not_seen_and_poisson"] += plain - math.log((1 - end) * share(token) / left)
                losses["unigram_not_seen_and_scaled_poisson"] += poisson_without_zero(rate * ratio, count) - math.log(
                    (1 - end) * share(token) / left
                )
                seen.append((token, count))
    assert n_ends > 2
    expected = {name: loss / n_scored for name, loss in losses.items()}
    judge = sys.modules["common.judge"].judge
    judged = judge(batches, model, self.baselines(marginals, model), self.n_scored, torch.device("cpu"))
    assert judged.baselines == pytest.approx(expected, rel=1e-4)
    # the untrained model is one of them, and its parts add up
    assert judged.model == pytest.approx(expected["unigram_not_seen_and_poisson"], rel=1e-4)
    assert judged.terms["gene"] + judged.terms["count"] == pytest.approx(judged.model)


def test_counts_have_a_distribution(recipe: ModuleType, load: Callable[[str], ModuleType]) -> None:
    count = torch.arange(1, 400).float()
    for rate in (1e-3, 0.5, 3.0, 30.0):
        nats = recipe.count_nats(torch.tensor(math.log(rate)), count)
        assert float((-nats.double()).exp().sum()) == pytest.approx(1, rel=1e-3)
        assert float(nats[2]) == pytest.approx(poisson_without_zero(rate, 3), rel=1e-3)
        mean = rate / -math.expm1(-rate)
        assert float(recipe.log_rate_of(torch.tensor(mean)).exp()) == pytest.approx(max(rate, 2e-3), rel=1e-2)
        log_rate = torch.full((40_000,), math.log(rate))
        drawn = load("autoregressive/sample").draw_counts(log_rate, torch.Generator().manual_seed(0))
        assert drawn.min() >= 1
        share = torch.bincount(drawn, minlength=400)[1:400] / 40_000
        torch.testing.assert_close(share, (-nats).exp(), atol=0.01, rtol=0)


def trained(model: Any) -> Any:
    """The model with weights that do something."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return model


def test_nothing_is_seen_before_it_comes(recipe: ModuleType, counts_set: Path, preset: str) -> None:
    _, _, model, batches = built(recipe, counts_set, preset)
    trained(model)
    ids, counts = batches[0]["input_token_ids"], batches[0]["input_values"]
    before = model.encode(ids, counts)
    other = ids.clone()
    other[:, 20] = ids[:, 21]
    after = model.encode(other, counts)
    torch.testing.assert_close(after[:, :20], before[:, :20], rtol=0, atol=0)
    assert (after[:, 20:40] - before[:, 20:40]).abs().amax((0, 2)).min() > 1e-4
    more = counts.clone()
    more[:, 20] += 5
    after = model.encode(ids, more)
    # the count of a gene is heard from the next one on
    torch.testing.assert_close(after[:, :21], before[:, :21], rtol=0, atol=0)
    assert (after[:, 21:40] - before[:, 21:40]).abs().amax((0, 2)).min() > 1e-4


def test_shares_leave_out_what_was_seen(recipe: ModuleType, counts_set: Path, preset: str) -> None:
    _, _, model, batches = built(recipe, counts_set, preset)
    trained(model)
    batch, n_genes = batches[0], len(model.tokens) - 1
    asked = recipe.asks(batch, model.column, model.end_id)
    x = model.encode(batch["input_token_ids"], batch["input_values"])[asked.row, asked.position]
    seen = recipe.seen_before(asked, model.column[batch["input_token_ids"]], n_genes)
    shares = model.log_shares(x, seen).exp()
    torch.testing.assert_close(shares.sum(1), torch.ones(len(shares)))
    assert shares.gather(1, seen).max() == 0
    for place in (0, 100, 500):
        row, position = int(asked.row[place]), int(asked.position[place])
        n_left = int((shares[place] > 0).sum())
        assert n_left == n_genes - position
        assert set(seen[place].tolist()) - {n_genes} == set(
            model.column[batch["input_token_ids"][row, 1 : position + 1]].tolist()
        )


def test_padding_changes_nothing(recipe: ModuleType, counts_set: Path, preset: str) -> None:
    self, _, model, _ = built(recipe, counts_set, preset)
    trained(model)
    data = sys.modules["common.data"]
    narrow, wide = (
        next(iter(data.open_split(str(counts_set), "val", self, preset, batch_size=4, pad_to=pad)))
        for pad in (None, 160)
    )
    assert wide["input_token_ids"].shape[1] > narrow["input_token_ids"].shape[1]
    torch.testing.assert_close(model(narrow), model(wide), rtol=1e-5, atol=1e-2)
    torch.testing.assert_close(model.embed(narrow), model.embed(wide), rtol=1e-4, atol=1e-5)


def test_reading_gene_by_gene_is_reading_at_once(
    recipe: ModuleType, load: Callable[[str], ModuleType], counts_set: Path, preset: str
) -> None:
    _, _, model, batches = built(recipe, counts_set, preset)
    trained(model)
    ids, counts = batches[0]["input_token_ids"][:, :30], batches[0]["input_values"][:, :30]
    with torch.no_grad():
        whole = model.encode(ids, counts)
        reader = load("autoregressive/sample").Reader(model)
        steps = [reader.read(ids[:, place], counts[:, place]) for place in range(30)]
    torch.testing.assert_close(torch.stack(steps, 1), whole, rtol=1e-4, atol=1e-4)


def test_untrained_cells_follow_the_marginals(
    recipe: ModuleType, load: Callable[[str], ModuleType], counts_set: Path, preset: str
) -> None:
    _, marginals, model, _ = built(recipe, counts_set, preset)
    model.end_logit.fill_(-20)  # no ends
    cells, ended = load("autoregressive/sample").sample(model, 400, 12, 30, torch.Generator().manual_seed(1))
    assert not ended.any()
    assert ((cells > 0).sum(1) == 12).all()
    share = marginals["log_share"][:-1].exp()
    common = share.topk(5).indices
    # each of twelve genes without replacement: nearly 1 − (1 − share)^12 for rare ones
    expected = 1 - (1 - share[common]) ** 12
    torch.testing.assert_close((cells[:, common] > 0).float().mean(0), expected, atol=0.08, rtol=0)
    assert cells.max() <= 30


def test_sampled_cells_in_a_file(
    load: Callable[[str], ModuleType], counts_set: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    import anndata

    sample = load("autoregressive/sample")
    table = tomllib.loads((sample.HERE / "config.toml").read_text())
    lines = [
        f"{key} = {value!r}".lower() for key, value in table.items() if key not in ("sizes", "size", "eval_batches")
    ]
    lines += [
        "eval_batches = 1",
        'size = "micro"',
        "[sizes.micro]",
        *(f"{key} = {value}" for key, value in MICRO.items()),
    ]
    (tmp_path / "c.toml").write_text("\n".join(lines))
    train = load("autoregressive/train")
    arguments = ["--set", counts_set, "--out", tmp_path / "run", "--config", tmp_path / "c.toml", "--max-steps", 1]
    assert run(train, monkeypatch, *arguments) is None
    checkpoint = max((tmp_path / "run").glob("checkpoint-*.pt"))
    out = tmp_path / "cells.h5ad"
    options = ["--checkpoint", checkpoint, "--set", counts_set, "-o", out]
    assert run(sample, monkeypatch, *options, "--n", 20) is None
    printed = capsys.readouterr().out
    assert "20 cells" in printed
    assert "each gene on its own" in printed
    cells = anndata.read_h5ad(out)
    assert cells.shape == (20, 2000)
    assert cells.obs["ended"].mean() > 0.5
    assert 40 < np.median(cells.X.getnnz(1)) < 250
    assert "--n 0: at least 1" in run(sample, monkeypatch, *options, "--n", 0)


def test_presets_that_do_not_suit(recipe: ModuleType, counts_set: Path, tmp_path: Path, monkeypatch: Any) -> None:
    arguments = ["--set", counts_set, "--out", tmp_path / "run"]
    said = run(recipe, monkeypatch, *arguments, "--preset", "scgpt")
    assert "gives quantile, and this recipe learns from counts: use variable-genes.toml, transcriptformer+fit" in said
    said = run(recipe, monkeypatch, *arguments, "--preset", "counts")
    assert "[START]" in said
    scdata.build_shards("synthetic:cells=60,genes=60", tmp_path / "other.set", splits=["val=0.3"])
    said = run(recipe, monkeypatch, "--set", tmp_path / "other.set", "--out", tmp_path / "run")
    assert "scdata fit" in said


def test_other_variable_genes_are_refused(recipe: ModuleType, counts_set: Path, preset: str) -> None:
    self, marginals, _, _ = built(recipe, counts_set, preset)
    data = sys.modules["common.data"].open_split(str(counts_set), "val", self, preset)
    with pytest.raises(ValueError, match="variable genes are others"):
        self.build(data, {**marginals, "tokens": marginals["tokens"].flip(0)})
