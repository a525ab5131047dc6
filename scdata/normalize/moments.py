"""Moments of genes over a corpus, for each batch of cells: integers, so parts merge to the same in any order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scdata import _jit
from scdata._backend import backend, on_device, per_entry, to_host
from scdata._blocks import I32, I64, Array
from scdata._errors import TokenizerError
from scdata.normalize.exact_sums import WideSums, check_squares, counts_by_key, sums_by_key
from scdata.normalize.library_size import F64

_MOST_SUMS = 50_000_000


@dataclass(frozen=True)
class GeneMoments:
    """Number of cells, Σx and Σx² of each gene in each batch; B batches, G genes.

    Exact for values up to 2**31 − 1 in fewer than 2**32 cells. Only batches that have cells stand here, so that a part of
    a corpus is as large as the batches in it: 32 bytes for each batch and gene.

    Parameters
    ----------
    batches
        int32 (B,): codes of the batches, ascending.
    n_cells
        int64 (B,): cells of each batch, those without counts included.
    expressing
        int64 (B, G): cells that have the gene.
    total, squares
        (B, G): Σx as int64, Σx² as `WideSums`.
    """

    batches: I32
    n_cells: I64
    expressing: I64
    total: I64
    squares: WideSums

    @staticmethod
    def of(indptr: I64, genes: I32, values: Array, n_genes: int, batch: I32 | None = None) -> "GeneMoments":
        """Moments of some cells.

        Parameters
        ----------
        indptr, genes, values
            CSR over genes of a vocabulary: int64 (C+1,), int32 (T,) distinct within a cell, integer (T,) ≥ 1. On the CPU or
            on a device; the result is on the CPU.
        n_genes
            Genes of the vocabulary, G.
        batch
            int32 (C,): code of each cell's batch, on the same machine; None: all cells are one batch, 0.
        """
        if on_device(genes) or not _jit.available():
            return GeneMoments.of_arrays(indptr, genes, values, n_genes, batch)
        from scdata.normalize.moments_jit import moments_jit

        codes, local = batch_rows(indptr, batch)
        shape = (len(codes), n_genes)
        expressing, total, squares = np.zeros(shape, np.int64), np.zeros(shape, np.int64), WideSums.zeros(shape)
        check_squares(int(moments_jit(indptr, genes, values, local, expressing, total, squares.high, squares.low)))
        return GeneMoments(codes, counts_by_key(local, len(codes)), expressing, total, squares.carried())

    @staticmethod
    def of_arrays(indptr: I64, genes: I32, values: Array, n_genes: int, batch: I32 | None = None) -> "GeneMoments":
        """`of` without numba, and on a device: equal results."""
        codes, local = batch_rows(indptr, batch)
        shape = (len(codes), n_genes)
        first: I64 = per_entry(local * n_genes, indptr)
        keys = first + genes
        return GeneMoments(
            codes,
            counts_by_key(local, len(codes)),
            counts_by_key(keys, shape[0] * shape[1]).reshape(shape),
            sums_by_key(keys, values, shape[0] * shape[1]).reshape(shape),
            WideSums.of_squares(keys, values, shape[0] * shape[1]).reshape(shape),
        )

    @staticmethod
    def merge(parts: "Sequence[GeneMoments]") -> "GeneMoments":
        """Moments of all cells of all parts, in any order; at least one part, all over the same genes."""
        codes = np.unique(np.concatenate([part.batches for part in parts])).astype(np.int32)
        shape = (len(codes), parts[0].total.shape[1])
        n_cells, squares = np.zeros(len(codes), np.int64), WideSums.zeros(shape)
        expressing, total = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for part in parts:
            rows = np.searchsorted(codes, part.batches)
            n_cells[rows] += part.n_cells
            expressing[rows] += part.expressing
            total[rows] += part.total
            squares.add_at(rows, part.squares)
        return GeneMoments(codes, n_cells, expressing, total, squares)

    def mean(self) -> F64:
        """float64 (B, G): Σx / cells."""
        return np.asarray(self.total / self.n_cells[:, None], np.float64)

    def variance(self, batch_names: Sequence[str] | None = None) -> F64:
        """float64 (B, G): variance with n − 1, from exact integers: 0 where all cells have the same value, and only there.

        Parameters
        ----------
        batch_names
            Name of each batch code, for the message.

        Raises
        ------
        TokenizerError
            If a batch has fewer than two cells.
        """
        out = np.empty(self.total.shape)
        for i, n in enumerate(self.n_cells.tolist()):
            if n < 2:
                raise TokenizerError(
                    f"{batch_name(int(self.batches[i]), batch_names)} has {n} cell, and a variance needs 2: leave that "
                    "batch out, or choose a batch key with larger batches"
                )
            # Python's integers: n · Σx² may need more than 64 bits, and the quotient is rounded once
            out[i] = (self.squares.integers(i) * n - self.total[i].astype(object) ** 2) / (n * (n - 1))
        return out


def check_size(n_batches: int, n_genes: int, name: str) -> None:
    """Refuse batches that would not fit the memory, before any is counted.

    Raises
    ------
    TokenizerError
        If batches × genes are over 50 million, some 4 GB with copies.
    """
    if n_batches * n_genes > _MOST_SUMS:
        raise TokenizerError(
            f"batch key {name!r} has {n_batches:,} batches: with {n_genes:,} genes these are {n_batches * n_genes:,} sums, "
            f"over the limit of {_MOST_SUMS:,}: choose a key with fewer batches, or none"
        )


def batch_rows(indptr: I64, batch: I32 | None) -> tuple[I32, I64]:
    """Codes of the batches there are, int32 (B,) ascending, on the CPU; and which of them each cell is in, int64 (C,)."""
    xp = backend(indptr)
    if batch is None:
        batch = xp.zeros(len(indptr) - 1, xp.int32)
    codes, local = xp.unique(batch, return_inverse=True)
    return to_host(codes).astype(np.int32), local.astype(xp.int64)


def batch_name(code: int, batch_names: Sequence[str] | None) -> str:
    """A batch as messages call it; without names and codes of batches, the only one is the corpus."""
    if batch_names is None:
        return "the corpus" if code == 0 else f"batch {code}"
    return f"batch {batch_names[code]!r}"
