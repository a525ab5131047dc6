"""A set that lacks genes of a model: they are not measured, as where one dataset of a set has none of them."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scdata
from scdata.tokens.published.importing import import_assets
from tests.recipes.conftest import CASES, Case, run

torch = pytest.importorskip("torch")
N_GENES, N_CELLS, N_PART = 150, 160, 60
GENES = [f"ENSG{i:011d}" for i in range(N_GENES)]
LACKING = set(GENES[::3])
N_CHOSEN = 40  # of the presets that take variable genes
AUTOREGRESSIVE = next(case for case in CASES if case.name == "autoregressive")
PUBLISHED = """
description = "TranscriptFormer's tokens without the assay, whose ids are not at hand"
stores = "counts"
[vocab]
genes = "transcriptformer/vocab.json.gz"
special = ["unknown", "[START]", "[END]", "[PAD]"]
pad = "[PAD]"
[genes]
order = "random"
cut = "random"
[value]
kind = "counts"
"""
DENSE = next(case for case in CASES if case.name == "masked_diffusion")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """All cells with all genes; the first ones without a third of them, on their own and before the other cells."""
    folder, rng = tmp_path_factory.mktemp("genes"), np.random.default_rng(5)
    kinds = np.arange(N_CELLS) % 2
    rates = rng.lognormal(0, 1.2, (2, N_GENES))[kinds] * rng.lognormal(1, 0.4, N_CELLS)[:, None]
    counts = rng.poisson(rates * rng.gamma(2, 0.5, rates.shape)).clip(max=99).astype(np.float32)  # levels are counts
    obs = pd.DataFrame({"condition": np.array(["control", "IFN-beta"])[kinds]}, index=map(str, range(N_CELLS)))
    obs["cell_type"] = obs["condition"]
    cells = anndata.AnnData(sparse.csr_matrix(counts), obs, pd.DataFrame(index=GENES))
    part = cells[:N_PART, [gene not in LACKING for gene in GENES]].copy()
    del part.obs["condition"]  # which a model may have been told in training
    files = {"all": cells, "part": part, "rest": cells[N_PART:]}
    for name, own in files.items():
        own.copy().write_h5ad(folder / f"{name}.h5ad")
    made = {"all": ["all"], "part": ["part"], "rest": ["rest"], "both": ["part", "rest"]}
    for name, sources in made.items():
        scdata.build_shards([folder / f"{own}.h5ad" for own in sources], folder / name, splits=["val=0.2"])
    scdata.fit_set(folder / "all")
    return SimpleNamespace(cells=cells, **{name: folder / name for name in made})


@pytest.fixture
def trained(
    load: Callable[[str], ModuleType],
    sets: SimpleNamespace,
    config_of: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[[Case], Path]:
    """The checkpoint of a case after a step."""

    def train(case: Case) -> Path:
        module = load(f"{case.name}/train")
        preset = [case.preset] if case.preset else []
        file = module.HERE / "variable-genes.toml"
        if not preset and file.is_file():
            text = file.read_text()
            number = next(line for line in text.splitlines() if line.startswith("n = "))
            (tmp_path / "variable-genes.toml").write_text(text.replace(number, f"n = {N_CHOSEN}"))
            preset = [tmp_path / "variable-genes.toml"]
        arguments = ["--set", sets.all, "--out", tmp_path / "run", "--config", config_of(case, batch_size=8)]
        options = ["--preset", *preset] if preset else []
        assert run(module, monkeypatch, *arguments, *options, "--max-steps", 1) is None
        return max((tmp_path / "run").glob("checkpoint-*.pt"))

    return train


@pytest.mark.parametrize("case", CASES, ids=str)
def test_lacking_genes_are_not_measured(
    case: Case,
    trained: Callable[[Case], Path],
    load: Callable[[str], ModuleType],
    sets: SimpleNamespace,
    capsys: Any,
) -> None:
    checkpoint, embed = trained(case), load("embed")
    capsys.readouterr()
    columns = torch.load(checkpoint, weights_only=True)["columns"]
    n_genes = len(columns)
    assert n_genes == (N_CHOSEN if case.name in ("autoregressive", "masked_diffusion", "read_depth") else N_GENES)
    (ids, rows), (of_both, expected) = (embed.embed_set(str(path), checkpoint) for path in (sets.part, sets.both))
    said = capsys.readouterr().err
    n_has = len(set(columns) - LACKING)
    assert f"part: read as the {n_genes} genes of the model, {n_has} of which it has" in said
    assert sorted(ids) == list(range(N_PART))
    rows, expected = rows[np.argsort(ids)], expected[np.argsort(of_both)][:N_PART]
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert np.isfinite(rows).all()
    assert rows.std(0).max() > 0
    # their counts are missed
    of_all, whole = embed.embed_set(str(sets.all), checkpoint)
    assert "all: read as" not in capsys.readouterr().err
    assert not np.allclose(rows, whole[np.argsort(of_all)][:N_PART], atol=1e-5)


def test_columns_are_those_of_the_model(
    trained: Callable[[Case], Path], load: Callable[[str], ModuleType], sets: SimpleNamespace
) -> None:
    checkpoint, embed = trained(DENSE), load("embed")
    model = embed.load_trained(str(sets.part), checkpoint)
    options = {"objective": None, "shuffle": False, **model.recipe.embed_options()}
    data = embed.open_split(str(sets.part), "val", model.recipe, model.tokenizer, **options)
    columns = torch.load(checkpoint, weights_only=True)["columns"]
    assert data.dense_feature_ids == columns
    assert list(columns) == sorted(columns)
    lacking = [gene in LACKING for gene in columns]
    assert 0 < sum(lacking) < N_CHOSEN
    for batch in data:
        counts = sets.cells[batch["cell_id"].numpy(), list(columns)].X.toarray()
        expected = np.where(lacking, -1, counts)
        np.testing.assert_array_equal(batch["values"], expected)
    genes, rows = embed.embed_genes(str(sets.part), model)
    assert tuple(genes) == columns
    np.testing.assert_array_equal(rows, model.model.gene.weight.detach())


def test_a_published_vocabulary_has_genes_that_the_model_never_saw(
    trained: Callable[[Case], Path],
    load: Callable[[str], ModuleType],
    sets: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: Any,
) -> None:
    """They are left out: their embeddings were never trained."""
    strange = [f"ENSG{i:011d}" for i in range(900, 905)]
    (tmp_path / "genes.txt").write_text("\n".join(GENES + strange) + "\n")
    monkeypatch.setenv("SCDATA_CACHE", str(tmp_path / "cache"))
    import_assets("transcriptformer", [tmp_path / "genes.txt"])
    (tmp_path / "own.toml").write_text(PUBLISHED)
    checkpoint = trained(dataclasses.replace(AUTOREGRESSIVE, preset=str(tmp_path / "own.toml")))
    part = sets.cells[:N_PART, [gene not in LACKING for gene in GENES]]
    more = anndata.AnnData(sparse.csr_matrix(np.full((N_PART, 5), 3, np.float32)), var=pd.DataFrame(index=strange))
    more.obs_names = part.obs_names
    scdata.from_anndata(anndata.concat([part, more], axis=1), tmp_path / "more", splits=["val=0.2"])
    embed = load("embed")
    (ids, rows), (of_more, found) = (embed.embed_set(str(path), checkpoint) for path in (sets.part, tmp_path / "more"))
    n_has = N_GENES - len(LACKING)
    said = capsys.readouterr().err
    assert said.count(f"read as the {N_GENES} genes of the model, {n_has} of which it has") == 2
    np.testing.assert_array_equal(rows[np.argsort(ids)], found[np.argsort(of_more)])


def test_what_was_fitted_is_the_models_too(
    trained: Callable[[Case], Path],
    load: Callable[[str], ModuleType],
    sets: SimpleNamespace,
    tmp_path: Path,
    capsys: Any,
) -> None:
    """The same genes, of which other cells would choose others."""
    checkpoint, embed = trained(DENSE), load("embed")
    shuffled = sets.cells.copy()
    shuffled.X = shuffled.X[:, np.random.default_rng(0).permutation(N_GENES)]
    scdata.from_anndata(shuffled, tmp_path / "other")
    scdata.fit_set(tmp_path / "other")
    model = embed.load_trained(str(tmp_path / "other"), checkpoint)
    assert f"read as the {N_CHOSEN} genes of the model, {N_CHOSEN} of which it has" in capsys.readouterr().err
    data = embed.open_split(str(tmp_path / "other"), "train", model.recipe, model.tokenizer)
    assert data.dense_feature_ids == torch.load(checkpoint, weights_only=True)["columns"]


def test_a_set_without_any_of_the_genes_is_refused(
    trained: Callable[[Case], Path], load: Callable[[str], ModuleType], sets: SimpleNamespace, tmp_path: Path
) -> None:
    checkpoint, embed = trained(DENSE), load("embed")
    columns = set(torch.load(checkpoint, weights_only=True)["columns"])
    # known to the vocabulary, but not chosen; and known to nothing
    for own, said in (
        ([gene for gene in GENES if gene not in columns], f"none of the {N_CHOSEN} genes that .* reads"),
        ([f"ENSMUSG{i:011d}" for i in range(N_GENES - N_CHOSEN)], "only 0.0% of the counts"),
    ):
        cells = sets.cells[:, [gene not in columns for gene in GENES]].copy()
        cells.var_names = own
        scdata.from_anndata(cells, tmp_path / own[0])
        with pytest.raises(ValueError, match=said + r".* `scdata build --orthologs`"):
            embed.embed_set(str(tmp_path / own[0]), checkpoint)


def test_a_model_is_judged_on_a_set_that_lacks_genes(
    trained: Callable[[Case], Path],
    load: Callable[[str], ModuleType],
    sets: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pytest.importorskip("sklearn")
    name, out = f"checkpoint:{trained(DENSE)}", tmp_path / "judged"
    which = ["--set", sets.rest, sets.part, "--labels", "cell_type", "--representation", name, "--baselines", "random"]
    assert run(load("evaluate"), monkeypatch, "cross-species", *which, "--splits", 2, "--out", out) is None
    rows = json.loads((out / "result.json").read_text())["table"]
    assert {row["representation"] for row in rows} == {name, "random"}
