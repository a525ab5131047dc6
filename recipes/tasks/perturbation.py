"""Perturbation: the mean profile of cells under a perturbation that training never had, as what it changes in controls."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scdata.shard.roles import roles_of
from scdata.shard.shard_set import ShardSet

from .cells import Cells, read_cells
from .genes import components, read_embedding, symbols
from .outcome import Outcome
from .progress import PROGRESS
from .ridge import centred, ridge
from .splits import Split, check
from .vcc import RankSums, changed, des, over_baseline

METRICS = ("pearson_delta", "mae_gain", "des", "pds", "vcc")
HOW = "perturbations left out"
LEAST = 10
BASELINE = "mean effect"  # of cell-eval's score


@dataclass(frozen=True)
class Effects:
    """What P perturbations change in G genes, as means of log-normalized counts less those of controls.

    Attributes
    ----------
    names
        Of the perturbations.
    seen, true
        float64 (P, G): less one half of the controls, for training; less the other half, for the test. With one half for
        both, noise of the controls would be shared, and pass for a prediction.
    own
        Of each perturbation the gene it is called after, -1 where that was not measured.
    agreement
        Of each perturbation the Pearson correlation of what two halves of its cells say, each less its half of the controls.
    sizes
        int (P,): cells of each.
    changes
        Of each perturbation the genes that change in its cells against the controls of the test, as `vcc.changed` gives them.
    controls
        Those for training, which predictions start from.
    """

    names: list[str]
    seen: np.ndarray
    true: np.ndarray
    own: np.ndarray
    agreement: np.ndarray
    sizes: np.ndarray
    changes: list[np.ndarray]
    controls: RankSums


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--perturbation", metavar="COL", help="obs column; default: the one that the sets' manifests name"
    )
    parser.add_argument("--control", metavar="VALUE", help="of controls; default: as the sets' manifests say")
    parser.add_argument(
        "--genes",
        nargs="+",
        default=[],
        metavar="FILE",
        help="Parquet of a model's genes: columns gene, embedding (lists)",
    )
    parser.add_argument(
        "--prediction",
        nargs="+",
        default=[],
        metavar="FILE",
        help="Parquet of what a model predicts: column perturbation, and a column for each feature id: mean of "
        "ln(1 + 10,000 · count / total)",
    )


def run(args: argparse.Namespace) -> Outcome:
    """Judge what predicts perturbations of the sets of `args`."""
    name, control = roles(args.set, args.perturbation, args.control)
    cells = read_cells(args.set, args.split, args.max_cells)
    column = cells.column(name, "--perturbation")
    effects, controls, notes = measure(cells, column, control, args.seed)
    if len(effects.names) < 2 * args.splits:
        raise ValueError(
            f"{len(effects.names)} perturbations of {LEAST} cells or more in {name!r}: two for each of "
            f"{args.splits} --splits are needed"
        )
    genes = {"pca of genes": components(cells.log_normalized[controls], args.seed)}
    genes |= {f"file:{path}": read_embedding(path, cells.feature_ids, symbols(cells)) for path in args.genes}
    base = np.asarray(cells.log_normalized[controls].mean(0), np.float64).ravel()
    files = {
        f"file:{path}": read_prediction(Path(path), effects.names, cells.feature_ids) - base for path in args.prediction
    }
    notes += [
        f"{row}: {len(effects.names) - n} of {len(effects.names)} perturbations have no embedding of their gene, and get the "
        "mean effect"
        for row, array in genes.items()
        if (n := int(embedded(array, effects.own).sum())) < len(effects.names)
    ]
    if still := sum(not len(genes_of) for genes_of in effects.changes):
        notes.append(
            f"{still} of {len(effects.names)} perturbations change no gene at a false discovery rate of 5%: their DES "
            "is 0 in every row"
        )
    ceiling = float(effects.agreement.mean())
    notes.append(f"two halves of a perturbation's own cells, and of controls, agree at a Pearson of {ceiling:.3f}")
    perfect = des(effects.changes, effects.controls.mean + effects.seen, effects.sizes, effects.controls)
    notes.append(f"the means of the cells themselves, as a prediction, would have a DES of {perfect:.3f}")
    scores = judge(effects, genes, files, make_splits(len(effects.names), args.splits, args.seed), args.seed)
    facts = {"n_perturbations": len(effects.names), "n_cells": len(cells), "n_controls_seen": len(controls)}
    title = f"{len(effects.names)} values of {name} beside {control}: {len(cells):,} cells"
    title += f", {len(cells.feature_ids):,} genes"
    return Outcome(
        title, scores, METRICS, cells.notes + notes, facts | {"halves_agree": ceiling, "des_of_means": perfect}
    )


def roles(sets: Sequence[str], column: str | None, control: str | None) -> tuple[str, str]:
    """The obs column of perturbations and its value of controls: as given, else as the manifests of all sets name them."""
    if column is not None and control is not None:
        return column, control
    found = {roles_of(ShardSet(path).manifest) for path in sets}
    known = next(iter(found)) if len(found) == 1 else None
    if known is None or (column is not None and column != known.column):
        why = "name none" if found == {None} else "name others" if len(found) == 1 else "do not agree"
        raise ValueError(
            f"which cells are controls? Give --perturbation COL and --control VALUE: the manifests of {', '.join(sets)} {why} "
            "(scdata build --perturbation COL --control VALUE has them named)"
        )
    return known.column, control if control is not None else known.control


def measure(cells: Cells, column: pd.Series, control: str, seed: int) -> tuple[Effects, np.ndarray, list[str]]:
    """Effects of the perturbations in `column`; the controls that training may see; and what was left out."""
    if (n := int((column == control).sum())) < 2 * LEAST:
        known = ", ".join(map(repr, sorted(column.dropna().unique())[:10]))
        raise ValueError(f"{n} cells are {control!r}, and {2 * LEAST} controls are needed: --control is one of {known}")
    rng = np.random.default_rng(seed)
    sizes = column.value_counts().drop(control).sort_index()
    notes = []
    if len(rare := sizes[sizes < LEAST]):
        told = ", ".join(f"{name} ({n})" for name, n in rare.items())
        notes.append(f"{len(rare)} perturbations of fewer than {LEAST} cells are left out: {told}")
    place = {gene: i for i, gene in enumerate(symbols(cells))} | {gene: i for i, gene in enumerate(cells.feature_ids)}

    def halves(name: str) -> tuple[np.ndarray, np.ndarray]:
        rows = rng.permutation(np.flatnonzero(column == name))
        return np.sort(rows[::2]), np.sort(rows[1::2])

    def mean(rows: np.ndarray) -> np.ndarray:
        return np.asarray(cells.log_normalized[rows].mean(0), np.float64).ravel()

    names = [str(name) for name in sizes[sizes >= LEAST].index]
    controls = halves(control)
    less = [mean(rows) for rows in controls]
    of_training, of_test = (RankSums(cells.log_normalized[rows]) for rows in controls)
    seen, true, agreement, changes = [], [], [], []
    for number, name in enumerate(names, 1):
        parts = halves(name)
        rows = np.concatenate(parts)
        whole = mean(rows)
        changes.append(changed(of_test.of_cells(cells.log_normalized[rows]), whole, of_test.mean))
        seen.append(whole - less[0])
        true.append(whole - less[1])
        agreement.append(pearson(mean(parts[0]) - less[0], mean(parts[1]) - less[1]))
        PROGRESS.done(f"what changes: {number} of {len(names)} perturbations")
    own = np.array([place.get(name, -1) for name in names])
    numbers = sizes[sizes >= LEAST].to_numpy()
    effects = Effects(names, np.array(seen), np.array(true), own, np.array(agreement), numbers, changes, of_training)
    return effects, controls[0], notes


def read_prediction(path: Path, names: list[str], ids: list[str]) -> np.ndarray:
    """Predicted mean profiles, float64 (P, G). Raises ValueError if one or a gene is missing, or a value not finite."""
    if not path.is_file():
        raise ValueError(f"--prediction {path}: there is no such file")
    table = pd.read_parquet(path)
    if "perturbation" not in table or len(missing := sorted(set(ids) - set(table))):
        what = "perturbation" if "perturbation" not in table else missing[0]
        raise ValueError(
            f"{path} has no column {what!r}: perturbation, and one for each of {len(ids):,} feature ids, are needed"
        )
    rows = table.drop_duplicates("perturbation").set_index("perturbation")[ids].reindex(names)
    if not np.isfinite(values := rows.to_numpy(np.float64)).all():
        raise ValueError(f"{path} lacks a perturbation of {', '.join(names)}, or has values that are not finite")
    return values


def make_splits(n: int, parts: int, seed: int) -> Iterator[Split]:
    """`parts` parts of `n` perturbations, tested in turn."""
    order = np.random.default_rng([seed, 2]).permutation(n)
    for number in range(parts):
        test = np.sort(order[number::parts])
        yield check(Split(HOW, str(number), np.setdiff1d(order, test), test))


def judge(
    effects: Effects, genes: dict[str, np.ndarray], files: dict[str, np.ndarray], splits: Iterator[Split], seed: int
) -> pd.DataFrame:
    """Scores of every row on every split: the frame of `tasks.table`. `genes` are embeddings (G, d), `files` effects (P, G)."""
    rows = []
    for split in splits:
        seen = effects.seen[split.train]
        mean = np.broadcast_to(seen.mean(0), (len(split.test), seen.shape[1]))
        drawn = np.random.default_rng([seed, 3, int(split.name)]).integers(len(seen), size=len(split.test))
        found = {"no change": np.zeros_like(mean), "mean effect": mean, "random": seen[drawn]}
        found |= {name: linear(effects, array, split) for name, array in genes.items()}
        found |= {name: effect[split.test] for name, effect in files.items()}
        base: dict[str, float] = {}
        for name, predicted in sorted(found.items(), key=lambda pair: pair[0] != BASELINE):
            row = {
                "representation": name,
                "probe": "linear" if name in genes else "",
                "how": split.how,
                "split": split.name,
            }
            scores = score(effects.true[split.test], predicted, effects.own[split.test]) | of_profiles(
                effects, predicted, split
            )
            base = base or scores
            scores["vcc"] = over_baseline(scores, base)
            rows.append(row | {"parameter_free": not name.startswith("file:")} | scores)
            PROGRESS.done(f"{split.how}, split {split.name}: {name}")
    return pd.DataFrame(rows)


def of_profiles(effects: Effects, predicted: np.ndarray, split: Split) -> dict[str, float]:
    """DES, and MAE of mean profiles, of effects (P, G) that are predicted for the test; all genes count, as in cell-eval."""
    test, profiles = split.test, effects.controls.mean + predicted
    true = effects.controls.mean + effects.seen[test]
    changes = [effects.changes[place] for place in test]
    return {
        "des": des(changes, profiles, effects.sizes[test], effects.controls),
        "mae": float(np.abs(profiles - true).mean()),
    }


def embedded(genes: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Of each perturbation whether its gene, `own` (P,), has an embedding among `genes` (G, d)."""
    return (own >= 0) & np.isfinite(genes[own]).all(1)


