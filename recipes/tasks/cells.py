"""The cells of sets of counts, in memory: what every task compares representations on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

import scdata

from .progress import PROGRESS

# a copy of a cell in training makes its test easy; cells with fewer genes are equal by chance
_GENES_OF_A_COPY = 50
_OURS = ("cell_id", "n_tokens", "total_counts", "vocab_counts")


@dataclass(eq=False)
class Cells:
    """N cells by the G genes that all of their datasets measured.

    Attributes
    ----------
    counts
        int32 CSR (N, G), raw counts.
    obs
        N rows, by rising (``set``, ``cell_id``): int64 ``cell_id``, int ``set`` (place of the set on the command line),
        ``obs_name``, and the columns of ``obs/`` (one called ``set`` is ``obs.set``).
    feature_ids
        Of the G genes.
    sources
        For each set its folder and the splits that were read.
    ids
        For each set the int64 ids of all cells that were read, also of those that were left out since.
    whole
        Whether all cells of the sets were read.
    notes
        What was left out, in sentences.
    """

    counts: sparse.csr_matrix
    obs: pd.DataFrame
    feature_ids: list[str]
    sources: list[tuple[str, list[str]]]
    ids: list[np.ndarray]
    whole: bool
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.obs)

    @cached_property
    def log_normalized(self) -> sparse.csr_matrix:
        """float32 CSR (N, G): ln(1 + 10⁴ · count / total), the total being that of the G genes."""
        total = np.asarray(self.counts.sum(1)).ravel()
        # a cell without counts stays zero
        scale = 1e4 / np.maximum(total, 1)
        values = np.log1p(self.counts.data * np.repeat(scale, np.diff(self.counts.indptr)))
        return sparse.csr_matrix(
            (values.astype(np.float32), self.counts.indices, self.counts.indptr), self.counts.shape
        )

    def take(self, rows: np.ndarray, note: str | None = None) -> "Cells":
        """Some of the cells: `rows` are a bool mask (N,) or indices; `note` says why the others are left out."""
        notes = [*self.notes, note] if note else self.notes
        obs = self.obs.iloc[rows].reset_index(drop=True)
        return Cells(self.counts[rows], obs, self.feature_ids, self.sources, self.ids, self.whole, notes)

    def column(self, name: str, what: str) -> pd.Series:
        """An obs column as strings, null where it is null; `what` says for an error what it was to be."""
        if name not in self.obs:
            from common.config import nearest

            known = [c for c in self.obs if c not in _OURS and 1 < self.obs[c].nunique() < len(self) / 2]
            raise ValueError(
                f"the set has no obs column {name!r} for {what}: {nearest(name, known)} (of several values)"
            )
        column = self.obs[name]
        return column.astype(object).where(column.notna(), None).map(str, na_action="ignore")


def read_cells(sets: Sequence[str], splits: Sequence[str] = (), max_cells: int = 20_000) -> Cells:
    """Read sets of counts.

    Parameters
    ----------
    sets
        Folders.
    splits
        Which splits of them; none: all.
    max_cells
        Of more cells a fair sample of this size is taken. Memory is about 8 bytes for each count that is not zero: 0.3 GB for
        20,000 cells of 2,000 genes.

    Returns
    -------
    Cells

    Raises
    ------
    ScdataError, ValueError
        If a set is not there, is damaged, or holds tokens; if it has none of the splits; if the sets share no gene.
    """
    there = [_splits_of(path, splits) for path in sets]
    sources = [(path, list(own)) for path, own in zip(sets, there, strict=True)]
    parts = [(place, sets[place], split, n) for place, own in enumerate(there) for split, n in own.items()]
    n_cells = sum(n for *_, n in parts)
    share = min(1.0, max_cells / n_cells)
    counts, frames, genes, measured = [], [], [], []
    for place, path, split, n in parts:
        subset = None if share == 1 else max(1, int(n * share))
        PROGRESS.starts(f"reading {subset or n:,} cells of {path}, split {split}")
        for part in scdata.iter_anndata(path, split=split, subset=subset):
            obs = part.obs.rename(columns={"set": "obs.set"})
            counts.append(part.X)
            frames.append(obs.assign(set=place, obs_name=part.obs_names))
            genes.append(list(part.var_names))
        measured.append(_measured(path, split, subset))
    shared = [gene for gene in genes[0] if all(gene in of for of in measured)]
    if not shared:
        raise ValueError(
            f"the sets {', '.join(sets)} have no gene that all of their datasets measured: nothing to compare"
        )
    parts_of_X = [
        part if of == shared else part[:, _places(shared, of)] for part, of in zip(counts, genes, strict=True)
    ]
    X = sparse.vstack(parts_of_X, format="csr")
    obs = pd.concat([frame.astype({c: object for c in frame if frame[c].dtype == "category"}) for frame in frames])
    order = np.lexsort((obs["cell_id"], obs["set"]))
    notes = []
    if share < 1:
        notes.append(f"a fair sample of {len(obs):,} of {n_cells:,} cells (--max-cells)")
    if len(shared) < (most := max(map(len, genes))):
        notes.append(f"{len(shared):,} of {most:,} genes were measured in every dataset, and only they are used")
    obs = obs.iloc[order].reset_index(drop=True)
    ids = [obs["cell_id"].to_numpy()[obs["set"] == place] for place in range(len(sets))]
    return _without_copies(Cells(X[order], obs, shared, sources, ids, share == 1 and not splits, notes))


def _splits_of(path: str, wanted: Sequence[str]) -> dict[str, int]:
    """The splits of a set that are wanted (none named: all), with how many cells they have."""
    manifest = Path(path) / "manifest.json"
    if not manifest.is_file():
        raise ValueError(f"{path} is no folder of a complete set: build one with scdata build SOURCE -o {path}")
    there = json.loads(manifest.read_text())["splits"]
    found = {name: split["n_cells"] for name, split in there.items() if not wanted or name in wanted}
    if not sum(found.values()):
        raise ValueError(
            f"{path} has no cells in split {', '.join(map(repr, wanted))}: it has {', '.join(map(repr, there))}"
        )
    return {name: n for name, n in found.items() if n}


def _measured(path: str, split: str, subset: int | None) -> set[str]:
    """Genes that every dataset of a split measured."""
    ds = scdata.ShardDataset(
        path, split=split, subset=subset, output="dense", batch_size=256, shuffle=False, columns=("measured",)
    )
    genes = list(ds.dense_feature_ids)
    if len(ds.categories["dataset"]) == 1:
        everywhere = next(iter(ds))["measured"].numpy().all(0)
    else:
        everywhere = np.all([batch["measured"].numpy().all(0) for batch in ds], axis=0)
    return {gene for gene, there in zip(genes, everywhere, strict=True) if there}


def _places(shared: list[str], genes: list[str]) -> np.ndarray:
    place = {gene: i for i, gene in enumerate(genes)}
    return np.array([place[gene] for gene in shared])


def copies(counts: sparse.csr_matrix) -> np.ndarray:
    """Of each cell (N, G) the first one with its genes and counts, mostly itself: int64 (N,)."""
    first: dict[bytes, int] = {}
    found = np.arange(counts.shape[0])
    counts.sort_indices()
    for row, (start, stop) in enumerate(zip(counts.indptr, counts.indptr[1:], strict=False)):
        if stop - start >= _GENES_OF_A_COPY:
            key = counts.indices[start:stop].tobytes() + counts.data[start:stop].tobytes()
            found[row] = first.setdefault(key, row)
    return found


def _without_copies(cells: Cells) -> Cells:
    """The cells without those that have the genes and counts of an earlier one."""
    keep = copies(cells.counts) == np.arange(len(cells))
    if keep.all():
        return cells
    n = int((~keep).sum())
    return cells.take(
        keep, f"{n:,} cells with the counts of another cell are left out, so that none is in training and in test"
    )
