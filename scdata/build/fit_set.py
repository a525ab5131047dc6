"""``fit_set``: statistics over a finished set of counts, so that tokenizers which need them work on the fly."""

import os
from collections.abc import Iterator, Mapping

import numpy as np

from scdata._blocks import I32, I64
from scdata._config import nearest
from scdata._errors import CorruptShardError, LayerNotFoundError, TokenizerError
from scdata.build.progress import Progress
from scdata.counts.csr import gather_genes
from scdata.normalize.hvg_seurat_v3 import VarianceTrend, moments_below_clip
from scdata.normalize.moments import GeneMoments, check_size
from scdata.shard.block import COUNTS
from scdata.shard.cells import OBS
from scdata.shard.set_statistics import read_statistics, write_statistics
from scdata.shard.shard_set import ShardSet
from scdata.stream.blocks import BlockReader
from scdata.stream.gather import GatheredCells, gather_cells
from scdata.tokens.corpus import SEURAT, SEURAT_V3, CorpusStatistics, FirstPass, Variability, Wanted

_PARTS = 16  # statistics of blocks held before they are merged


def fit_set(
    path: str | os.PathLike[str], *, batch_key: str | None = None, progress: Progress | None = None
) -> CorpusStatistics:
    """Stream a set of counts twice and write ``stats.arrow`` beside its manifest.

    Afterwards ``ShardDataset(path, tokenizer="NAME+fit")`` works for presets that need medians, variable genes, or edges.
    Statistics are over all genes of the set; a build with a published vocabulary sees only that vocabulary's genes, so that
    edges and variable genes by ``seurat_v3`` may differ a little.

    Parameters
    ----------
    path
        Folder of a set of counts. All its splits count.
    batch_key
        obs column of batches for the choice of variable genes; None: all cells are one batch. What earlier calls found for
        other batch keys stays.
    progress
        Where to say what is happening; None: nowhere.

    Returns
    -------
    CorpusStatistics

    Raises
    ------
    TokenizerError
        If the set holds tokens, not counts; or if a batch is too small for flavor ``seurat_v3``. Without a batch key a set
        that is too small for it is fitted all the same, less that flavor.
    LayerNotFoundError
        If it has no such obs column.
    """
    shards, progress = ShardSet(os.fspath(path)), progress or Progress()
    if shards.encoding != COUNTS:
        raise TokenizerError(
            f"{path} holds tokens of {shards.tokenizer.name!r}: statistics are worked out of counts; build a set with "
            "--tokenizer counts"
        )
    if batch_key is not None and batch_key not in shards.categories:
        raise LayerNotFoundError(
            f"{path} has no obs column {batch_key!r} of strings: {nearest(batch_key, list(shards.categories))}"
        )
    if batch_key is not None:
        check_size(len(shards.categories[batch_key]), len(shards.var), batch_key)
    wanted = Wanted(medians=True, target_sum=1e4, flavors=(SEURAT, SEURAT_V3), batch_key=batch_key)
    names = None if batch_key is None else (*shards.categories[batch_key], "null")
    n_genes, n_cells = len(shards.var), sum(int(shards.blocks(split).n_cells.sum()) for split in shards.splits)
    first = FirstPass()
    with progress.phase("statistics", n_cells) as advance:
        parts: list[FirstPass] = []
        for cells, counts, batch in _cells(shards, batch_key):
            total = cells.columns["total_counts"]
            parts.append(FirstPass.of(wanted, *counts, total, n_genes, batch))
            if len(parts) == _PARTS:
                parts = [FirstPass.merge(parts)]
            advance(len(total))
        first = FirstPass.merge(parts)
    assert first.moments is not None  # the flavor wants them
    trend = _trend(first.moments, names, progress)
    variance = None
    if trend is not None:
        with progress.phase("clipped variance", n_cells) as advance:
            clipped: list[GeneMoments] = []
            for cells, counts, batch in _cells(shards, batch_key):
                clipped.append(moments_below_clip(*counts, trend, batch))
                if len(clipped) == _PARTS:
                    clipped = [GeneMoments.merge(clipped)]
                advance(len(cells.indptr) - 1)
        variance = trend.normalized_variance(GeneMoments.merge(clipped))
    # the raw moments have done their work in the trend
    own = Variability(variance, first.normalized, names)
    found = CorpusStatistics(n_genes, wanted.total, first.histogram, first.depth, {**_known(shards), batch_key: own})
    write_statistics(shards, found)
    return found


def _known(shards: ShardSet) -> Mapping[str | None, Variability]:
    """What earlier calls found for other batch keys."""
    try:
        known = read_statistics(shards)
    except (TokenizerError, CorruptShardError):
        return {}  # of another set that stood here, or damaged: replaced
    return {} if known is None else known.variability


def _trend(moments: GeneMoments, names: tuple[str, ...] | None, progress: Progress) -> VarianceTrend | None:
    """What flavor ``seurat_v3`` fits; None, and said so, where the set or one of its batches is too small for it."""
    try:
        return VarianceTrend.fit(moments, names)
    except TokenizerError as error:
        progress.note(f"no variable genes by flavor {SEURAT_V3}, all else is fitted: {error}")
        return None


def _cells(shards: ShardSet, batch_key: str | None) -> Iterator[tuple[GatheredCells, tuple[I64, I32, I32], I32 | None]]:
    """Cells of every block, their counts as CSR over the set's genes in order of id, and the code of each one's batch."""
    order = np.argsort(np.array(shards.var["feature_id"].to_pylist(), object), kind="stable")
    place = np.empty(len(order), np.int32)
    place[shards.var["code"].to_numpy()[order]] = np.arange(len(order), dtype=np.int32)
    codes = np.arange(len(order), dtype=np.int32)
    columns = ("total_counts", *(() if batch_key is None else (OBS + batch_key,)))
    for split in shards.splits:
        with BlockReader(shards, split, 1) as reader:
            for number, n in enumerate(shards.blocks(split).n_cells.tolist()):
                block, row = np.full(n, number), np.arange(n)
                cells = gather_cells(reader.get, block, row, codes, columns, np.empty)
                assert cells.values is not None  # a set of counts
                counts = gather_genes(cells.indptr, cells.ids, cells.values, place, len(order))
                yield cells, counts, None if batch_key is None else cells.columns[OBS + batch_key].astype(np.int32)
