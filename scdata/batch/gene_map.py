"""The genes of a set in the vocabulary of a tokenizer: by gene code, by column of a dense batch, by dataset."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from scdata._blocks import I32, Array
from scdata._cached import cached_property
from scdata._errors import MappingError
from scdata.counts.genes import map_ids
from scdata.shard.shard_set import ShardSet
from scdata.tokens.tokenizer import Tokenizer

_MIN_MAPPED = 0.5  # least fraction of counts, as in a build


@dataclass(frozen=True)
class GeneMap:
    """Where the genes of `shards` stand in the vocabulary of `tokenizer`."""

    shards: ShardSet
    tokenizer: Tokenizer
    columns_of: I32 | None = None  # of dense batches, where they are not the set's own genes

    @property
    def own(self) -> bool:
        """True if the tokenizer's vocabulary is the set's."""
        return self.tokenizer.vocab is self.shards.tokenizer.vocab

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
    def dense_tokens(self) -> I32:
        """int32 (G,), ascending: token id of each column of a dense batch.

        The genes of the set that may be tokens, or all of the vocabulary's where that is the fixed axis of a model.
        """
        if self.columns_of is not None:
            return self.columns_of
        chosen = self.tokenizer.chosen_tokens
        if self.tokenizer.preset.vocab.fixed and not self.own:
            return chosen
        if self.own:
            there = np.asarray(self.shards.var["token_id"].to_numpy(), np.int32)
        else:
            mapped = self.gene_of_code
            there = self.tokenizer.genes().gene_tokens[np.unique(mapped[mapped >= 0])]
        return there if self.tokenizer.fitted.selected is None else np.intersect1d(there, chosen)

    @cached_property
    def column_of_token(self) -> I32:
        """int32: column of a dense batch for each token id, −1 for none."""
        table = np.full(self.tokenizer.genes().n_tokens, -1, np.int32)
        table[self.dense_tokens] = np.arange(len(self.dense_tokens), dtype=np.int32)
        return table

    def measured(self, tokens: I32) -> Array:
        """bool (D, n): which of some genes, by ascending token id, each dataset of the set measured."""
        var = self.shards.var
        if self.own:
            token_of_row = np.asarray(var["token_id"].to_numpy(), np.int32)
        else:
            gene = self.gene_of_code[var["code"].to_numpy()]
            token_of_row = np.where(gene >= 0, self.tokenizer.genes().gene_tokens[gene], np.int32(-1))
        column = np.searchsorted(tokens, token_of_row)
        column[column == len(tokens)] = 0
        by_token = np.zeros((len(tokens), len(self.shards.datasets)), bool)
        if len(tokens):
            rows = np.flatnonzero(tokens[column] == token_of_row)
            # several genes of the set may be one of the vocabulary
            np.logical_or.at(by_token, column[rows], self.shards.measured[:, rows].T)
        return np.ascontiguousarray(by_token.T)