def linear(effects: Effects, genes: np.ndarray, split: Split) -> np.ndarray:
    """Effects of the test as the mean effect and what is linear (ridge) in the embedding of the perturbed gene."""
    known = embedded(genes, effects.own)
    predicted = np.tile(effects.seen[split.train].mean(0), (len(split.test), 1))
    train, test = split.train[known[split.train]], known[split.test]
    if len(train) > 1 and test.any():
        features = centred(genes[effects.own[np.r_[train, split.test[test]]]], np.arange(len(train)))
        targets = np.full((len(features), predicted.shape[1]), np.nan)
        targets[: len(train)] = effects.seen[train] - effects.seen[train].mean(0)
        predicted[test] += ridge(features, targets)[len(train) :]
    return predicted


def score(true: np.ndarray, predicted: np.ndarray, own: np.ndarray) -> dict[str, float]:
    """Means over perturbations (P, G), each without its own gene: Pearson of effects (0 of one without any), ``1 − MAE / MAE of
    no change``, and cell-eval's discrimination: 1 − rank / P of the true effect among all true ones by L1 distance."""
    correlation, error, size, rank = [], [], [], []
    for place, (t, p) in enumerate(zip(true, predicted, strict=True)):
        others = np.arange(len(t)) != own[place]
        correlation.append(pearson(t[others], p[others]))
        error.append(np.abs(t - p)[others].mean())
        size.append(np.abs(t)[others].mean())
        distances = np.abs(true - p)[:, others].sum(1)
        rank.append(int((distances < distances[place]).sum()))
    return {
        "pearson_delta": float(np.mean(correlation)),
        "mae_gain": float(1 - np.sum(error) / np.sum(size)),
        "pds": float(1 - np.mean(rank) / len(true)),
    }


def pearson(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson correlation; 0 where one of them is constant."""
    return float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) and np.ptp(other) else 0.0
