"""From stored cells to the tokens of a tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scdata._backend import backend, beside, row_ends
from scdata._blocks import I32, I64, Array
from scdata._cached import cached_property
from scdata._config import nearest
from scdata._errors import TokenizerError
from scdata.batch.gene_map import GeneMap
from scdata.counts.csr import gather_genes
from scdata.normalize.library_size import library_size
from scdata.normalize.thinning import thin
from scdata.shard.block import COUNTS
from scdata.shard.cells import OBS
from scdata.shard.shard_set import ShardSet
from scdata.stream.gather import GatheredCells
from scdata.tokens.choose import values_at
from scdata.tokens.depth import log10_depths
from scdata.tokens.sequence import Draws, Ragged, cut, cut_to_lowest
from scdata.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Tokens:
    """C cells as tokens.

    Parameters
    ----------
    ragged
        Ids and values.
    targets
        Values of the same genes, or, for dense batches, of all genes, in the unthinned cells; None without thinning.
    depths
        float32 (C, n): log10 depths of ``[depth] tokens``, for dense batches, which have no special tokens.
    """

    ragged: Ragged
    targets: Ragged | None = None
    depths: Array | None = None


@dataclass(frozen=True)
class CellTokens:
    """Turns the cells of a set into tokens.

    Parameters
    ----------
    shards
        The set.
    tokenizer
        From `tokenizer_for`.
    seed
        Seed of random steps.
    context_length
        Most tokens a cell; None: the preset's.
    dense
        True: all genes, no special tokens, nothing cut.
    columns_of
        Token ids of the columns of dense batches; None: the genes of the set.
    """

    shards: ShardSet
    tokenizer: Tokenizer
    seed: int
    context_length: int | None
    dense: bool
    columns_of: I32 | None = None

    @cached_property
    def map(self) -> GeneMap:
        """Where the genes of the set stand in the vocabulary."""
        return GeneMap(self.shards, self.tokenizer, self.columns_of)

    @property
    def stored(self) -> bool:
        """True if shards hold the final tokens."""
        return self.shards.encoding != COUNTS

    def check(self, path: str) -> None:
        """Say now what would fail in a thread.

        Raises
        ------
        TokenizerError
            If the set lacks an obs column that the preset uses, or holds strings where it needs numbers.
        ValueError
            If the context has no room for a gene.
        """
        preset = self.tokenizer.preset
        columns = [c["name"] for c in self.shards.manifest["obs"]]
        numbers = [name for name in columns if name not in self.shards.categories]
        if not self.stored and preset.value.total not in ("source", "vocab", *numbers):
            raise TokenizerError(
                f"{self.tokenizer.name!r} divides by the obs column {preset.value.total!r}, which {path} does not hold as a "
                f"number: {nearest(preset.value.total, numbers)}"
            )
        if self.tokenizer.aux is not None and self.aux_column is None:
            assert preset.aux is not None  # ids come from its file
            raise TokenizerError(
                f"{self.tokenizer.name!r} takes an id from the obs column {preset.aux.column!r}, which {path} does not hold "
                f"as strings: {nearest(preset.aux.column, list(self.shards.categories))}"
            )
        self.tokenizer.room(self.context_length)

    @property
    def limit(self) -> int | None:
        """Most tokens of a cell: as asked for, or the preset's."""
        return self.context_length or self.tokenizer.preset.context_length

    @property
    def pad_id(self) -> int:
        """Token id of padding; 0 where the vocabulary has no token for it."""
        name = self.tokenizer.preset.vocab.pad
        return self.tokenizer.genes().specials[name] if name is not None else 0

    @cached_property
    def _plain(self) -> bool:
        """True if a code maps to one token, and neither values nor the order change: after decoding, cells are cut at most."""
        preset, genes = self.tokenizer.preset, self.tokenizer.preset.genes
        raw = preset.value.kind == "counts" and preset.value.clip is None and preset.value.scale is None
        as_stored = genes.choice == "expressed" and genes.order == "stored" and genes.fill == "none"
        whole = self.dense or (preset.n_around == 0 and as_stored)
        return self.map.own and raw and whole and preset.depth.thin is None and self.tokenizer.fitted.selected is None

    @cached_property
    def _needs_sum(self) -> bool:
        mapped = self.map.gene_of_code
        there = mapped[mapped >= 0]
        if len(there) < len(mapped) or len(np.unique(there)) < len(there):
            return True
        preset = self.tokenizer.preset
        if self.dense or preset.value.kind == "rank":
            return False  # ranks come out alike whatever the order, ties by token id
        # the first genes are those of the lowest ids, equal values stay in their order, and builds store by token id
        cuts_first = preset.genes.cut == "first" and self.limit is not None
        return cuts_first or preset.genes.order == "descending" or preset.stores == "tokens"

    @cached_property
    def table(self) -> I32 | None:
        """int32 (G,): what the decoder writes for each gene code; None for stored tokens."""
        if self.stored:
            return None
        if self._plain:
            return self.shards.token_of_code
        gene_of_code = self.map.gene_of_code
        return np.arange(len(gene_of_code), dtype=np.int32) if self._needs_sum else gene_of_code

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Stored columns that tokens are made from."""
        total = self.tokenizer.preset.value.total
        own = () if self.stored or total in ("source", "vocab") else (OBS + total,)
        aux = () if self.aux_column is None else (OBS + self.aux_column,)
        totals = () if self.stored or self._plain else ("total_counts",)
        return ("cell_id", *totals, *own, *aux)

    @property
    def aux_column(self) -> str | None:
        """The obs column of ``[aux]``, if the preset has one and the set holds it."""
        aux = self.tokenizer.preset.aux
        return aux.column if aux is not None and aux.column in self.shards.categories else None

    def draws(self, cells: GatheredCells, epoch: int, occurrence: I64 | None = None) -> Draws:
        """Where the random numbers of some cells come from; `occurrence`: which copy each is."""
        return Draws(self.seed, epoch, cells.columns["cell_id"], occurrence)

    def tokens(self, cells: GatheredCells, draws: Draws) -> Tokens:
        """Tokens of cells that were gathered with `table` and `columns`."""
        ragged = Ragged(cells.indptr, cells.ids, cells.values)
        if self.stored:
            preset = self.tokenizer.preset
            if self.context_length is not None and not self.dense:
                before = len(preset.genes.prepend)
                ragged = cut(ragged, self.context_length, None, (before, preset.n_around - before))
            return Tokens(ragged)
        if self._plain:
            return Tokens(self._cut(ragged, draws))
        assert ragged.values is not None  # cells of a counts set have counts
        indptr, genes, counts = ragged.indptr, ragged.token_ids, ragged.values
        if self._needs_sum:
            target, n_genes = beside(genes, self.map.gene_of_code), len(self.tokenizer.genes().feature_ids)
            indptr, genes, counts = gather_genes(indptr, genes, counts, target, n_genes)
        total = self._denominator(cells.columns, indptr, counts)
        measured = self._measured_by_cell(cells)
        if self.tokenizer.preset.depth.thin is None:
            chosen = self.tokenizer.choose(indptr, genes, counts)
            return self._of(*chosen, (total, total), draws, measured)
        return self._thinned(indptr, genes, counts, total, draws, measured)

    def _cut(self, ragged: Ragged, draws: Draws) -> Ragged:
        """Cells as they were decoded, by falling detection rate of their genes, cut to the context."""
        if self.dense or self.limit is None:
            return ragged
        if self.tokenizer.preset.genes.cut == "first":
            # those of the lowest ids, as for other orders
            return cut_to_lowest(ragged, self.limit, self.tokenizer.genes().n_tokens)
        return self.tokenizer.finish(ragged, draws, self.context_length, counts=ragged.values)

    def _thinned(
        self, indptr: I64, genes: I32, counts: I32, total: I64, draws: Draws, measured: Array | None
    ) -> Tokens:
        """The thinned cells, with the values of the whole ones as targets."""
        rule, tokenizer = self.tokenizer.preset.depth.thin, self.tokenizer
        assert rule is not None  # the caller asks
        left, _ = thin(
            indptr,
            counts,
            tokenizer.genes().tokens_at(genes),
            total,
            draws.cell_keys("thin"),
            p=rule.p,
            alpha=rule.alpha,
            beta=rule.beta,
            min_counts=rule.min_counts,
        )
        depths = (total, library_size(indptr, left))
        _, _, left = tokenizer.choose(indptr, genes, left)
        indptr, genes, counts = tokenizer.choose(indptr, genes, counts)
        kept = left > 0
        own = row_ends(kept)[indptr]
        found = self._of(own, genes[kept], left[kept], depths, draws, measured)
        whole = tokenizer.tokenize(indptr, genes, counts, total, draws)
        if self.dense:
            return Tokens(found.ragged, whole, found.depths)
        genes_of = tokenizer.preset.genes
        if genes_of.with_zeros or genes_of.fill != "none" or genes_of.order == "descending":
            return Tokens(found.ragged, self._targets_at(found.ragged, whole))
        assert whole.values is not None  # presets that thin have values
        # what the whole cell has at the places of the thinned one's genes, which are cut alike
        aligned = Ragged(own, whole.token_ids[kept], whole.values[kept])
        targets = tokenizer.finish(
            aligned, draws, self.context_length, depths=depths, counts=left[kept], measured=measured
        )
        return Tokens(found.ragged, targets)

    def _targets_at(self, found: Ragged, whole: Ragged) -> Ragged:
        """The tokens of thinned cells with the values of the whole ones; special tokens, and true zeros, keep theirs."""
        values, there = values_at(found, whole, self.tokenizer.genes().n_tokens)
        assert found.values is not None  # presets that thin have values
        return Ragged(found.indptr, found.token_ids, backend(values).where(there, values, found.values))

    def _of(
        self,
        indptr: I64,
        genes: I32,
        counts: I32,
        depths: tuple[I64, I64],
        draws: Draws,
        measured: Array | None,
    ) -> Tokens:
        tokenizer, preset = self.tokenizer, self.tokenizer.preset
        ragged = tokenizer.tokenize(indptr, genes, counts, depths[1], draws)
        if self.dense:
            ragged = tokenizer.scaled(ragged)
            as_numbers = preset.depth.tokens and preset.depth.kind == "log10"
            return Tokens(ragged, None, log10_depths(preset.depth, *depths).astype(np.float32) if as_numbers else None)
        return Tokens(
            tokenizer.finish(ragged, draws, self.context_length, depths=depths, counts=counts, measured=measured)
        )

    @cached_property
    def _measured(self) -> Array | None:
        """bool (D, n) over the tokenizer's chosen tokens, where zeros become tokens; None where they do not."""
        genes = self.tokenizer.preset.genes
        if self.dense or not (genes.with_zeros or genes.fill != "none"):
            return None
        return self.map.measured(self.tokenizer.chosen_tokens)

    def _measured_by_cell(self, cells: GatheredCells) -> Array | None:
        dataset = cells.columns["dataset"]
        return None if self._measured is None else beside(dataset, self._measured)[dataset]

    def _denominator(self, columns: Mapping[str, Array], indptr: I64, counts: Array) -> I64:
        obs = {name.removeprefix(OBS): column for name, column in columns.items() if name.startswith(OBS)}
        total_counts = columns["total_counts"]
        # a pass over all counts, and seldom asked for
        in_vocab = total_counts if self.tokenizer.preset.value.total == "source" else library_size(indptr, counts)
        return self.tokenizer.denominator(total_counts, in_vocab, obs)

    @cached_property
    def measured(self) -> Array:
        """bool (D, G): which columns of a dense batch each dataset measured."""
        return self.map.measured(self.map.dense_tokens)

    @cached_property
    def aux_of_code(self) -> I32:
        """int32: id of ``[aux]`` for each code of its obs column; the last one is for null.

        Without the published ids, 0 is for null and the set's own strings count from 1.
        """
        aux = self.tokenizer.preset.aux
        assert aux is not None  # the maker asks first
        names = self.shards.categories[aux.column]
        if self.tokenizer.aux is None:
            return np.array([*range(1, len(names) + 1), 0], np.int32)
        ids, unknown = self.tokenizer.aux, self.tokenizer.aux[aux.unknown]
        return np.array([*(ids.get(name, unknown) for name in names), unknown], np.int32)
