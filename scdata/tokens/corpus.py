"""What tokenizers are fitted from: integer statistics of a corpus that merge in any order, and how presets use them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scdata._blocks import I32, I64, Array
from scdata._errors import TokenizerError
from scdata.normalize.depth_table import DepthTable
from scdata.normalize.edge_fit import fit_depth_edges, fit_edges
from scdata.normalize.exact_sums import WideSums
from scdata.normalize.hvg_seurat import normalized_moments, select_seurat
from scdata.normalize.hvg_seurat_v3 import select_seurat_v3
from scdata.normalize.library_size import F64
from scdata.normalize.medians import ValueHistogram
from scdata.normalize.moments import GeneMoments
from scdata.tokens.fitted import DEPTH_EDGES, EDGES, HVG, MEDIANS
from scdata.tokens.tokenizer import Tokenizer

SEURAT, SEURAT_V3 = "seurat", "seurat_v3"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which statistics to collect.

    Parameters
    ----------
    medians
        Histograms of the values of each gene.
    target_sum
        The depth × value table, of values scaled to this; None: no table.
    flavors
        Moments for the choice of variable genes: ``seurat_v3``, ``seurat``.
    batch_key
        obs column of batches for these; None: all cells are one batch.
    total
        What counts are divided by: ``source``, ``vocab``, or an obs column.
    """

    total: str = "source"
    medians: bool = False
    target_sum: float | None = None
    flavors: tuple[str, ...] = ()
    batch_key: str | None = None

    @staticmethod
    def by(tokenizer: Tokenizer) -> "Wanted":
        """What a tokenizer needs and has not."""
        need, preset = tokenizer.unfitted, tokenizer.preset
        return Wanted(
            total=preset.value.total,
            medians=MEDIANS in need,
            target_sum=preset.value.target_sum if EDGES in need or DEPTH_EDGES in need else None,
            flavors=(preset.genes.flavor,) if HVG in need else (),
            batch_key=preset.genes.batch_key if HVG in need else None,
        )

    @property
    def second_pass(self) -> bool:
        """True if the corpus must be read again, once the first pass is merged."""
        return SEURAT_V3 in self.flavors


@dataclass(frozen=True)
class FirstPass:
    """Statistics of some cells, or of all; None where they were not wanted.

    Parameters
    ----------
    histogram
        Of the values x / n · 1e4 of each gene.
    depth
        Non-zero values by read depth.
    moments, normalized
        Of counts (``seurat_v3``), and of x / n · 1e4 in fixed point (``seurat``).
    """

    histogram: ValueHistogram | None = None
    depth: DepthTable | None = None
    moments: GeneMoments | None = None
    normalized: GeneMoments | None = None

    @staticmethod
    def of(
        wanted: Wanted, indptr: I64, genes: I32, counts: I32, total: I64, n_genes: int, batch: I32 | None
    ) -> "FirstPass":
        """Statistics of some cells: CSR over `n_genes` genes, denominators int64 (C,), batch codes int32 (C,) or None."""
        of_counts, of_values = SEURAT_V3 in wanted.flavors, SEURAT in wanted.flavors
        return FirstPass(
            ValueHistogram.of(indptr, genes, counts, total) if wanted.medians else None,
            None if wanted.target_sum is None else DepthTable.of(indptr, counts, total, wanted.target_sum),
            GeneMoments.of(indptr, genes, counts, n_genes, batch) if of_counts else None,
            normalized_moments(indptr, genes, counts, total, n_genes, batch) if of_values else None,
        )

    @staticmethod
    def merge(parts: "Sequence[FirstPass]") -> "FirstPass":
        """Statistics of all cells of all parts, in any order; all of the same `Wanted`."""
        histograms = [part.histogram for part in parts if part.histogram is not None]
        depths = [part.depth for part in parts if part.depth is not None]
        moments = [part.moments for part in parts if part.moments is not None]
        normalized = [part.normalized for part in parts if part.normalized is not None]
        return FirstPass(
            ValueHistogram.merge(histograms) if histograms else None,
            DepthTable.merge(depths) if depths else None,
            GeneMoments.merge(moments) if moments else None,
            GeneMoments.merge(normalized) if normalized else None,
        )

    def arrays(self) -> dict[str, Array]:
        """All numbers, by name; `from_arrays` reads them back."""
        out: dict[str, Array] = {}
        if self.histogram is not None:
            out |= {"histogram.key": self.histogram.key, "histogram.count": self.histogram.count}
        if self.depth is not None:
            out |= {"depth.values": self.depth.values, "depth.cells": self.depth.cells}
        for name, own in (("moments", self.moments), ("normalized", self.normalized)):
            if own is not None:
                out |= moments_to_arrays(name, own)
        return out

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array], target_sum: float | None) -> "FirstPass":
        """Read what `arrays` gave."""
        histogram = depth = None
        if "histogram.key" in arrays:
            histogram = ValueHistogram(arrays["histogram.key"], arrays["histogram.count"])
        if "depth.values" in arrays and target_sum is not None:
            depth = DepthTable(arrays["depth.values"], arrays["depth.cells"], target_sum)
        return FirstPass(
            histogram, depth, moments_from_arrays("moments", arrays), moments_from_arrays("normalized", arrays)
        )


_PLAIN = ("batches", "n_cells", "expressing", "total")


def moments_to_arrays(name: str, moments: GeneMoments) -> dict[str, Array]:
    """The arrays of moments, their names beginning with `name`."""
    return {
        **{f"{name}.{part}": getattr(moments, part) for part in _PLAIN},
        f"{name}.high": moments.squares.high,
        f"{name}.low": moments.squares.low,
    }


