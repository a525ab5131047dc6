"""What is asked of checkpoints beside embeddings of cells; in one file, for their training is shared.

Attention between genes: the weights of the forward pass, summed cell by cell as over whole matrices at once. Bulk profiles
through a model of ranks: genes by falling value, and no others.
"""

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


@pytest.mark.parametrize(
    "case",
    [*CASES[:2], *(pytest.param(CASES[place], marks=pytest.mark.slow) for place in (2, 3, 5))],  # all but diffusion
    ids=str,
)
def test_the_mean_is_that_of_all_weights_at_once(
    case: Case,
    checkpoint_of: Callable[[Case], Path],
    load: Callable[[str], ModuleType],
    counts_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command, checkpoint = load("attention"), checkpoint_of(case)
    trained = command.load_trained(str(counts_set), checkpoint)
    from common.attention import last_attention
    from common.blocks import Block
    from common.data import gene_rows, open_split

    options = {"objective": None, "shuffle": False, "batch_size": 8, "subset": 20, **trained.recipe.embed_options()}
    data = open_split(str(counts_set), "val", trained.recipe, trained.tokenizer, **options)
    names = {row: gene for gene, row in gene_rows(data, trained.recipe).items()}
    calls: list[tuple] = []
    block = [module for module in trained.model.modules() if isinstance(module, Block)][-1]
    hook = block.register_forward_hook(lambda block, given, out: calls.append((*given, out)))
    total, n = {}, {}
    with torch.no_grad():
        for batch in data:
            calls.clear()
            found = list(last_attention(trained.model, batch))
            x, attend, out = calls[0]
            # the block's output, from these weights and its own values
            weights = block.attention(x, attend)
            B, L = x.shape[:2]
            np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
            mixed = x + block.out((weights @ block.projected(x)[2]).transpose(1, 2).reshape(B, L, -1))
            np.testing.assert_allclose(mixed + block.forward_(block.norm_forward(mixed)), out, atol=1e-5)
            np.testing.assert_allclose(np.stack([own for own, _ in found]), weights.mean(1), atol=1e-6)
            visible = (attend if attend.dtype == torch.bool else attend > -torch.inf).expand(B, 1, L, L)
            for ids, own, seen in zip(
                trained.model.attended(batch).tolist(), weights.mean(1).tolist(), visible, strict=True
            ):
                genes = [names.get(i) for i in ids]
                for query, key in torch.nonzero(seen[0]).tolist():
                    if genes[key] is not None and genes[query] is not None:
                        pair = genes[key], genes[query]
                        total[pair] = total.get(pair, 0) + own[query][key]
                        n[pair] = n.get(pair, 0) + 1
    hook.remove()
    sources = sorted({source for source, _ in n})[::7]
    (tmp_path / "regulators.txt").write_text("\n".join([*sources, "strange", sources[0]]))
    where = [counts_set, "--checkpoint", checkpoint, "-o", tmp_path / "edges.parquet", "--split", "val", "--cells", 20]
    assert run(command, monkeypatch, *where, "--regulators", tmp_path / "regulators.txt") is None
    table = pd.read_parquet(tmp_path / "edges.parquet").set_index(["source", "target"])
    assert dict(table["n_cells"]) == {pair: cells for pair, cells in n.items() if pair[0] in set(sources)}
    expected = np.array([total[pair] / n[pair] for pair in table.index])
    np.testing.assert_allclose(table["attention"], expected, atol=1e-6)


@pytest.mark.slow
def test_a_checkpoint_is_judged_by_its_genes_and_its_attention(
    checkpoint_of: Callable[[Case], Path],
    load: Callable[[str], ModuleType],
    counts_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factors = ["ISG15", "B2M"]
    targets = ["ACTB", "FTL", "FTH1", "TMSB4X", "CD74", "RPL3", "RPS6", "RPL13", "IFIT3", "RPS18"]
    edges = pd.DataFrame([(factor, gene) for factor in factors for gene in targets], columns=["source", "target"])
    edges.to_csv(tmp_path / "edges.csv")
    ranks, diffusion = (checkpoint_of(CASES[place]) for place in (1, 4))
    command, evaluate, file = load("attention"), load("evaluate"), tmp_path / "attention.parquet"
    where = [counts_set, "--checkpoint", ranks, "-o", file]
    assert run(command, monkeypatch, *where, "--regulators", tmp_path / "edges.csv") is None
    names = [f"checkpoint:{path}" for path in (ranks, diffusion)]
    judged = ["grn", "--set", counts_set, "--edges", tmp_path / "edges.csv", "--splits", 2, "--out", tmp_path / "out"]
    assert run(evaluate, monkeypatch, *judged, "--representation", *names, "--attention", file) is None
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    rows = {(row["representation"], row["probe"]): row for row in result["table"] if not row["parameter_free"]}
    assert set(rows) == {
        (names[0], "genes"),
        (names[0], "attention"),
        (names[1], "genes"),
        (f"file:{file}", "attention"),
    }
    # all cells of both: the file says the same
    assert rows[f"file:{file}", "attention"]["auprc_ratio"] == pytest.approx(rows[names[0], "attention"]["auprc_ratio"])
    assert f"{names[1]} has no attention between genes" in result["notes"]
    by_factor = pd.read_csv(tmp_path / "out" / "by_factor.csv")
    assert by_factor.groupby(["representation", "probe"], dropna=False).size().eq(2).all()
    assert set(by_factor["factor"]) == set(factors)

    said = run(evaluate, monkeypatch, *judged, "--representation", "pca")
    assert said == "error: --representation pca: expected checkpoint:PATH; files go to --genes and --attention"
    where[2] = diffusion
    said = run(command, monkeypatch, *where, "--regulators", tmp_path / "edges.csv")
    assert said == "error: DiffusionModel does not attend over genes: there is no attention between two of them"
    (tmp_path / "none.txt").write_text("strange\n")
    said = run(command, monkeypatch, *where, "--regulators", tmp_path / "none.txt")
    assert said.startswith("error: none of 1 names in")


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
