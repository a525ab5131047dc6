"""Representations by name: from cells to an array with a row for each.

A representation that is fitted (principal components, variable genes) sees the training cells only.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from . import parameter_free
from .cells import Cells
from .precomputed import embed_checkpoint, read_file, read_obsm
from .probes import Features


@dataclass(frozen=True)
class Representation:
    """A name as on the command line; a function of cells (N), the indices of the training cells and a seed, which gives floats
    (N, d); whether it comes without a model; and the probes that suit it."""

    name: str
    features: Callable[[Cells, np.ndarray, int], Features]
    parameter_free: bool = False
    probes: tuple[str, ...] = ("kNN", "linear")


PARAMETER_FREE = {
    each.name: each
    for each in (
        Representation("sctop", parameter_free.sctop, True, ("projection", "kNN", "linear")),
        Representation("pca", parameter_free.pca, True),
        Representation("lognorm", parameter_free.lognorm, True, ("linear",)),
        Representation("depth", parameter_free.depth, True),
        Representation("random", parameter_free.random, True),
    )
}

_BY_ENDING = {".parquet": "file:{}", ".pt": "checkpoint:{}", ".h5ad": "obsm:{}:KEY"}


def chosen(names: Sequence[str], baselines: Sequence[str] | None) -> list[Representation]:
    """The representations of a run: those named, and the parameter-free ones, of which `baselines` may name some.

    Raises
    ------
    ValueError
        If a name means nothing, stands twice, or no parameter-free one is left.
    """
    baselines = list(PARAMETER_FREE) if baselines is None else baselines
    unknown = [name for name in baselines if name not in PARAMETER_FREE]
    if unknown or not baselines:
        what = f"{unknown[0]!r} is no parameter-free representation" if unknown else "nothing to compare with"
        raise ValueError(f"--baselines: {what}: choose one or more of {', '.join(PARAMETER_FREE)}")
    models = [_model(name) for name in dict.fromkeys(names) if name not in PARAMETER_FREE]
    free = {name for name in (*names, *baselines) if name in PARAMETER_FREE}
    return [*models, *(each for name, each in PARAMETER_FREE.items() if name in free)]


def _model(name: str) -> Representation:
    kind, _, where = name.partition(":")
    path, _, key = where.rpartition(":")
    if kind == "checkpoint" and where:
        return _fixed(name, partial(embed_checkpoint, where))
    if kind == "file" and where:
        return _fixed(name, partial(read_file, where))
    if kind == "obsm" and path and key:
        return _fixed(name, partial(read_obsm, path, key))
    meant = _meant(name)
    hint = f"did you mean {meant!r}? " if meant else ""
    raise ValueError(
        f"unknown representation {name!r}: {hint}Known: checkpoint:PATH, file:EMB.parquet, obsm:FILE.h5ad:KEY, "
        f"{', '.join(PARAMETER_FREE)}"
    )


def _meant(name: str) -> str | None:
    """The representation that a name comes near to: by its ending where it is a file, else by its spelling."""
    kind, _, where = name.partition(":")
    path = where or name
    if kind in (name, "obsm") and (form := _BY_ENDING.get(Path(path).suffix)) is not None:
        return form.format(path)
    known = ["checkpoint", "file", "obsm"] if where else list(PARAMETER_FREE)
    close = difflib.get_close_matches(kind, known, n=1, cutoff=0.5)
    return f"{close[0]}:{where}" if close and where else "".join(close) or None


def _fixed(name: str, read: Callable[[Cells], Features]) -> Representation:
    """A representation that is the same whatever the split, read once."""
    once = lru_cache(maxsize=1)(read)
    return Representation(name, lambda cells, train, seed: once(cells))
