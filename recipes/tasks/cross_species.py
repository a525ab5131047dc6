"""Cross-species: name the labels of one species' cells by probes trained on another's, over orthologous genes, both ways."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from .annotation import METRICS, judge, labelled
from .cells import Cells, copies, read_cells
from .orthologs import lost, match, read_pairs, same_ids
from .outcome import Outcome
from .representations import Representation
from .splits import Split, check, stratified

LABELS = "cell_type_ontology_term_id"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--labels", metavar="COL", default=LABELS, help=f"obs column to name; default: {LABELS}")
    parser.add_argument(
        "--orthologs",
        type=Path,
        metavar="FILE",
        help="table with a column of gene ids for each species; default: sets that share genes, one built with --orthologs",
    )
    parser.add_argument(
        "--many-to-one", action="store_true", help="sum the counts of orthologs; default: one-to-one orthologs only"
    )


def run(args: argparse.Namespace, representations: Sequence[Representation]) -> Outcome:
    """Judge representations on the two sets of `args`."""
    if len(args.set) != 2:
        raise ValueError(f"cross-species compares two sets, one of each species: {len(args.set)} given to --set")
    sides = [labelled(read_cells([path], args.split, args.max_cells), args.labels, args.splits) for path in args.set]
    names = [_species(side, path) for side, path in zip(sides, args.set, strict=True)]
    if names[0] == names[1]:
        names = list(args.set)
    one, other = (side.feature_ids for side in sides)
    if args.orthologs is None and args.many_to_one:
        raise ValueError("--many-to-one says how a table of orthologs is used: name one with --orthologs")
    pairs = same_ids(one, other) if args.orthologs is None else read_pairs(args.orthologs, one, other, args.many_to_one)
    genes = match(pairs, one, other)
    notes = [f"{name}: {note}" for name, side in zip(names, sides, strict=True) for note in side.notes]
    notes += [lost(name, side.counts, to) for name, side, to in zip(names, sides, genes.maps, strict=True)]
    cells = joined(sides, genes.names, genes.maps)
    labels = cells.column(args.labels, "labels").to_numpy(str)
    kinds = [set(labels[cells.obs["set"] == place]) for place in (0, 1)]
    for name, own, theirs in zip(names, kinds, kinds[::-1], strict=True):
        if alone := sorted(own - theirs):
            notes.append(f"{name}: not tested, because the other species has none of them: {', '.join(alone)}")
    if len(kinds[0] & kinds[1]) < 2:
        raise ValueError(f"the sets share {len(kinds[0] & kinds[1])} values of {args.labels}: two are needed")
    splits = make_splits(cells, labels, names, args.splits, args.seed)
    scores = judge(cells, labels, representations, splits, args.seed)
    how = (
        "shared genes" if args.orthologs is None else "summed orthologs" if args.many_to_one else "one-to-one orthologs"
    )
    facts = {
        "labels": args.labels,
        "n_labels": len(kinds[0] & kinds[1]),
        "n_cells": len(cells),
        "n_genes": len(genes.names),
    }
    title = f"{args.labels} from {names[0]} to {names[1]} and back: {len(cells):,} cells, {len(genes.names):,} {how}"
    return Outcome(title, scores, METRICS, notes, facts)


def joined(sides: Sequence[Cells], names: list[str], maps: Sequence[sparse.csr_matrix]) -> Cells:
    """The cells of two sets over their K common genes; ``set`` is 0 and 1."""
    counts = sparse.vstack([side.counts @ to for side, to in zip(sides, maps, strict=True)], format="csr")
    obs = pd.concat([side.obs.assign(set=place) for place, side in enumerate(sides)], ignore_index=True)
    sources = [own for side in sides for own in side.sources]
    ids = [own for side in sides for own in side.ids]
    return Cells(counts, obs, names, sources, ids, all(side.whole for side in sides))


def make_splits(cells: Cells, labels: np.ndarray, names: Sequence[str], n: int, seed: int) -> list[Split]:
    """For each direction `n` splits: training leaves out a part of one species, a part of the other is the test, so
    that the spread is that of both. Cells of labels that the training species lacks are not tested."""
    rows = [np.flatnonzero(cells.obs["set"] == place) for place in (0, 1)]
    parts = [list(stratified(labels[own], n, seed)) for own in rows]
    of, species = copies(cells.counts), cells.obs["set"].to_numpy(str)
    splits = []
    for source, target in ((0, 1), (1, 0)):
        for here, there in zip(parts[source], parts[target], strict=True):
            train, test = rows[source][here.train], rows[target][there.test]
            test = test[np.isin(labels[test], labels[train])]
            splits.append(check(Split(f"{names[source]} to {names[target]}", here.name, train, test), species, of))
    return splits


def _species(cells: Cells, path: str) -> str:
    """The organism, if obs tells one; else the folder."""
    column = cells.obs.get("organism")
    return str(column.iloc[0]) if column is not None and column.nunique(dropna=False) == 1 else path
