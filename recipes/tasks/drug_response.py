"""Drug response: how cell lines answer drugs, from tables of bulk profiles and responses: unseen lines, unseen drugs.

Bulk profiles are no counts: a model of single cells' counts cannot read them as it reads cells. One that reads genes by rank
can; any other embedding of lines, however it was made, comes as a file.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import rankdata

from .outcome import Outcome
from .progress import PROGRESS
from .ridge import centred, components, ridge, scaled
from .splits import Split, check
from .structures import read_fingerprints

METRICS = ("spearman_by_drug", "pearson_by_drug", "spearman_by_line", "pearson_by_line", "rmse_gain")
LINES, DRUGS = "lines left out", "drugs left out"
_LEAST = 10
Row = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--expression",
        type=Path,
        required=True,
        help="Parquet: a row a gene, a column a line, besides columns of names",
    )
    parser.add_argument("--response", type=Path, required=True, help="Parquet: a row for a line and a drug")
    parser.add_argument("--line", metavar="COL", default="line_key", help="column of lines; default: line_key")
    parser.add_argument("--drug", metavar="COL", default="drug", help="column of drugs; default: drug")
    parser.add_argument("--value", metavar="COL", default="ln_ic50", help="column of responses; default: ln_ic50")
    parser.add_argument(
        "--screen", metavar="NAME", help="value of the column dataset to take; needed where it has several"
    )
    parser.add_argument(
        "--embedding",
        nargs="+",
        default=[],
        metavar="FILE",
        help="Parquet of lines: the column of --line, and embedding (lists)",
    )
    parser.add_argument(
        "--representation",
        nargs="+",
        default=[],
        metavar="checkpoint:PATH",
        help="a recipe's checkpoint of a rank preset, which reads genes by the profile's values, on the CPU",
    )
    parser.add_argument(
        "--structures",
        type=Path,
        metavar="FILE",
        help="Parquet of drugs: the column of --drug, and smiles; needs RDKit",
    )


def run(args: argparse.Namespace) -> Outcome:
    """Judge what predicts responses from the tables of `args`."""
    PROGRESS.starts(f"reading {args.expression} and {args.response}")
    lines, drugs, x, y, genes, notes = read_tables(args)
    files = {f"file:{path}": read_embedding(Path(path), args.line, lines) for path in args.embedding}
    files |= {name: embed_by_rank(name, args.expression, x, genes, notes) for name in args.representation}
    structures = read_fingerprints(args.structures, args.drug, drugs) if args.structures else None
    if structures is not None and (n := int(np.isnan(structures[:, 0]).sum())):
        notes.append(f"{n:,} of {len(drugs):,} drugs have no structure, and get the line's mean")
    skipped: dict[str, set[int]] = {}
    splits = make_splits(len(lines), alike(drugs, structures), args.splits, args.seed)
    scores = judge(x, y, files, structures, splits, args.seed, skipped)
    notes += [
        f"{len(names):,} {what} are not scored in a split or more: fewer than {_LEAST} responses there, or no variance"
        for what, names in sorted(skipped.items())
    ]
    facts = {
        "n_lines": len(lines),
        "n_drugs": len(drugs),
        "n_genes": x.shape[1],
        "n_responses": int(np.isfinite(y).sum()),
    }
    of = f"{len(lines):,} lines of {x.shape[1]:,} genes, {len(drugs):,} drugs"
    title = f"{args.value} of {facts['n_responses']:,} pairs: {of}"
    return Outcome(title, scores, METRICS, notes, facts)


def read_tables(
    args: argparse.Namespace,
) -> tuple[list[str], list[str], np.ndarray, np.ndarray, pd.DataFrame, list[str]]:
    """The L lines and D drugs of both tables, float64 expression (L, G) and responses (L, D), NaN where none is; names of
    genes, G rows, a column for each kind; notes.

    Raises
    ------
    ValueError
        If a table or a column is not there, or the tables share too few lines or drugs.
    """
    for path in (args.expression, args.response):
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
    table = pd.read_parquet(args.response)
    if missing := [name for name in (args.line, args.drug, args.value) if name not in table]:
        raise ValueError(f"{args.response} has no column {missing[0]!r}: it has {', '.join(map(repr, table.columns))}")
    if "dataset" in table:
        there = sorted(map(str, table["dataset"].unique()))
        if (args.screen or there[0]) not in there or (args.screen is None and len(there) > 1):
            raise ValueError(f"{args.response} has responses of {', '.join(there)}: take one of them by --screen")
        table = table[table["dataset"].astype(str) == (args.screen or there[0])]
    schema = pq.read_schema(args.expression)
    columns = set(schema.names)
    pairs = table.assign(line=table[args.line].astype(str), drug=table[args.drug].astype(str)).dropna(
        subset=[args.value]
    )
    notes = ["bulk profiles are no counts: what was read off them is linear in their values"]
    if n := len(set(pairs["line"]) - columns):
        notes.append(f"{n:,} of {pairs['line'].nunique():,} lines have no expression and are left out")
    wide = pairs[pairs["line"].isin(columns)].pivot_table(args.value, "line", "drug", aggfunc="mean", observed=True)
    rare = wide.columns[wide.notna().sum() < 2 * _LEAST]
    if len(rare):
        notes.append(f"{len(rare):,} drugs with fewer than {2 * _LEAST} lines are left out")
        wide = wide.drop(columns=rare)
    if wide.shape[0] < 2 * _LEAST or wide.shape[1] < 2:
        raise ValueError(
            f"{wide.shape[0]} lines with expression and {wide.shape[1]} drugs of {2 * _LEAST} such lines or more: "
            f"{2 * _LEAST} lines and 2 drugs are needed"
        )
    values = pq.read_table(args.expression, columns=list(wide.index)).to_pandas().to_numpy(np.float64).T
    whole = np.isfinite(values).all(0)
    if not whole.all():
        notes.append(f"{int((~whole).sum()):,} of {len(whole):,} genes have no value in some line and are left out")
    kinds = [own.name for own in schema if own.type in (pa.string(), pa.large_string())]
    genes = pq.read_table(args.expression, columns=kinds).to_pandas()[whole]
    return list(wide.index), list(wide.columns), values[:, whole], wide.to_numpy(np.float64), genes, notes


def embed_by_rank(name: str, expression: Path, x: np.ndarray, genes: pd.DataFrame, notes: list[str]) -> np.ndarray:
    """What a checkpoint's model makes of the lines (L, G), by the column of `genes` of which it knows most: float64 (L, d)."""
    kind, _, path = name.partition(":")
    if kind != "checkpoint" or not path:
        raise ValueError(f"--representation {name}: expected checkpoint:PATH; embeddings of lines go to --embedding")
    # brings torch and the recipe, which others do not need
    from common.profiles import embed_profiles, load_rank_model

    known = set(load_rank_model(Path(path))[1])
    if not len(genes.columns) or not genes.isin(known).any(axis=None):
        raise ValueError(
            f"{name} knows no gene of {expression}, such as {', '.join(map(str, genes.head(1).to_numpy()[0]))}"
        )
    column = genes.isin(known).sum().idxmax()
    PROGRESS.starts(f"embedding {len(x):,} lines by {path}, on the CPU")
    rows, n = embed_profiles(Path(path), x, list(genes[column]))
    notes.append(
        f"{name} reads the genes of a line by falling value, {n:,} of {len(genes):,} are known to it: no counts, no medians "
        "over a corpus, and of the context's length the highest only"
    )
    return rows.astype(np.float64)


