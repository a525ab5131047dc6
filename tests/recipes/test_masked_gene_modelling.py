"""Masked gene modelling: its baselines, worked out again and slowly, and its model."""

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import scdata
from scdata.objectives import MaskedGenes, PerceptionGeneration
from tests.recipes.conftest import MICRO

torch = pytest.importorskip("torch")
RATES = (0.25, 0.5, 0.75)


@pytest.fixture
def recipe(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("masked_gene_modelling/train")


def config(recipe: ModuleType, **changes: Any) -> Any:
    import tomllib

    table = tomllib.loads((recipe.HERE / "config.toml").read_text())
    table |= {"generated": RATES, "context_length": 48, "sizes": {"micro": MICRO}, "size": "micro", **changes}
    return recipe.Config(**table)


def judged(recipe: ModuleType, style: Any, counts_set: Path, tokenizer: str, **changes: Any) -> Any:
    """The recipe's own judgement of its untrained model and baselines on three batches of the val split."""
    judge, data = sys.modules["common.judge"], sys.modules["common.data"]
    own = style(config(recipe, **changes))
    whole = {"objective": None, "output": "packed", "shuffle": False, "context_length": 20_000}
    train = data.open_split(str(counts_set), "train", own, tokenizer, **whole)
    marginals = own.fit(train)
    model = own.build(train, marginals)
    val = data.open_split(str(counts_set), "val", own, tokenizer, shuffle=False, batch_size=16)
    batches = [batch for _, batch in zip(range(3), val, strict=False)]
    return judge.judge(batches, model, own.baselines(marginals, model), own.n_scored, torch.device("cpu"))


def cells(counts_set: Path, tokenizer: str) -> list[list[tuple[int, int]]]:
    """(token, value or position) of each cell of the train split, special tokens left out."""
    train = scdata.ShardDataset(counts_set, tokenizer=tokenizer, output="packed", context_length=20_000, shuffle=False)
    specials = set(train.vocab.specials.values())
    found = []
    for batch in train:
        ids, ends = batch["token_ids"].tolist(), batch["cu_seqlens"].tolist()
        values = batch["values"].tolist() if "values" in batch else None
        for start, stop in pairwise(ends):
            numbers = range(stop - start) if values is None else values[start:stop]
            cell = list(zip(ids[start:stop], numbers, strict=True))
            found.append(cell if values is None else [pair for pair in cell if pair[0] not in specials])
    return found


def test_baselines_of_values_equal_slow_ones(recipe: ModuleType, counts_set: Path) -> None:
    seen = defaultdict(list)
    for cell in cells(counts_set, "scgpt+fit"):
        for token, value in cell:
            seen[token].append(value)
    everywhere = np.concatenate([np.array(values) for values in seen.values()]).mean()
    mean = {token: np.mean(values) for token, values in seen.items()}

    objective = PerceptionGeneration(rate=RATES)
    options = {"context_length": 48, "batch_size": 16, "shuffle": False, "objective": objective}
    val = scdata.ShardDataset(counts_set, split="val", tokenizer="scgpt+fit", **options)
    special = set(val.vocab.specials.values())
    errors = defaultdict(list)
    for _, batch in zip(range(3), val, strict=False):
        for row in range(len(batch["cell_id"])):
            visible, asked = (
                [
                    (token, value)
                    for token, value, there in zip(*(batch[key][row].tolist() for key in keys), strict=True)
                    if there and token not in special
                ]
                for keys in (
                    ("pcpt_token_ids", "pcpt_values", "pcpt_mask"),
                    ("gen_token_ids", "gen_targets", "gen_mask"),
                )
            )
            shift = np.mean([value - mean.get(token, everywhere) for token, value in visible])
            for token, value in asked:
                own = mean.get(token, everywhere)
                errors["global_mean"].append((value - everywhere) ** 2)
                errors["gene_mean"].append((value - own) ** 2)
                errors["shifted_gene_mean"].append((value - own - shift) ** 2)
    expected = {name: np.mean(values) for name, values in errors.items()}
    found = judged(recipe, recipe.Values, counts_set, "scgpt+fit")
    assert found.baselines == pytest.approx(expected, rel=1e-5)
    # the untrained model, and its prediction from the cell's embedding, are the means of genes
    assert found.model == pytest.approx(expected["gene_mean"], rel=1e-6)
    assert found.terms["from_cell"] == pytest.approx(expected["gene_mean"], rel=1e-6)


def test_baselines_of_ranks_equal_slow_ones(recipe: ModuleType, counts_set: Path) -> None:
    def bucket(position: int) -> int:
        return int(4 * math.log2(1 + position / 4))

    by_bucket: dict[int, Counter[int]] = defaultdict(Counter)
    for cell in cells(counts_set, "geneformer-v2+fit"):
        for token, position in cell:
            if position < 48:
                by_bucket[bucket(position)][token] += 1
    every: Counter[int] = sum(by_bucket.values(), Counter())

    objective = MaskedGenes(rate=0.15)
    options = {"context_length": 48, "batch_size": 16, "shuffle": False, "objective": objective}
    val = scdata.ShardDataset(counts_set, split="val", tokenizer="geneformer-v2+fit", **options)
    n_tokens = val.vocab.n_tokens

    def unigram(token: int) -> float:
        return (every[token] + len(every) / n_tokens) / (every.total() + len(every))

    def share(token: int, position: int) -> float:
        there = by_bucket[bucket(position)]
        return (there[token] + len(there) * unigram(token)) / (there.total() + len(there))

    losses = defaultdict(list)
    for number, batch in zip(range(3), val, strict=False):
        for row in range(len(batch["cell_id"])):
            ids, masked = batch["token_ids"][row].tolist(), batch["masked"][row].tolist()
            visible = {token for token, hidden in zip(ids, masked, strict=True) if not hidden}
            for position, (token, hidden) in enumerate(zip(ids, masked, strict=True)):
                if hidden:
                    losses["unigram"].append(-math.log(unigram(token)))
                    losses["unigram_of_position"].append(-math.log(share(token, position)))
                    if number == 0 and row < 3:  # slow
                        left = sum(share(other, position) for other in range(n_tokens) if other not in visible)
                        losses["not_seen"].append(-math.log(share(token, position) / left))
    found = judged(recipe, recipe.Ranks, counts_set, "geneformer-v2+fit")
    for name in ("unigram", "unigram_of_position"):
        assert found.baselines[name] == pytest.approx(np.mean(losses[name]), rel=1e-5)
    assert found.baselines["unigram_of_position_not_seen"] < found.baselines["unigram_of_position"]
    # the untrained model is nearly the last of them: genes that replace masked ones may be those asked for
    assert found.model == pytest.approx(found.baselines["unigram_of_position_not_seen"], rel=2e-3)
    own = recipe.Ranks(config(recipe, context_length=48))
    marginals = own.fit(scdata.ShardDataset(counts_set, tokenizer="geneformer-v2+fit", output="packed", shuffle=False))
    first = {key: value[:3] for key, value in next(iter(val)).items() if key in ("token_ids", "masked")}
    slow = own.baselines(marginals, None)["unigram_of_position_not_seen"](first)
    assert float(slow) == pytest.approx(sum(losses["not_seen"]), rel=1e-4)


def test_padding_changes_nothing(recipe: ModuleType, counts_set: Path) -> None:
    """A cell's losses are the same in a wider batch."""
    data = sys.modules["common.data"]
    for style, tokenizer in ((recipe.Values, "scgpt+fit"), (recipe.Ranks, "geneformer-v2+fit")):
        own = style(config(recipe))
        narrow, wide = (
            data.open_split(str(counts_set), "val", own, tokenizer, batch_size=4, pad_to=pad) for pad in (None, 80)
        )
        packed = data.open_split(str(counts_set), "val", own, tokenizer, output="packed", objective=None)
        model = own.build(narrow, own.fit(packed)).eval()
        torch.nn.init.normal_(model.head.weight, std=0.3)
        first, padded = next(iter(narrow)), next(iter(wide))
        term = next(iter(own.n_scored(first)))
        assert padded["token_ids"].shape[1] == 80
        torch.testing.assert_close(model(first)[term], model(padded)[term], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(model.embed(first), model.embed(padded), rtol=1e-4, atol=1e-5)


def test_generated_values_do_not_see_each_other(recipe: ModuleType, counts_set: Path) -> None:
    own = recipe.Values(config(recipe))
    data = sys.modules["common.data"].open_split(str(counts_set), "val", own, "scgpt+fit", batch_size=4)
    marginals = {"mean": torch.rand(data.vocab.n_tokens), "everywhere": torch.tensor(1.0), "spread": torch.tensor(2.0)}
    model = own.build(data, marginals).eval()
    batch = next(iter(data))
    changed = dict(batch, gen_token_ids=batch["gen_token_ids"].clone())
    changed["gen_token_ids"][:, 1:] = batch["gen_token_ids"][:, :-1]
    before, after = model.encode(batch), model.encode(changed)
    torch.testing.assert_close(before[1][:, 0], after[1][:, 0])
    torch.testing.assert_close(before[0], after[0])
