"""Cells of a set of counts as `anndata.AnnData`, for people with scanpy."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from scdata._blocks import I32, I64
from scdata._cached import cached_property
from scdata._errors import ScdataError
from scdata._optional import need
from scdata.counts.csr import gather_genes
from scdata.shard.block import COUNTS
from scdata.shard.cells import reserved_name
from scdata.shard.export_facts import ORGANISM, export_facts, organism_by_dataset
from scdata.shard.shard_set import ShardSet
from scdata.source.export_facts import UNS_KEY
from scdata.stream.blocks import BlockReader
from scdata.stream.gather import gather_cells
from scdata.stream.selection import Selection, select_cells


def to_anndata(
    path: str | os.PathLike[str], *, split: str = "train", filter: str | None = None, subset: int | None = None
) -> Any:
    """Cells of a set of counts, in memory.

    Parameters
    ----------
    path
        Folder of the set, or its address.
    split
        Which split.
    filter, subset
        As of `ShardDataset`: which cells; ``subset=10_000`` is a fair sample.

    Returns
    -------
    anndata.AnnData
        C cells in the stored order by the G genes of the set in order of token id: ``X`` int32 CSR of raw counts; ``obs`` what
        ``obs/`` holds, by the names of the source where they are distinct, else by `cell_id`, and ``organism`` where that is
        known of the datasets; ``var`` by feature id; ``uns["scdata"]`` what a build from it takes over: the roles of a
        perturbation, the column of datasets, their titles and citations, which genes each measured, and which obs columns
        the set has.

    Raises
    ------
    SetNotFoundError, CorruptShardError
        If there is no complete set, or it is damaged.
    ScdataError
        If the set holds tokens instead of counts.
    ValueError
        For a split that is not there, and a filter that cannot be read or that no cell passes.

    Examples
    --------
    >>> import scdata, tempfile
    >>> out = tempfile.mkdtemp() + "/set"
    >>> _ = scdata.build_shards("synthetic:cells=300,genes=50", out)
    >>> to_anndata(out, subset=100).shape
    (100, 50)
    """
    cells = _Cells(path, split, filter, subset)
    return cells.anndata(range(len(cells.selection.n_cells)))


def iter_anndata(
    path: str | os.PathLike[str],
    *,
    split: str = "train",
    filter: str | None = None,
    subset: int | None = None,
    chunk_size: int = 8192,
) -> Iterator[Any]:
    """The cells that `to_anndata` gives, some at a time: whole blocks, at least `chunk_size` cells but for the last.

    Text columns of ``obs`` have the categories of the whole set in every part, so that parts fit each other.

    Yields
    ------
    anndata.AnnData

    Raises
    ------
    ScdataError, ValueError
        As `to_anndata` does.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size = {chunk_size}: at least 1")
    cells = _Cells(path, split, filter, subset)
    return cells.parts(chunk_size)


class _Cells:
    """The cells of a split that were asked for."""

    def __init__(self, path: str | os.PathLike[str], split: str, text: str | None, subset: int | None) -> None:
        self.anndata_module = need("anndata", "make AnnData")
        self.shards, self.split = ShardSet(os.fspath(path)), split
        if self.shards.encoding != COUNTS:
            raise ScdataError(
                f"{self.shards.path} holds tokens, not counts: take a set that was built with --tokenizer counts, or the source"
            )
        self.selection: Selection = select_cells(self.shards, split, text, subset)
        self._shard_of_block = self.shards.blocks(split).shard
        tokens = self.shards.var["token_id"].to_numpy()
        # columns are the genes of the set in order of token id
        self._column_of_code: I32 = np.searchsorted(tokens, self.shards.token_of_code).astype(np.int32)
        self._obs: tuple[int, pa.Table] | None = None

    def parts(self, chunk_size: int) -> Iterator[Any]:
        blocks: list[int] = []
        n = 0
        for block, own in enumerate(self.selection.n_cells.tolist()):
            if own == 0:
                continue
            blocks.append(block)
            n += own
            if n >= chunk_size:
                yield self.anndata(blocks)
                blocks, n = [], 0
        if blocks:
            yield self.anndata(blocks)

    def anndata(self, blocks: "range | list[int]") -> Any:
        sparse = need("scipy.sparse", "make AnnData")
        counts = [part for block in blocks if (part := self._counts(block)) is not None]
        indptr, genes, values = (np.concatenate(parts) for parts in zip(*counts, strict=True))
        ends = np.concatenate(([0], np.cumsum(indptr)))
        X = sparse.csr_matrix((values, genes, ends), shape=(len(indptr), len(self._column_of_code)))
        var = self.shards.var.to_pandas().set_index("feature_id")
        var.index.name = None
        return self.anndata_module.AnnData(
            X=X,
            obs=self._frame([b for b in blocks if self.selection.n_cells[b]]),
            var=var,
            uns={UNS_KEY: self._facts},
        )

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return export_facts(self.shards)

    def _counts(self, block: int) -> tuple[I64, I32, I32] | None:
        """Genes of each cell of a block, their columns, ascending, and counts."""
        n = int(self.selection.n_cells[block])
        if n == 0:
            return None
        with BlockReader(self.shards, self.split, 1, self.selection) as reader:
            codes = np.arange(len(self._column_of_code), dtype=np.int32)
            found = gather_cells(reader.get, np.full(n, block), np.arange(n), codes, (), np.empty)
        assert found.values is not None  # a set of counts
        indptr, genes, values = gather_genes(
            found.indptr, found.ids, found.values, self._column_of_code, len(self._column_of_code)
        )
        return np.diff(indptr), genes, values

    def _frame(self, blocks: list[int]) -> Any:
        """obs of blocks, as a pandas frame."""
        parts = []
        for block in blocks:
            shard = int(self._shard_of_block[block])
            if self._obs is None or self._obs[0] != shard:
                self._obs = shard, self.shards.read_obs_of(self.split, shard)
            first = int(np.searchsorted(self._shard_of_block, shard))
            start, stop = self.selection.starts[[block, block + 1]] - self.selection.starts[first]
            own, keep = self._obs[1].slice(start, stop - start), self.selection.kept(block)
            parts.append(own if keep is None else own.filter(pa.array(keep)))
        obs = pa.concat_tables(parts).unify_dictionaries().to_pandas()
        # two datasets may have one name
        known = {"dataset": list(dict.fromkeys(self.shards.datasets))}
        known |= {reserved_name(name): categories for name, categories in self.shards.categories.items()}
        for name, categories in known.items():
            obs[name] = obs[name].astype("category").cat.set_categories(categories)
        organisms = organism_by_dataset(self.shards)
        if organisms:
            known = obs["dataset"].astype(object).map(lambda dataset: organisms[dataset] or None)
            obs[ORGANISM] = known.astype("category").cat.set_categories(sorted({*organisms.values()} - {""}))
        names = obs.pop("obs_name")
        obs.index = names.astype(str) if names.is_unique else obs["cell_id"].astype(str)
        obs.index.name = None
        return obs