def read_embedding(path: Path, column: str, lines: list[str]) -> np.ndarray:
    """Embeddings of lines from a Parquet file: float64 (L, d). Raises ValueError if one is missing, twice or not finite."""
    if not path.is_file():
        raise ValueError(f"--embedding {path}: there is no such file")
    table = pd.read_parquet(path)
    if not {column, "embedding"} <= set(table):
        raise ValueError(
            f"{path} needs columns {column!r} and 'embedding': it has {', '.join(map(repr, table.columns))}"
        )
    index = pd.Index(table[column].astype(str))
    places = index.get_indexer(lines) if index.is_unique else np.array([-1])
    if (places < 0).any():
        raise ValueError(
            f"{path} lacks lines, or has one twice: a row is needed for each of {len(lines):,}, such as {lines[0]!r}"
        )
    array = np.stack([np.asarray(row, np.float64) for row in table["embedding"].iloc[places]])
    if not np.isfinite(array).all():
        raise ValueError(f"{path} has values that are not finite")
    return array


def alike(drugs: list[str], structures: np.ndarray | None) -> np.ndarray:
    """A number for each drug, int64 (D,), the same for what is one drug: of equal structure, or letters and digits."""
    keys: list[str | bytes] = ["".join(filter(str.isalnum, name)).lower() for name in drugs]
    if structures is not None:
        keys = [bits.tobytes() if np.isfinite(bits).all() else key for key, bits in zip(keys, structures, strict=True)]
    return pd.factorize(np.array(keys, dtype=object))[0]


def make_splits(n_lines: int, drugs: np.ndarray, n: int, seed: int) -> Iterator[Split]:
    """`n` parts of the lines, then of the `drugs` (as `alike` gives them: no drug is on both sides under two names)."""
    rng = np.random.default_rng(seed)
    for how, groups in ((LINES, np.arange(n_lines)), (DRUGS, drugs)):
        order = rng.permutation(groups.max() + 1)
        for number in range(n):
            test = np.isin(groups, order[number::n])
            yield check(Split(how, str(number), np.flatnonzero(~test), np.flatnonzero(test)), groups)


