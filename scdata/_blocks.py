"""The plain types that cross the stages.

=============  ===========================================  ======================
type           what it is                                   from → to
=============  ===========================================  ======================
`GeneSpace`    the genes that columns stand for             source → everywhere
`CellBlock`    counts of some cells, with their obs         source → tokens
`TokenBlock`   tokens (and values) of some cells            tokens → shard, user
=============  ===========================================  ======================

Letters in shapes: C cells, G genes, T tokens of all cells together, D datasets.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class GeneSpace:
    """The genes of a source's columns, in order, and which of them each of its datasets measured.

    Parameters
    ----------
    feature_ids
        G names, as the source's var index has them.
    datasets
        D names of datasets.
    measured
        bool (D, G); a gene that a dataset did not measure is missing there, never zero. None: all measured all.
    """

    feature_ids: tuple[str, ...]
    datasets: tuple[str, ...]
    measured: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.datasets), len(self.feature_ids))
        if self.measured is not None and self.measured.shape != shape:
            raise ValueError(f"measured has shape {self.measured.shape}, expected (datasets, genes) = {shape}")

    def __len__(self) -> int:
        return len(self.feature_ids)


@dataclass(frozen=True, kw_only=True)
class CellBlock:
    """Raw counts of C consecutive cells of one source, as CSR without stored zeros.

    Parameters
    ----------
    indptr
        int64 (C+1,), from 0.
    indices
        int32 (T,): columns, in any order within a cell; a column may stand twice and then counts add.
    data
        int32 (T,): counts ≥ 1.
    genes
        What the columns are.
    rows
        int64 (C,): row of each cell in the unfiltered source.
    dataset
        int32 (C,): index into ``genes.datasets``.
    obs
        One row a cell, the columns that were asked for.
    obs_names
        C names of the cells in the source.
    """

    indptr: I64
    indices: I32
    data: I32
    genes: GeneSpace
    rows: I64
    dataset: I32
    obs: pa.Table
    obs_names: pa.Array

    @property
    def n_cells(self) -> int:
        return len(self.indptr) - 1


@dataclass(frozen=True, kw_only=True)
class TokenBlock:
    """Tokens of C cells, ragged.

    Parameters
    ----------
    indptr
        int64 (C+1,), from 0.
    token_ids
        uint16 (T,), or uint32 where the vocabulary is larger.
    values
        int32 or float32 (T,), or None where the order of the tokens is all (ranks).
    total_counts
        int64 (C,): counts of all genes of the source.
    vocab_counts
        int64 (C,): counts of the genes in the vocabulary.
    """

    indptr: I64
    token_ids: Array
    values: Array | None
    total_counts: I64
    vocab_counts: I64

    @property
    def n_cells(self) -> int:
        return len(self.indptr) - 1

    @property
    def n_tokens(self) -> I64:
        """int64 (C,): tokens of each cell."""
        return np.diff(self.indptr)
