"""Scores as a table, which has what needs no model in it, and what it says in words.

Scores are a frame of one row for a representation, a probe and a split: ``representation``, ``probe``, ``parameter_free``,
``how`` (cells were split), ``split``, and a column for each metric, of which more is better.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

_ROW = ["representation", "probe"]
_LONGEST_NAME = 40


def summarize(scores: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """A row for each way of splitting, representation and probe; the best one first.

    Returns
    -------
    DataFrame
        ``how``, ``representation``, ``probe``, ``parameter_free``, ``n_splits``; of each metric the mean over splits, by its
        name, and ``sd``, the standard deviation of the first one (NaN of one split); ``difference`` and ``difference_sd``,
        mean and standard deviation of the paired differences of the first metric to the best parameter-free row.

    Raises
    ------
    ValueError
        If a way of splitting has no parameter-free row: no figure is shown without one.
    """
    parts = []
    for how, own in scores.groupby("how", sort=False):
        by_split = _by_split(own, metrics[0])
        free = own.groupby(_ROW, sort=False)["parameter_free"].all()
        if not free.any():
            raise ValueError(
                f"{how}: no parameter-free row among {', '.join(row_names(own).values())}: nothing to compare with"
            )
        mean = own.groupby(_ROW, sort=False)[list(metrics)].mean()
        paired = by_split.sub(by_split[mean[metrics[0]][free].idxmax()], axis=0)
        part = mean.assign(sd=by_split.std(ddof=1), difference=paired.mean(), difference_sd=paired.std(ddof=1))
        part = part.assign(how=how, parameter_free=free, n_splits=by_split.count())
        parts.append(part.sort_values(metrics[0], ascending=False, kind="stable").reset_index())
    return pd.concat(parts, ignore_index=True)


def table_lines(scores: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """The table of each way of splitting, and who won. Raises as `summarize` does."""
    lines, names = [], row_names(scores)
    for how, own in summarize(scores, metrics).groupby("how", sort=False):
        n = own["n_splits"].max()
        width = max(len(names[row]) for row in own[_ROW].itertuples(index=False, name=None)) + 2
        heads = [metric.replace("_", " ") for metric in metrics]
        lines += ["", f"{how}, {n} split{'s' if n > 1 else ''}"]
        lines += [f"  {'':<{width}}{heads[0]:>9}  {'sd':>5}  {'to the best without a model':>27}" + _cells(heads[1:])]
        for row in own.itertuples():
            name = names[row.representation, row.probe] + (" " if row.parameter_free else "*")
            to_best = f"{row.difference:+.3f} ± {row.difference_sd:.3f}" if row.difference or row.difference_sd else ""
            rest = _cells([f"{getattr(row, metric):.3f}" for metric in metrics[1:]])
            lines.append(f"  {name:<{width}}{getattr(row, metrics[0]):>9.3f}  {row.sd:>5.3f}  {to_best:>27}{rest}")
        lines.append(f"  {verdict(scores, str(how), metrics[0])}")
    if not scores["parameter_free"].all():
        lines += ["", "* needs a model; ± is the standard deviation of the paired differences over splits"]
    return lines


def verdict(scores: pd.DataFrame, how: str, metric: str) -> str:
    """Who won, in words: the best row that needs a model against the best that needs none; without a model, the best row
    against the best of another representation. A difference within its standard deviation over splits is no difference."""
    own, names = scores[scores["how"] == how], row_names(scores)
    by_split = _by_split(own, metric)
    by_split.columns = [names[row] for row in by_split.columns]
    order = list(by_split.mean().sort_values(ascending=False, kind="stable").index)
    free = {names[row.representation, row.probe]: row.parameter_free for row in own.itertuples()}
    best_free = next(row for row in order if free[row])
    if models := [row for row in order if not free[row]]:
        return f"{_compared(by_split, models[0], best_free)} ({best_free} needs no model.)"
    same = {names[row.representation, row.probe]: row.representation for row in own.itertuples()}
    others = [row for row in order if same[row] != same[best_free]]
    return f"No model was judged. {_compared(by_split, best_free, others[0]) if others else f'{best_free} is alone.'}"


def row_names(scores: pd.DataFrame, longest: int = _LONGEST_NAME) -> dict[tuple[str, str], str]:
    """What each representation and probe is called: ``"pca + kNN"``; without a probe the representation alone.

    Of a path of more than `longest` letters its end is kept, file and folder at least, and as much before them as tells it from
    the others: checkpoints of several runs have the same file names. No two names are the same.
    """
    rows = list(scores[_ROW].drop_duplicates().itertuples(index=False, name=None))
    parts = {name: (name.partition(":")[0], *name.partition(":")[2].split("/")) for name, _ in rows}
    ends = Counter((kind, *path[-n:]) for kind, *path in parts.values() for n in range(1, len(path) + 1))
    found = {}
    for name, probe in rows:
        kind, *path = parts[name]
        n = next((n for n in range(2, len(path)) if ends[kind, *path[-n:]] == 1), len(path))
        short = f"{kind}:…/{'/'.join(path[-n:])}" if n < len(path) and len(name) > longest else name
        found[name, probe] = " + ".join(part for part in (short, probe) if part)
    return found


def _compared(by_split: pd.DataFrame, a: str, b: str) -> str:
    paired = (by_split[a] - by_split[b]).to_numpy()
    n, mean = len(paired), float(paired.mean())
    if n < 2:
        return f"No winner can be named: {a} and {b} differ by {mean:+.3f} in the only split, which has no spread."
    spread = float(paired.std(ddof=1))
    if abs(mean) <= spread or mean == 0:
        return f"{a} and {b} are level: they differ by {mean:+.3f}, and that by {spread:.3f} over {n} splits."
    size = (
        f"{abs(mean) / spread:.1f} times the spread of the difference over {n} splits"
        if spread
        else f"the same in {n} splits"
    )
    times = int((np.sign(paired) == np.sign(mean)).sum())
    return f"{a} {'wins over' if mean > 0 else 'loses to'} {b} by {abs(mean):.3f}, {size}, in {times} of {n}."


def _by_split(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row for each split, a column for each representation and probe."""
    return scores.pivot(index="split", columns=_ROW, values=metric)


def _cells(texts: Sequence[str]) -> str:
    return "".join(f"  {text:>17}" for text in texts)