def judge(
    x: np.ndarray,
    y: np.ndarray,
    files: dict[str, np.ndarray],
    structures: np.ndarray | None,
    splits: Iterator[Split],
    seed: int,
    skipped: dict[str, set[int]],
) -> pd.DataFrame:
    """Scores of every row on every split: the frame of `tasks.table`.

    Parameters
    ----------
    x, y
        float64 (L, G) expression; (L, D) responses, NaN where there is none.
    files
        Embeddings of lines (L, d) that needed a model.
    structures
        float64 (D, f), NaN of a drug without one; for drugs that are left out.
    skipped
        Receives which drugs and lines were not scored, by what they are.
    """
    noise = np.random.default_rng([seed, 1]).standard_normal((len(x), 32))
    out = []
    for split in splits:
        lines_out = split.how == LINES
        train = split.train if lines_out else np.arange(len(x))
        known = np.full(y.shape, np.nan)
        side = (split.train, slice(None)) if lines_out else (slice(None), split.train)
        known[side] = y[side]
        drug_mean = mean_of_known(known, 0)
        base = np.broadcast_to(drug_mean if lines_out else np.nanmean(known), y.shape)
        features = {"expression": scaled(x, train), "pca": components(x, train, seed), "random": scaled(noise, train)}
        features |= {name: scaled(array, train) for name, array in files.items()}
        # how much more than others a line resists drugs, whichever
        general = np.where(np.isfinite(known).any(1), mean_of_known(known - drug_mean, 1), np.nan)[:, None]
        if lines_out:
            rows = {("drug mean", ""): base, ("expression", "one ridge"): base + ridge(features["expression"], general)}
            rows |= {(name, "ridge"): ridge(array, known) for name, array in features.items()}
        else:
            rows = {("line mean", ""): base + np.nan_to_num(general)}
            rows |= {(name, "one ridge"): base + ridge(array, general) for name, array in features.items()}
            if structures is not None:
                means = np.where(np.isfinite(known).any(0), drug_mean - np.nanmean(known), np.nan)
                learned = by_structure(structures, known - drug_mean - general, means)
                rows["structures", "ridge"] = rows["line mean", ""] + learned
        test = (split.test, slice(None)) if lines_out else (slice(None), split.test)
        for (name, probe), predicted in rows.items():
            row = {"representation": name, "probe": probe, "parameter_free": name not in files}
            places = (split.test if lines_out else train, np.arange(y.shape[1]) if lines_out else split.test)
            found = score(y[test], predicted[test], base[test], places, skipped)
            out.append(row | {"how": split.how, "split": split.name} | found)
            PROGRESS.done(f"{split.how}, split {split.name}: {name}")
    return pd.DataFrame(out)


def by_structure(structures: np.ndarray, residuals: np.ndarray, drug_mean: np.ndarray) -> np.ndarray:
    """What is linear in a drug's structure (D, f), for every line and drug (L, D): how potent it is for any line, learned from
    means (D,), and what each line has beside means, learned from its own `residuals` (L, D). NaN is not known; 0 of a drug
    without a structure."""
    there = np.isfinite(structures).all(1)
    targets = np.vstack([drug_mean, residuals]).T
    targets[~there] = np.nan
    train = np.flatnonzero(np.isfinite(targets[:, 0]))
    array = centred(np.where(there[:, None], structures, 0), train)
    found = np.nan_to_num(ridge(array, targets))
    return np.where(there, found[:, :1].T + found[:, 1:].T, 0.0)


def score(
    truth: np.ndarray,
    predicted: np.ndarray,
    base: np.ndarray,
    places: tuple[np.ndarray, np.ndarray],
    skipped: dict[str, set[int]],
) -> dict[str, float]:
    """Mean correlations by drug (columns) and by line (rows), of those with ten responses or more and a variance; the others of
    the lines and drugs at `places` are added to `skipped`. Where all predictions are equal a correlation is 0. ``rmse_gain``:
    1 − RMSE / RMSE of `base`, over all pairs."""
    there = np.isfinite(truth)
    found: dict[str, float] = {}
    sides = (("drug", truth.T, predicted.T, there.T, places[1]), ("line", truth, predicted, there, places[0]))
    for what, t, p, known, names in sides:
        pearson, spearman = [], []
        for number, rows in enumerate(known):
            own = t[number, rows]
            if len(own) < _LEAST or np.ptp(own) == 0:
                skipped.setdefault(f"{what}s", set()).add(int(names[number]))
                continue
            pearson.append(_correlation(own, p[number, rows]))
            spearman.append(_correlation(rankdata(own), rankdata(p[number, rows])))
        found |= {f"spearman_by_{what}": _mean(spearman), f"pearson_by_{what}": _mean(pearson)}
    error, without = (float(np.sqrt(np.mean((truth - of)[there] ** 2))) for of in (predicted, base))
    return found | {"rmse_gain": 1 - error / without}


def mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of what is not NaN; where nothing is, 0."""
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(axis) / np.maximum(known.sum(axis), 1)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    # equal predictions differ by rounding only
    if np.ptp(other) <= 1e-9 * max(1.0, float(np.abs(other).max())):
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
