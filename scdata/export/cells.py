"""What is exported: cells of some splits of a set, in stored order, as parts of AnnData."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scdata._cached import cached_property
from scdata._optional import need
from scdata.shard.cells import OBS, reserved_name
from scdata.shard.export_facts import OF_CELLS, SPLIT, export_facts
from scdata.shard.shard_set import ShardSet
from scdata.source.export_facts import SIDE_FILE
from scdata.source.measured_genes import BITS, BITS_FILE, MEASURED
from scdata.stream.anndata_cells import iter_anndata

_PART = 8192  # cells in memory


@dataclass(frozen=True)
class Exported:
    """Cells to export.

    Parameters
    ----------
    shards
        The set.
    path
        Where it is.
    splits
        Which splits, in order.
    tokenizer
        For formats of tokens.

    Raises
    ------
    ValueError
        If there is no such split.
    """

    shards: ShardSet
    path: str
    splits: tuple[str, ...]
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        for split in self.splits:
            if split not in self.shards.splits:
                raise ValueError(f"{self.path} has no split {split!r}: it has {', '.join(self.shards.splits)}")

    @property
    def n_cells(self) -> int:
        return sum(int(self.shards.manifest["splits"][split]["n_cells"]) for split in self.splits)

    @property
    def nnz(self) -> int:
        """Counts that are not zero, of a set of counts."""
        return sum(int(self.shards.manifest["splits"][split]["n_tokens"]) for split in self.splits)

    @property
    def full_splits(self) -> tuple[str, ...]:
        """Splits that have cells."""
        return tuple(split for split in self.splits if self.shards.manifest["splits"][split]["n_cells"])

    def parts(self) -> Iterator[Any]:
        """AnnData of some thousand cells at a time, int32 CSR; obs has ``split``, and the set's own as ``obs.split``."""
        for split in self.full_splits:
            for part in iter_anndata(self.path, split=split, chunk_size=_PART):
                part.obs = part.obs.rename(columns={SPLIT: beside(SPLIT, (SPLIT,))})
                part.obs[SPLIT] = need("pandas", "write obs").Categorical([split] * part.n_obs, list(self.splits))
                yield part

    @property
    def facts(self) -> dict[str, Any]:
        """What `export_facts` says of the set."""
        return self._facts((), (), None, False)

    def _facts(
        self, taken: Collection[str], added: Sequence[str], genes: Sequence[str] | None, types: bool
    ) -> dict[str, Any]:
        def name_of(name: str) -> str:
            return beside(reserved_name(name), {SPLIT, *taken})

        return export_facts(self.shards, name_of, [*OF_CELLS, SPLIT, *added], genes, types)

    def write_facts(
        self,
        folder: Path,
        taken: Collection[str] = (),
        added: Sequence[str] = (),
        genes: Sequence[str] | None = None,
        types: bool = False,
    ) -> None:
        """Put the facts beside the cells, for formats that have no place for them.

        Parameters
        ----------
        taken
            As of `beside`.
        added
            obs columns beside those that all formats have.
        genes
            Names of genes, as of `export_facts`.
        types
            As of `export_facts`.
        """
        facts = self._facts(taken, added, genes, types)
        if MEASURED in facts:
            np.save(folder / BITS_FILE, facts[MEASURED].pop(BITS))
        (folder / SIDE_FILE).write_text(json.dumps(facts, ensure_ascii=False, indent=1), encoding="utf-8")

    @cached_property
    def var(self) -> Any:
        """Genes in the order of the columns, a frame by feature id; columns that a build would add again are left out."""
        frame = self.shards.var.to_pandas().set_index("feature_id")
        frame.index.name = None
        return frame.drop(columns=["token_id", "code", "sample_counts"], errors="ignore")


def beside(name: str, taken: Collection[str]) -> str:
    """What an obs column is called in a format that has columns of these names itself."""
    return OBS + name if name in taken else name


def joined_obs(frames: list[Any]) -> Any:
    """obs of all parts as one frame, its index the names of the source, or ``cell_id`` where those are not distinct."""
    pandas = need("pandas", "write obs")
    obs = pandas.concat(frames)
    # parts have fallen back to cell ids each on its own
    fallen = [(frame.index == frame["cell_id"].astype(str)).all() for frame in frames]
    if not obs.index.is_unique or (any(fallen) and not all(fallen)):
        obs.index = obs["cell_id"].astype(str)
        obs.index.name = None
    return obs
