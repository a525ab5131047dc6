"""Attention between genes: the weights of the forward pass, summed cell by cell as over whole matrices at once."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from tests.recipes.conftest import CASES, Case, run

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "masked_diffusion"], ids=str)
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
