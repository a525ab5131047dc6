"""Bulk profiles through a model of ranks: genes by falling value, and no others."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from scdata import ShardDataset
from tests.recipes.conftest import CASES, Case, run

torch = pytest.importorskip("torch")


def test_lines_are_read_by_rank(
    checkpoint_of: Callable[[Case], Path],
    load: Callable[[str], ModuleType],
    counts_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluate, ranks = load("evaluate"), checkpoint_of(CASES[1])
    from common.profiles import embed_profiles
    from common.trained import load_trained

    # genes of a cell as the set's own tokens have them: the same values by rank give the same embedding
    trained = load_trained(str(counts_set), ranks)
    data = ShardDataset(
        counts_set, split="val", tokenizer=trained.tokenizer, context_length=48, shuffle=False, batch_size=8
    )
    batch = next(iter(data))
    # padding goes on behind the context
    batch = {key: batch[key][:, :48] for key in ("token_ids", "attention_mask")}
    whole = batch["attention_mask"].all(1)
    assert whole.any()
    names = {token: gene for gene, token in data.vocab.token_ids.items()}
    genes = list(data.vocab.feature_ids)
    values = np.full((int(whole.sum()), len(genes)), -9.0)
    for row, ids in zip(values, batch["token_ids"][whole].tolist(), strict=True):
        own = [genes.index(names[token]) for token in ids if token in names]
        row[own] = -np.arange(len(own)) / 10
    with torch.no_grad():
        expected = trained.model.embed({key: value[whole] for key, value in batch.items()})
    found, n = embed_profiles(ranks, values, genes)
    assert n == len(genes)
    np.testing.assert_allclose(found, expected, atol=1e-6)

    rng = np.random.default_rng(0)
    lines = [f"L{i}" for i in range(40)]
    table = pd.DataFrame(rng.standard_normal((200, 40)), columns=lines)
    table.insert(0, "gene_symbol", [f"strange{i}" for i in range(200)])
    table.insert(1, "feature", genes[:190] + ["no"] * 10)
    table.to_parquet(tmp_path / "lines.parquet")
    pairs = pd.DataFrame([(line, f"d{i}", rng.random()) for line in lines for i in range(4)])
    pairs.set_axis(["line_key", "drug", "ln_ic50"], axis=1).to_parquet(tmp_path / "pairs.parquet")
    tables = ["--expression", tmp_path / "lines.parquet", "--response", tmp_path / "pairs.parquet", "--splits", 2]
    where = ["drug-response", *tables, "--out", tmp_path / "out", "--representation"]
    name = f"checkpoint:{ranks}"
    assert run(evaluate, monkeypatch, *where, name) is None
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    free = {row["representation"]: row["parameter_free"] for row in result["table"]}
    assert not free[name]
    assert {"expression", "pca", "random"} <= set(free)
    assert any("190 of 200 are known to it: no counts, no medians" in note for note in result["notes"])

    said = run(evaluate, monkeypatch, *where, f"checkpoint:{checkpoint_of(CASES[0])}")
    assert "whose values are made of counts; bulk profiles have none" in said
    assert run(evaluate, monkeypatch, *where, "pca").startswith("error: --representation pca: expected checkpoint:PATH")
    table.drop(columns="feature").to_parquet(tmp_path / "lines.parquet")
    assert run(evaluate, monkeypatch, *where, name).startswith(f"error: {name} knows no gene of")
