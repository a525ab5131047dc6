"""Geneformer's tokens of whole cells: normalize, divide by medians, rank, look up, in one kernel.

Method: Theodoris et al., "Transfer learning enables predictions in network biology", Nature 2023; code
ctheodoris/Geneformer, ``geneformer/tokenizer.py``.
"""

import numpy as np

from scdata import _jit
from scdata._backend import backend, on_device, row_of_entry
from scdata._blocks import I32, I64
from scdata.normalize.library_size import F64, normalize_total
from scdata.tokens.kernels.ranking import rank_order


def rank_tokens(
    indptr: I64, genes: I32, counts: I32, total: I64, target_sum: float, medians: F64, gene_tokens: I32
) -> I32:
    """Token ids of each cell by falling x / n · target_sum / median; equal values by rising gene.

    Parameters
    ----------
    indptr, genes, counts
        CSR of counts over G genes: int64 (C+1,), int32 (T,) distinct within a cell and in any order, int32 (T,) ≥ 1; on the CPU
        or on a device.
    total
        int64 (C,): the denominator n of each cell; 0 only where a cell has no entries.
    target_sum
        What totals are scaled to.
    medians
        float64 (G,), all > 0 and finite.
    gene_tokens
        int32 (G,): token id of each gene.

    Returns
    -------
    int32 (T,), in rows of `indptr`. Values are computed in float64, in the order of operations above.
    """
    if on_device(counts):
        from scdata.tokens.kernels.ranking_device import rank_tokens_device

        return rank_tokens_device(indptr, genes, counts, total, target_sum, medians, gene_tokens)
    if _jit.available():
        from scdata.tokens.kernels.ranking_jit import rank_tokens_jit

        token_ids = np.empty(len(genes), gene_tokens.dtype)
        rank_tokens_jit(indptr, genes, counts, total, float(target_sum), medians, gene_tokens, token_ids)
        return token_ids
    return rank_tokens_numpy(indptr, genes, counts, total, target_sum, medians, gene_tokens)


def rank_tokens_numpy(
    indptr: I64, genes: I32, counts: I32, total: I64, target_sum: float, medians: F64, gene_tokens: I32
) -> I32:
    """`rank_tokens` without numba, and for long rows on a device: equal results."""
    xp = backend(counts)
    place = row_of_entry(indptr) << 32 | genes
    if (place[1:] < place[:-1]).any():
        order = xp.argsort(place)
        genes, counts = genes[order], counts[order]
    relative = normalize_total(indptr, counts, total, target_sum) / medians[genes]
    return gene_tokens[genes[rank_order(indptr, relative)]]
