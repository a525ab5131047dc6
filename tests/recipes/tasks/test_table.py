import numpy as np
import pandas as pd
import pytest
from tasks.picture import short_names
from tasks.table import row_names, summarize, table_lines, verdict

MODEL, FREE, CHANCE = ("file:emb", "kNN", False), ("pca", "kNN", True), ("random", "kNN", True)


def scores(**rows: list[float]) -> pd.DataFrame:
    who = {"model": MODEL, "pca": FREE, "random": CHANCE}
    return pd.DataFrame(
        [
            {
                "representation": name,
                "probe": probe,
                "parameter_free": free,
                "how": "stratified",
                "split": str(i),
                "f1": value,
            }
            for row, values in rows.items()
            for name, probe, free in [who[row]]
            for i, value in enumerate(values)
        ]
    )


def test_no_table_without_a_baseline() -> None:
    alone = scores(model=[0.9, 0.8])
    with pytest.raises(ValueError, match="no parameter-free row among file:emb"):
        table_lines(alone, ["f1"])
    # nor when only another way of splitting has one
    both = pd.concat([alone, scores(model=[0.9], pca=[0.5]).assign(how="donor_id held out")])
    with pytest.raises(ValueError, match="stratified: no parameter-free row"):
        table_lines(both, ["f1"])


def test_differences_are_paired() -> None:
    table = summarize(scores(model=[0.9, 0.7, 0.8], pca=[0.8, 0.6, 0.7], random=[0.1, 0.2, 0.3]), ["f1"])
    assert list(table["representation"]) == ["file:emb", "pca", "random"]
    np.testing.assert_allclose(table["f1"], [0.8, 0.7, 0.2])
    np.testing.assert_allclose(table["sd"], [0.1, 0.1, 0.1])
    np.testing.assert_allclose(table["difference"], [0.1, 0, -0.5])
    np.testing.assert_allclose(table["difference_sd"], [0, 0, np.std([-0.7, -0.4, -0.4], ddof=1)], atol=1e-12)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            [0.90, 0.92],
            "file:emb + kNN wins over pca + kNN by 0.110, 7.8 times the spread of the difference over 2 splits, in 2 of 2.",
        ),
        (
            [0.60, 0.62],
            "file:emb + kNN loses to pca + kNN by 0.190, 13.4 times the spread of the difference over 2 splits, in 2 of 2.",
        ),
        (
            [0.70, 0.95],
            "file:emb + kNN and pca + kNN are level: they differ by +0.025, and that by 0.177 over 2 splits.",
        ),
        (
            [0.80, 0.80],
            "file:emb + kNN and pca + kNN are level: they differ by +0.000, and that by 0.000 over 2 splits.",
        ),
    ],
)
def test_who_won_in_words(model: list[float], said: str) -> None:
    both = scores(model=model, pca=[0.80, 0.80])
    assert verdict(both, "stratified", "f1") == f"{said} (pca + kNN needs no model.)"
    assert any(said in line for line in table_lines(both, ["f1"]))


def test_without_a_model_the_best_two_are_compared() -> None:
    said = verdict(scores(pca=[0.8, 0.9], random=[0.1, 0.3]), "stratified", "f1")
    assert said.startswith("No model was judged. pca + kNN wins over random + kNN by 0.650")
    assert verdict(scores(pca=[0.8, 0.9]), "stratified", "f1") == "No model was judged. pca + kNN is alone."


def test_one_split_has_no_winner() -> None:
    said = verdict(scores(model=[0.9], pca=[0.1]), "stratified", "f1")
    assert said.startswith("No winner can be named: file:emb + kNN and pca + kNN differ by +0.800 in the only split")


def test_long_names_keep_what_tells_them_apart() -> None:
    def frame(*names: str) -> pd.DataFrame:
        return pd.concat([scores(model=[0.9, 0.8]).assign(representation=name) for name in names])

    runs = "checkpoint:/scratch/people/somebody"
    alone = row_names(frame(f"{runs}/run/checkpoint-000000200.pt"))
    assert list(alone.values()) == ["checkpoint:…/run/checkpoint-000000200.pt + kNN"]
    several = [f"{runs}/{where}/checkpoint-000000200.pt" for where in ("values/run", "ranks/run", "ranks/longer")]
    found = row_names(frame(*several, several[0].replace("checkpoint:", "other:"), "file:emb.parquet", several[0]))
    assert list(found.values()) == [
        "checkpoint:…/values/run/checkpoint-000000200.pt + kNN",
        "checkpoint:…/ranks/run/checkpoint-000000200.pt + kNN",
        "checkpoint:…/longer/checkpoint-000000200.pt + kNN",
        "other:…/run/checkpoint-000000200.pt + kNN",
        "file:emb.parquet + kNN",
    ]
    both = pd.concat([frame(*several), scores(pca=[0.5, 0.6])])
    text = "\n".join(table_lines(both, ["f1"]))
    assert all(name in text for name in list(found.values())[:3])
    assert row_names(scores(pca=[0.5]).assign(probe=""))["pca", ""] == "pca"


def test_names_in_the_picture_are_short_and_tell_rows_apart() -> None:
    def named(*names: str) -> list[str]:
        rows = [scores(model=[0.9, 0.8]).assign(representation=name) for name in names]
        return list(short_names(pd.concat([*rows, scores(pca=[0.5, 0.6])])).values())

    runs = [
        f"checkpoint:/scratch/people/somebody/{run}.pt" for run in ("a/checkpoint-000000600", "b/checkpoint-000000600")
    ]
    steps = [*runs, runs[0].replace("600", "000"), "checkpoint:run/best.pt"]
    assert named(*steps) == [
        "a, step 600 + kNN",
        "b, step 600 + kNN",
        "a, step 0 + kNN",
        "run/best.pt + kNN",
        "pca + kNN",
    ]
    assert named("checkpoint:checkpoint-000000600.pt", "obsm:cells.h5ad:X_model")[:2] == [
        "step 600 + kNN",
        "cells.h5ad:X_model + kNN",
    ]
    # of another kind the same
    assert named("file:emb.parquet", "other:emb.parquet")[:2] == ["file:emb.parquet + kNN", "other:emb.parquet + kNN"]
