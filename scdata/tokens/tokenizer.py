"""Tokenizer: a preset with its vocabulary, from counts to tokens."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scdata._backend import backend, beside, on_device, row_ends, to_host
from scdata._blocks import I32, I64, Array, TokenBlock
from scdata._cached import cached_property
from scdata._config import nearest
from scdata._errors import TokenizerError
from scdata.counts.genes import map_ids
from scdata.tokens.choose import descending, fill_unexpressed, molecule_keys, permuted, with_zeros
from scdata.tokens.depth import depth_tokens
from scdata.tokens.fitted import Fitted
from scdata.tokens.kernels.rank_tokens import rank_tokens
from scdata.tokens.preset import Preset
from scdata.tokens.sequence import Draws, Ragged, finish, for_each_cell, surround_each
from scdata.tokens.values import gene_values, scale_and_clip
from scdata.tokens.vocab import Vocab


@dataclass(frozen=True)
class Tokenizer:
    """A preset with the vocabulary it is used with. Made by `load_tokenizer`.

    Parameters
    ----------
    name
        Name of the preset; ``+fit`` at its end says that the ids are those of the source's own genes.
    preset
        What the preset file says.
    vocab
        Token ids; None until the source's genes are known.
    fitted
        Numbers that the preset needs: medians, chosen genes, edges.
    aliases
        Other names of genes, in upper case.
    aux
        Ids of the obs column of ``[aux]``, by name.
    assets
        sha256 of each published file that was read.
    """

    name: str
    preset: Preset
    # not in the repr: they hold one entry a gene
    vocab: Vocab | None = field(default=None, repr=False)
    fitted: Fitted = field(default_factory=Fitted, repr=False)
    aliases: Mapping[str, str] | None = field(default=None, repr=False)
    aux: Mapping[str, int] | None = field(default=None, repr=False)
    assets: Mapping[str, str] = field(default_factory=dict)

    # -- vocabulary --------------------------------------------------------

    def with_genes(self, feature_ids: Sequence[str], symbols: Mapping[str, str]) -> "Tokenizer":
        """This tokenizer over a source's own genes: ids sorted, after the special tokens.

        Parameters
        ----------
        feature_ids
            Ids of the genes; equal ids count once.
        symbols
            Names of some of them.
        """
        return dataclasses.replace(self, vocab=Vocab.of_source(feature_ids, symbols, self.preset.special))

    def with_fitted(self, **numbers: Array) -> "Tokenizer":
        """This tokenizer with numbers of `Fitted` in place of those it had."""
        return dataclasses.replace(self, fitted=dataclasses.replace(self.fitted, **numbers))

    def genes(self) -> Vocab:
        """The vocabulary; an error if the tokenizer has none yet."""
        if self.vocab is None:
            raise TokenizerError(f"tokenizer {self.name!r} has no vocabulary yet: {self._how_to_fit()}")
        return self.vocab

    @property
    def unfitted(self) -> tuple[str, ...]:
        """What must be fitted to a corpus before tokens can be made: of the names in `scdata.tokens.fitted`."""
        return self.fitted.missing(self.preset)

    def require_fitted(self) -> None:
        """Raise `TokenizerError` with the command to run if something is `unfitted`, or if strata are not the preset's."""
        edges = self.fitted.edges
        if edges is not None and (self.preset.value.kind == "depth_edges") != (self.fitted.borders is not None):
            raise TokenizerError(f"tokenizer {self.name!r}: borders of strata go with depth_edges, and only with them")
        if edges is not None and len(edges) > self.preset.value.strata:
            raise TokenizerError(
                f"tokenizer {self.name!r} has edges of {len(edges)} strata, its preset {self.preset.value.strata}"
            )
        if self.unfitted:
            raise TokenizerError(
                f"tokenizer {self.name!r} has no {' and no '.join(self.unfitted)} yet: {self._how_to_fit()}"
            )

    def map_ids(self, feature_ids: Sequence[str]) -> I32:
        """int32 (G,): place of each id in the vocabulary's `feature_ids`, −1 where it has none."""
        return map_ids(feature_ids, self.genes().gene_index, self.aliases)

    @cached_property
    def chosen_tokens(self) -> I32:
        """int32, ascending: ids of the genes that may be tokens: the vocabulary's, or the chosen ones."""
        selected = self.fitted.selected
        tokens = self.genes().gene_tokens
        return tokens if selected is None else tokens[selected]

    # -- tokens ------------------------------------------------------------

    def choose(self, indptr: I64, genes: I32, counts: I32) -> tuple[I64, I32, I32]:
        """CSR over the vocabulary's genes without those that were not chosen (hvg); totals are worked out before."""
        if self.fitted.selected is None:
            return indptr, genes, counts
        kept = beside(genes, self._is_chosen)[genes]
        return row_ends(kept)[indptr], genes[kept], counts[kept]

    @cached_property
    def _is_chosen(self) -> Array:
        """bool (G,): which genes of the vocabulary were chosen."""
        chosen = np.zeros(len(self.genes().feature_ids), bool)
        chosen[self.fitted.selected] = True
        return chosen

    def tokenize(self, indptr: I64, genes: I32, counts: I32, total: I64, draws: Draws | None = None) -> Ragged:
        """Genes and counts of cells to token ids and values, without cut or special tokens.

        Parameters
        ----------
        indptr, genes, counts
            CSR of counts over the vocabulary's genes: int64 (C+1,), int32 (T,) distinct within a cell, int32 (T,) ≥ 1.
        total
            int64 (C,): denominator of each cell (`denominator`). All of them on the CPU, or all on a device, where the
            result then is.
        draws
            Randomness for presets that draw; None takes the upper bin of a tie.
        """
        self.require_fitted()
        value = self.preset.value
        if value.kind == "rank":
            assert self.fitted.medians is not None  # require_fitted
            medians = beside(genes, self.fitted.medians)
            gene_tokens = beside(genes, self.genes().gene_tokens)
            ranked = rank_tokens(indptr, genes, counts, total, value.target_sum, medians, gene_tokens)
            return Ragged(indptr, ranked, None)
        token_ids = self.genes().tokens_at(genes)
        return Ragged(indptr, token_ids, gene_values(value, self.fitted, indptr, token_ids, counts, total, draws))

    def finish(
        self,
        ragged: Ragged,
        draws: Draws | None,
        context_length: int | None = None,
        *,
        depths: tuple[I64, I64] | None = None,
        counts: I32 | None = None,
        measured: Array | None = None,
    ) -> Ragged:
        """Cut over-long cells, add zeros, and put the special tokens around, as ``[genes]`` and ``[depth]`` say.

        Parameters
        ----------
        ragged
            What `tokenize` gave.
        draws
            Randomness, where the preset draws; None cuts the end and leaves the order.
        context_length
            Most tokens a cell, special ones included; None: the preset's.
        depths
            int64 (C,) each, where the preset has depth tokens: total of the cell that is the target, and of the cell as it is
            read (the same but for thinning).
        counts
            int32 (T,): counts of the tokens, for a cut weighted by them.
        measured
            bool (C, n): which of `chosen_tokens` each cell's dataset measured; None: all.
        """
        genes, value, specials = self.preset.genes, self.preset.value, self.genes().specials
        room = self.room(context_length)
        weighted = draws is not None and genes.cut == "weighted"
        if genes.with_zeros:
            if weighted and counts is not None:
                of_counts = Ragged(ragged.indptr, ragged.token_ids, counts)
                counts = with_zeros(
                    of_counts, self.chosen_tokens, measured, None if value.missing is None else 0
                ).values
            ragged = with_zeros(ragged, self.chosen_tokens, measured, value.missing)
        if weighted and draws is not None and counts is not None:
            # before another order, in which counts are not
            ragged = finish(ragged, room, None, [], [], 0, molecule_keys(ragged, counts, draws))
        if genes.order == "descending":
            ragged = descending(ragged)
        before, after = [specials[t] for t in genes.prepend], [specials[t] for t in genes.append]
        plain = genes.order != "random" and genes.fill == "none" and value.scale is None
        random = draws if genes.cut == "random" else None
        if plain:
            ragged = finish(ragged, room, random, before, after, value.special)
        else:
            ragged = finish(ragged, room, random, [], [], 0)
            if draws is not None and genes.order == "random":
                ragged = permuted(ragged, draws)
            if draws is not None and genes.fill == "unexpressed" and room is not None:
                ragged = fill_unexpressed(ragged, room, draws, self.chosen_tokens, measured)
            ragged = finish(self.scaled(ragged), None, None, before, after, value.special)
        if not self.preset.depth.tokens:
            return ragged
        if depths is None:
            raise ValueError(f"tokenizer {self.name!r} has depth tokens: give the depths of the cells")
        none = for_each_cell(ragged.indptr, (), np.int32)
        return surround_each(ragged, (none, none), depth_tokens(self.preset, self.fitted, specials, *depths))

    def scaled(self, ragged: Ragged) -> Ragged:
        """Counts scaled to ``[value] scale`` and clipped; unchanged where the preset does not scale."""
        value = self.preset.value
        if value.scale is None or ragged.values is None:
            return ragged
        return Ragged(ragged.indptr, ragged.token_ids, scale_and_clip(value, ragged.indptr, ragged.values))

    def room(self, context_length: int | None = None) -> int | None:
        """Genes that a context has room for beside the special tokens; None: no limit.

        Raises
        ------
        ValueError
            If it has none.
        """
        limit = self.preset.context_length if context_length is None else context_length
        around = self.preset.n_around
        if limit is not None and limit <= around:
            raise ValueError(f"context_length {limit} leaves no room beside {around} special tokens")
        return None if limit is None else limit - around

    def denominator(self, total_counts: I64, vocab_counts: I64, obs: Mapping[str, Any] | None) -> I64:
        """int64 (C,): what counts are divided by, as ``[value] total`` says: the source, the vocabulary, an obs column."""
        name = self.preset.value.total
        if name in ("source", "vocab"):
            return total_counts if name == "source" else vocab_counts
        if obs is None or name not in obs:
            raise TokenizerError(
                f"preset {self.name!r} divides by the obs column {name!r}, which is not there: "
                f"{nearest(name, [str(column) for column in obs] if obs is not None else [])}"
            )
        given = obs[name].astype(np.float64) if on_device(obs[name]) else np.asarray(obs[name], np.float64)
        whole = given == backend(given).floor(given)
        wrong = ~((given >= 0) & (given < 1 << 53) & whole) | ((given == 0) & (vocab_counts > 0))
        if wrong.any():
            given, row = to_host(given), int(np.argmax(to_host(wrong)))
            raise TokenizerError(
                f"preset {self.name!r} divides by the obs column {name!r}, which is {given[row]:g} in row {row}: "
                "expected whole numbers above 0"
            )
        return given.astype(np.int64)

    def encode(self, X: Any, feature_ids: Sequence[str], obs: Mapping[str, Any] | None = None) -> TokenBlock:
        """Tokens of cells, as the published tokenizer gives them where its rules are deterministic.

        Parameters
        ----------
        X
            scipy CSR of raw counts, cells × genes, integers in any dtype.
        feature_ids
            Ids of its columns: Ensembl ids with or without version, or symbols, whichever the vocabulary has.
        obs
            Mapping (a data frame, a dict) with the column that the preset divides by, if it names one.

        Returns
        -------
        TokenBlock
            ``token_ids`` uint16 or uint32; ``values`` int32 (counts, levels, bins; the upper bin of a tie), float32
            (lognorm), or None (ranks). Special tokens and the cut are there where the preset stores tokens (geneformer,
            depth-bins), else left to the loader. A cell without a gene of the vocabulary has no tokens.

        Raises
        ------
        NotCountsError
            If X holds anything but counts.
        MappingError
            If no id is in the vocabulary.
        TokenizerError
            If the preset has to be fitted first.
        ValueError
            If the number of ids is not the number of columns.

        Examples
        --------
        >>> import numpy as np, scipy.sparse as sp
        >>> from scdata import load_tokenizer
        >>> X = sp.csr_matrix(np.array([[3, 0, 1], [0, 2, 2]]))
        >>> block = load_tokenizer("counts").encode(X, ["ENSG00000000003", "ENSG00000000005.2", "ENSG00000000001"])
        >>> block.token_ids.tolist(), block.values.tolist(), block.indptr.tolist()
        ([0, 1, 0, 2], [1, 3, 2, 2], [0, 2, 4])
        """
        from scdata.tokens.encode import encode

        return encode(self, X, feature_ids, obs)

    def _how_to_fit(self) -> str:
        name = self.name.removesuffix("+fit")
        return (
            f"it is fitted to a corpus by `scdata build SOURCE -o OUT --tokenizer {name} --assets fit`, or to a set of counts "
            f"by `scdata fit SET`, after which `tokenizer={name + '+fit'!r}` works on the fly"
            + ("; with published files, pass their folder as assets=" if self.preset.published else "")
        )
