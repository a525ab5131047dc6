"""From stored cells to the tokens of a tokenizer: the set's own, or another one on the fly."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from scdata._blocks import I32, I64, Array
from scdata._config import nearest
from scdata._errors import MappingError, TokenizerError
from scdata.counts.csr import gather_genes
from scdata.counts.genes import map_ids
from scdata.normalize.library_size import library_size
from scdata.shard.block import COUNTS
from scdata.shard.cells import OBS
from scdata.shard.shard_set import ShardSet
from scdata.stream.gather import GatheredCells
from scdata.tokens.sequence import Draws, Ragged, cut
from scdata.tokens.tokenizer import Tokenizer, load_tokenizer

_MIN_MAPPED = 0.5  # least fraction of counts, as in a build


def tokenizer_for(shards: ShardSet, tokenizer: str | Tokenizer | None) -> Tokenizer:
    """The tokenizer that a loader uses.

    Parameters
    ----------
    shards
        The set.
    tokenizer
        None: the set's own. A name, or a `Tokenizer`: made on the fly from a set of counts; ``NAME+fit`` uses the set's
        own genes.

    Raises
    ------
    TokenizerError
        If the set holds the tokens of another, or the tokenizer has to be fitted first.
    """
    own = shards.tokenizer
    if tokenizer is None or (isinstance(tokenizer, str) and tokenizer == own.name):
        return own
    if shards.encoding != COUNTS:
        name = tokenizer if isinstance(tokenizer, str) else tokenizer.name
        raise TokenizerError(
            f"{shards.path} holds tokens of {own.name!r}, which cannot become those of {name!r}: build a set with "
            "--tokenizer counts, from which any tokenizer works on the fly"
        )
    if isinstance(tokenizer, Tokenizer):
        found = tokenizer
    elif tokenizer.endswith("+fit"):
        found = load_tokenizer(tokenizer.removesuffix("+fit"), "fit")
    else:
        found = load_tokenizer(tokenizer)
    if found.vocab is None:
        if found.preset.needs_medians:
            raise TokenizerError(
                f"{found.name!r} needs medians of the corpus, which {shards.path} does not hold: build a set with "
                f"--tokenizer {found.name.removesuffix('+fit')} --assets fit"
            )
        ids = shards.var["feature_id"].to_pylist()
        found = found.with_genes(ids, dict(zip(ids, shards.var["feature_name"].to_pylist(), strict=True)))
    return found


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
    """

    shards: ShardSet
    tokenizer: Tokenizer
    seed: int
    context_length: int | None
    dense: bool

    @property
    def own(self) -> bool:
        return self.tokenizer is self.shards.tokenizer

    @property
    def stored(self) -> bool:
        """True if shards hold the final tokens."""
        return self.shards.encoding != COUNTS

    def check(self, path: str) -> None:
        """Say now what would fail in a thread.

        Raises
        ------
        TokenizerError
            If the set lacks the obs column that the preset divides by, or holds strings there.
        ValueError
            If the context has no room for a gene.
        """
        genes, total = self.tokenizer.preset.genes, self.tokenizer.preset.value.total
        if not self.stored and total not in ("source", "vocab"):
            numbers = [c["name"] for c in self.shards.manifest["obs"] if c["name"] not in self.shards.categories]
            if total not in numbers:
                raise TokenizerError(
                    f"{self.tokenizer.name!r} divides by the obs column {total!r}, which {path} does not hold as a number: "
                    f"{nearest(total, numbers)}"
                )
        around = len(genes.prepend) + len(genes.append)
        if self.limit is not None and self.limit <= around:
            raise ValueError(f"context_length {self.limit} leaves no room beside {around} special tokens")

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
    def gene_of_code(self) -> I32:
        """int32 (G,): place of each gene code in the tokenizer's vocabulary, −1 where it has none.

        Raises
        ------
        MappingError
            If genes with less than half of the counts have one (counts of the sample that the build drew).
        """
        var, vocab = self.shards.var, self.tokenizer.genes()
        counts = var["sample_counts"].to_numpy()
        best, mapped = np.full(len(var), -1, np.int32), -1
        for field in var.schema:
            if pa.types.is_string(field.type):
                ids = [text or "" for text in var[field.name].to_pylist()]
                found = map_ids(ids, vocab.gene_index, self.tokenizer.aliases)
                if counts[found >= 0].sum() > mapped:
                    best, mapped = found, int(counts[found >= 0].sum())
        if mapped < _MIN_MAPPED * counts.sum():
            raise MappingError(
                f"only {mapped / counts.sum():.1%} of the counts of {self.shards.path} belong to genes of the vocabulary of "
                f"{self.tokenizer.name!r}, which holds {self.tokenizer.preset.vocab.ids}"
            )
        out = np.full(len(best), -1, np.int32)
        out[var["code"].to_numpy()] = best
        return out

    @cached_property
    def _plain(self) -> bool:
        """True if a code maps to one token, and neither values nor the sequence change: decoding is all there is."""
        preset = self.tokenizer.preset
        around = preset.genes.prepend or preset.genes.append
        return self.own and preset.value.kind == "counts" and (self.dense or (self.limit is None and not around))

    @cached_property
    def _needs_sum(self) -> bool:
        mapped = self.gene_of_code
        there = mapped[mapped >= 0]
        if len(there) < len(mapped) or len(np.unique(there)) < len(there):
            return True
        # ranks break ties by token id, and the first genes are those of the lowest ids: genes must come in that order
        preset = self.tokenizer.preset
        cuts_first = preset.genes.cut == "first" and self.limit is not None and not self.dense
        return preset.value.kind == "rank" or cuts_first

    @cached_property
    def table(self) -> I32 | None:
        """int32 (G,): what the decoder writes for each gene code; None for stored tokens."""
        if self.stored:
            return None
        if self._plain:
            return self.shards.token_of_code
        return np.arange(len(self.gene_of_code), dtype=np.int32) if self._needs_sum else self.gene_of_code

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Stored columns that tokens are made from."""
        total = self.tokenizer.preset.value.total
        if self.stored or total in ("source", "vocab"):
            return ("cell_id", "total_counts")
        return ("cell_id", "total_counts", OBS + total)

    def tokens(self, cells: GatheredCells, epoch: int) -> Ragged:
        """Tokens of cells that were gathered with `table` and `columns`."""
        ragged = Ragged(cells.indptr, cells.ids, cells.values)
        if self.stored:
            genes = self.tokenizer.preset.genes
            if self.context_length is not None and not self.dense:
                ragged = cut(ragged, self.context_length, None, (len(genes.prepend), len(genes.append)))
            return ragged
        if self._plain:
            return ragged
        assert ragged.values is not None  # cells of a counts set have counts
        indptr, genes_, counts = ragged.indptr, ragged.token_ids, ragged.values
        if self._needs_sum:
            n_genes = len(self.tokenizer.genes().feature_ids)
            indptr, genes_, counts = gather_genes(indptr, genes_, counts, self.gene_of_code, n_genes)
        draws = Draws(self.seed, epoch, cells.columns["cell_id"])
        total = self._denominator(cells.columns, indptr, counts)
        ragged = self.tokenizer.tokenize(indptr, genes_, counts, total, draws)
        return ragged if self.dense else self.tokenizer.finish(ragged, draws, self.context_length)

    def _denominator(self, columns: Mapping[str, Array], indptr: I64, counts: Array) -> I64:
        obs = {name.removeprefix(OBS): column for name, column in columns.items() if name.startswith(OBS)}
        total_counts = columns["total_counts"]
        # a pass over all counts, and seldom asked for
        in_vocab = total_counts if self.tokenizer.preset.value.total == "source" else library_size(indptr, counts)
        return self.tokenizer.denominator(total_counts, in_vocab, obs)

    @cached_property
    def dense_tokens(self) -> I32:
        """int32 (G,): token id of each column of a dense batch, ascending: the genes of the set that have one."""
        if self.own:
            return np.asarray(self.shards.var["token_id"].to_numpy(), np.int32)
        mapped = self.gene_of_code
        return self.tokenizer.genes().gene_tokens[np.unique(mapped[mapped >= 0])]

    @cached_property
    def column_of_token(self) -> I32:
        """int32: column of a dense batch for each token id, −1 for none."""
        table = np.full(self.tokenizer.genes().n_tokens, -1, np.int32)
        table[self.dense_tokens] = np.arange(len(self.dense_tokens), dtype=np.int32)
        return table

    @cached_property
    def measured(self) -> Array:
        """bool (D, G): which columns of a dense batch each dataset measured."""
        if self.own:
            return self.shards.measured
        var_code = self.shards.var["code"].to_numpy()
        token_of_row = np.full(len(var_code), -1, np.int64)
        gene = self.gene_of_code[var_code]
        token_of_row[gene >= 0] = self.tokenizer.genes().gene_tokens[gene[gene >= 0]]
        out = np.zeros((len(self.shards.datasets), len(self.dense_tokens)), bool)
        column = np.searchsorted(self.dense_tokens, token_of_row)
        for row in np.flatnonzero(gene >= 0):
            out[:, column[row]] |= self.shards.measured[:, row]
        return out