def moments_from_arrays(name: str, arrays: Mapping[str, Array]) -> GeneMoments | None:
    """Read what `moments_to_arrays` gave; None if it is not there."""
    if f"{name}.total" not in arrays:
        return None
    squares = WideSums(arrays[f"{name}.high"], arrays[f"{name}.low"])
    batches, n_cells, expressing, total = (arrays[f"{name}.{part}"] for part in _PLAIN)
    return GeneMoments(batches, n_cells, expressing, total, squares)


def _of_genes(moments: GeneMoments, genes: I64) -> GeneMoments:
    squares = WideSums(moments.squares.high[:, genes], moments.squares.low[:, genes])
    return GeneMoments(moments.batches, moments.n_cells, moments.expressing[:, genes], moments.total[:, genes], squares)


@dataclass(frozen=True)
class Variability:
    """What variable genes are chosen by, for one way to cut a corpus into batches.

    Parameters
    ----------
    variance
        float64 (B, G): normalized variance of flavor ``seurat_v3``, from both passes; None where it could not be had.
    normalized
        Moments of flavor ``seurat``; None where they were not wanted.
    batch_names
        Names of batch codes, for messages.
    """

    variance: F64 | None = None
    normalized: GeneMoments | None = None
    batch_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class CorpusStatistics:
    """All that was collected of a corpus, ready to fit tokenizers.

    Parameters
    ----------
    n_genes
        Genes of the vocabulary that it was collected over, in order of token id.
    total
        What counts were divided by (`Wanted`).
    histogram, depth
        As in `FirstPass`.
    variability
        By batch key; that of the whole corpus, without batches, under None.
    """

    n_genes: int
    total: str = "source"
    histogram: ValueHistogram | None = None
    depth: DepthTable | None = None
    variability: Mapping[str | None, Variability] = field(default_factory=dict)

    def fit(self, tokenizer: Tokenizer, place: I32 | None = None) -> Tokenizer:
        """The tokenizer with what it was missing.

        Parameters
        ----------
        place
            int32 (n_genes,): place of each gene in the tokenizer's vocabulary, −1 where it has none; None: they are the same.

        Raises
        ------
        TokenizerError
            If the statistics were collected for other values or batches, or not at all.
        """
        need, preset = tokenizer.unfitted, tokenizer.preset
        n_vocab = len(tokenizer.genes().feature_ids)
        if place is None:
            if n_vocab != self.n_genes:
                raise ValueError(f"statistics of {self.n_genes} genes for a vocabulary of {n_vocab}: which is which?")
            place = np.arange(n_vocab, dtype=np.int32)
        if set(need) - {HVG} or (HVG in need and preset.genes.flavor == SEURAT):
            self._require(preset.value.total == self.total, tokenizer, f"counts divided by {preset.value.total!r}")
        if MEDIANS in need:
            self._require(self.histogram is not None, tokenizer, "medians")
            assert self.histogram is not None
            medians = np.ones(n_vocab)
            medians[place[place >= 0]] = self.histogram.medians(self.n_genes)[place >= 0]
            tokenizer = tokenizer.with_fitted(medians=medians)
        if HVG in need:
            tokenizer = tokenizer.with_fitted(selected=self._most_variable(tokenizer, place))
        if EDGES in need or DEPTH_EDGES in need:
            table = self.depth
            same = table is not None and table.target_sum == preset.value.target_sum
            self._require(same, tokenizer, f"values scaled to {preset.value.target_sum:g}")
            assert table is not None
            if EDGES in need:
                return tokenizer.with_fitted(edges=fit_edges(table, preset.value.n_bins)[None])
            found = fit_depth_edges(table, preset.value.n_bins, preset.value.strata, preset.value.min_cells)
            tokenizer = tokenizer.with_fitted(edges=found.edges, borders=found.borders)
        return tokenizer

    def _most_variable(self, tokenizer: Tokenizer, place: I32) -> I32:
        """Places in the vocabulary of the genes chosen among those that it has; ascending."""
        genes = tokenizer.preset.genes
        own = self.variability.get(genes.batch_key, Variability())
        there = own.variance if genes.flavor == SEURAT_V3 else own.normalized
        batches = "without batches" if genes.batch_key is None else f"with batch key {genes.batch_key!r}"
        self._require(there is not None, tokenizer, f"variable genes by flavor {genes.flavor!r} {batches}")
        known = np.flatnonzero(place >= 0)
        if genes.n > len(known):
            raise TokenizerError(f"{tokenizer.name!r} chooses {genes.n:,} genes, but there are only {len(known):,}")
        if genes.flavor == SEURAT_V3:
            assert own.variance is not None
            chosen = select_seurat_v3(own.variance[:, known], genes.n)
        else:
            assert own.normalized is not None
            chosen = select_seurat(_of_genes(own.normalized, known), genes.n, own.batch_names)
        if not len(chosen):
            raise TokenizerError(f"{tokenizer.name!r} chooses variable genes, and no gene varies in this corpus")
        return np.unique(place[known[chosen]]).astype(np.int32)

    def _require(self, there: bool, tokenizer: Tokenizer, what: str) -> None:
        if not there:
            batch = f" --batch-key {tokenizer.preset.genes.batch_key}" if tokenizer.preset.genes.batch_key else ""
            raise TokenizerError(
                f"{tokenizer.name!r} needs {what}, which the statistics here do not hold: run `scdata fit SET{batch}`, or "
                "build a set with this tokenizer"
            )
