"""Vocabulary: which token id each gene and special token has."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scdata._backend import beside
from scdata._blocks import I32
from scdata._cached import cached_property
from scdata._errors import TokenizerError

MOST_TOKENS = 1 << 24  # tables by token id are kept


@dataclass(frozen=True)
class Vocab:
    """Genes and special tokens with their ids.

    Parameters
    ----------
    feature_ids
        G gene ids, in order of their token ids.
    gene_tokens
        int32 (G,), ascending: token id of each gene.
    specials
        Token id of each special token.
    symbols
        G gene names; equal to `feature_ids` where nothing better is known.
    """

    # not in the repr: they hold one entry a gene
    feature_ids: tuple[str, ...] = field(repr=False)
    gene_tokens: I32 = field(repr=False)
    specials: Mapping[str, int]
    symbols: tuple[str, ...] = field(repr=False)

    @staticmethod
    def of_genes(ids: Mapping[str, int], special: Sequence[str]) -> "Vocab":
        """A published vocabulary: ids by name. Special tokens that it does not hold follow its largest id.

        Raises
        ------
        TokenizerError
            If no gene is there, two names share an id, or an id is negative or over `MOST_TOKENS`.
        """
        tokens = list(ids.values())
        if not set(ids) - set(special) or min(tokens) < 0 or max(tokens) + len(special) > MOST_TOKENS:
            raise TokenizerError(
                f"a vocabulary needs at least one gene, and ids from 0 to {MOST_TOKENS}, special ones included"
            )
        if len(set(tokens)) != len(tokens):
            raise TokenizerError("two names of the vocabulary share one id")
        specials, above = {}, max(tokens) + 1
        for token in special:
            specials[token] = ids.get(token, above)
            above += token not in ids
        genes = sorted((token, name) for name, token in ids.items() if name not in specials)
        names = tuple(name for _, name in genes)
        return Vocab(names, np.array([token for token, _ in genes], np.int32), specials, names)

    @staticmethod
    def of_source(feature_ids: Sequence[str], symbols: Mapping[str, str], special: Sequence[str]) -> "Vocab":
        """A source's own genes: special tokens from 0, then the distinct ids in order of their Unicode code points."""
        names = tuple(sorted(set(feature_ids)))
        first = len(special)
        return Vocab(
            names,
            np.arange(first, first + len(names), dtype=np.int32),
            {token: i for i, token in enumerate(special)},
            tuple(symbols.get(name, name) for name in names),
        )

    @cached_property
    def token_ids(self) -> dict[str, int]:
        """Token id by gene id."""
        return dict(zip(self.feature_ids, self.gene_tokens.tolist(), strict=True))

    @cached_property
    def gene_index(self) -> dict[str, int]:
        """Place of each gene id in `feature_ids`."""
        return {name: i for i, name in enumerate(self.feature_ids)}

    @cached_property
    def _first(self) -> int | None:
        """Token id of the first gene, where those of the others follow without a gap."""
        tokens = self.gene_tokens
        return int(tokens[0]) if len(tokens) and int(tokens[-1]) - int(tokens[0]) == len(tokens) - 1 else None

    def tokens_at(self, genes: I32) -> I32:
        """int32 (T,): token ids of genes by their places in `feature_ids`; on the CPU or on a device."""
        if self._first is None:
            return beside(genes, self.gene_tokens)[genes]
        # a sum is four times as fast as looking up what is spread over memory
        return genes + np.int32(self._first)

    @property
    def n_tokens(self) -> int:
        """One more than the largest id: rows that an embedding needs."""
        last = [int(self.gene_tokens[-1])] if len(self.gene_tokens) else []
        return max([*last, *self.specials.values()], default=-1) + 1

    @property
    def token_dtype(self) -> type[np.uint16] | type[np.uint32]:
        """Narrowest type that ids are stored in."""
        return np.uint16 if self.n_tokens <= 1 << 16 else np.uint32

    def hash(self) -> str:
        """sha256 over all names and ids."""
        text = json.dumps([self.feature_ids, self.gene_tokens.tolist(), dict(self.specials)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
