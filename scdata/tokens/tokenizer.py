"""Tokenizer: a preset with its vocabulary, from counts to tokens."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scdata._blocks import I32, I64, TokenBlock
from scdata._config import nearest, to_table
from scdata._errors import AssetsError, MappingError, NotCountsError, TokenizerError
from scdata.counts.csr import gather_genes
from scdata.counts.genes import cut_version, looks_like, map_ids
from scdata.normalize.library_size import F64, library_size, log1p_normalized, normalize_total
from scdata.source.integers import as_counts
from scdata.tokens.assets import AssetFolder, remedy
from scdata.tokens.binning import draw_bins, quantile_bins
from scdata.tokens.preset import Preset, load_preset, preset_from_table
from scdata.tokens.ranking import rank_order
from scdata.tokens.sequence import Draws, Ragged, finish
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
    medians
        float64, one a gene of `vocab`, where the preset ranks.
    aliases
        Other names of genes, in upper case.
    assets
        sha256 of each published file that was read.
    """

    name: str
    preset: Preset
    # not in the repr: they hold one entry a gene
    vocab: Vocab | None = field(default=None, repr=False)
    medians: F64 | None = field(default=None, repr=False)
    aliases: Mapping[str, str] | None = field(default=None, repr=False)
    assets: Mapping[str, str] = field(default_factory=dict)

    # -- vocabulary --------------------------------------------------------

    def with_genes(
        self, feature_ids: Sequence[str], symbols: Mapping[str, str], medians: F64 | None = None
    ) -> "Tokenizer":
        """This tokenizer over a source's own genes: ids sorted, after the special tokens.

        Parameters
        ----------
        feature_ids
            Ids of the genes; equal ids count once.
        symbols
            Names of some of them.
        medians
            float64, one a distinct id in sorted order, where the preset ranks.
        """
        vocab = Vocab.of_source(feature_ids, symbols, self.preset.vocab.special)
        return dataclasses.replace(self, vocab=vocab, medians=medians)

    def genes(self) -> Vocab:
        """The vocabulary; an error if the tokenizer has none yet."""
        if self.vocab is None:
            raise TokenizerError(f"tokenizer {self.name!r} has no vocabulary yet: {_how_to_fit(self.name)}")
        return self.vocab

    def map_ids(self, feature_ids: Sequence[str]) -> I32:
        """int32 (G,): place of each id in the vocabulary's `feature_ids`, −1 where it has none."""
        return map_ids(feature_ids, self.genes().gene_index, self.aliases)

    # -- tokens ------------------------------------------------------------

    def tokenize(self, indptr: I64, genes: I32, counts: I32, total: I64, draws: Draws | None = None) -> Ragged:
        """Genes and counts of cells to token ids and values, without cut or special tokens.

        Parameters
        ----------
        indptr, genes, counts
            CSR of counts over the vocabulary's genes: int64 (C+1,), int32 (T,) distinct within a cell, int32 (T,).
        total
            int64 (C,): denominator of each cell (`denominator`).
        draws
            Randomness for presets that draw; None takes the upper bin of a tie.
        """
        vocab, value = self.genes(), self.preset.value
        token_ids = vocab.gene_tokens[genes]
        if value.kind == "rank":
            if self.medians is None:
                raise TokenizerError(f"tokenizer {self.name!r} has no medians: {_how_to_fit(self.name)}")
            relative = normalize_total(indptr, counts, total, value.target_sum) / self.medians[genes]
            return Ragged(indptr, token_ids[rank_order(indptr, relative)], None)
        if value.kind == "lognorm":
            return Ragged(indptr, token_ids, log1p_normalized(indptr, counts, total, value.target_sum))
        if value.kind == "quantile":
            low, high = quantile_bins(indptr, counts, value.n_bins)
            if draws is not None and value.ties == "random":
                high = draw_bins(low, high, draws.keys("ties", indptr, token_ids))
            return Ragged(indptr, token_ids, high)
        return Ragged(indptr, token_ids, counts)

    def finish(self, ragged: Ragged, draws: Draws | None, context_length: int | None = None) -> Ragged:
        """Cut over-long cells and put the special tokens around.

        Parameters
        ----------
        ragged
            What `tokenize` gave.
        draws
            Randomness, where the preset cuts at random; None cuts the end.
        context_length
            Most tokens a cell, special ones included; None: the preset's.
        """
        genes, specials = self.preset.genes, self.genes().specials
        before, after = [specials[t] for t in genes.prepend], [specials[t] for t in genes.append]
        limit = self.preset.context_length if context_length is None else context_length
        around = len(before) + len(after)
        if limit is not None and limit <= around:
            raise ValueError(f"context_length {limit} leaves no room beside {around} special tokens")
        room = None if limit is None else limit - around
        random = draws if genes.cut == "random" else None
        return finish(ragged, room, random, before, after, self.preset.value.special)

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
        given = np.asarray(obs[name], np.float64)
        wrong = ~((given >= 0) & (given < 1 << 53) & (given == np.floor(given))) | ((given == 0) & (vocab_counts > 0))
        if wrong.any():
            row = int(np.argmax(wrong))
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
            ``token_ids`` uint16 or uint32; ``values`` int32 (counts, upper bins), float32 (lognorm), or None (ranks).
            Special tokens and the cut are there where the preset stores tokens (geneformer), else left to the loader.
            A cell without a gene of the vocabulary has no tokens.

        Raises
        ------
        NotCountsError
            If X holds anything but counts.
        MappingError
            If no id is in the vocabulary.
        ValueError
            If the number of ids is not the number of columns.

        Examples
        --------
        >>> import numpy as np, scipy.sparse as sp
        >>> X = sp.csr_matrix(np.array([[3, 0, 1], [0, 2, 2]]))
        >>> block = load_tokenizer("counts").encode(X, ["ENSG00000000003", "ENSG00000000005.2", "ENSG00000000001"])
        >>> block.token_ids.tolist(), block.values.tolist(), block.indptr.tolist()
        ([0, 1, 0, 2], [1, 3, 2, 2], [0, 2, 4])
        """
        csr = X.tocsr()
        if csr.shape[1] != len(feature_ids):
            raise ValueError(f"X has {csr.shape[1]} columns but {len(feature_ids)} feature_ids were given")
        indptr = csr.indptr.astype(np.int64)
        data = as_counts(
            csr.data,
            where="X",
            row_of=lambda i: int(np.searchsorted(indptr, i, side="right")) - 1,
            remedy="encode() takes raw counts: pass the counts layer",
        )
        tokenizer = self
        if self.vocab is None and not self.preset.needs_medians:
            tokenizer = self.with_genes([cut_version(name) for name in feature_ids], {})
        target = tokenizer.map_ids(feature_ids)
        if len(target) and (target < 0).all():
            raise MappingError(
                f"none of the {len(target)} feature_ids is in the vocabulary of {self.name!r}, which holds "
                f"{self.preset.vocab.ids} such as {tokenizer.genes().feature_ids[0]!r}; "
                f"yours look like {looks_like(feature_ids)}, such as {feature_ids[0]!r}"
            )
        total = library_size(indptr, data)
        nonzero = data > 0
        if not nonzero.all():
            kept = np.concatenate(([0], np.cumsum(nonzero)))
            csr_indices, data, indptr = csr.indices[nonzero], data[nonzero], kept[indptr]
        else:
            csr_indices = csr.indices
        try:
            indptr, genes, counts = gather_genes(indptr, csr_indices, data, target, len(tokenizer.genes().feature_ids))
        except OverflowError as error:
            raise NotCountsError(f"X: {error}") from error
        return tokenizer._encode_genes(indptr, genes, counts, total, obs)

    def _encode_genes(
        self, indptr: I64, genes: I32, counts: I32, total_counts: I64, obs: Mapping[str, Any] | None
    ) -> TokenBlock:
        vocab_counts = library_size(indptr, counts)
        total = self.denominator(total_counts, vocab_counts, obs)
        ragged = self.tokenize(indptr, genes, counts, total)
        if self.preset.stores == "tokens":
            ragged = self._without_empty(self.finish(ragged, None), np.diff(indptr) == 0)
        return TokenBlock(
            indptr=ragged.indptr,
            token_ids=ragged.token_ids.astype(self.genes().token_dtype),
            values=ragged.values,
            total_counts=total_counts,
            vocab_counts=vocab_counts,
        )

    @staticmethod
    def _without_empty(ragged: Ragged, empty: Any) -> Ragged:
        # a cell with no gene is not a sequence of special tokens
        if not empty.any():
            return ragged
        lengths = np.diff(ragged.indptr)
        indptr = np.concatenate(([0], np.cumsum(np.where(empty, 0, lengths))))
        return ragged.take(np.repeat(~empty, lengths), indptr)

    # -- storage -----------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """What ``vocab.json`` of a set holds; `from_json` reads it back."""
        vocab = self.genes()
        table: dict[str, Any] = {
            "name": self.name,
            "preset": to_table(self.preset),
            "specials": dict(vocab.specials),
            "genes": vocab.token_ids,
            "symbols": {i: s for i, s in zip(vocab.feature_ids, vocab.symbols, strict=True) if i != s},
            "assets": dict(self.assets),
        }
        if self.medians is not None:
            table["medians"] = self.medians.tolist()
        return table

    @staticmethod
    def from_json(table: Mapping[str, Any], where: str) -> "Tokenizer":
        """Read what `to_json` wrote; `where` names the file in messages."""
        try:
            preset = preset_from_table(table["preset"], where)
            genes, specials = dict(table["genes"]), dict(table["specials"])
            vocab = Vocab.of_genes({**specials, **genes}, list(specials)) if genes else None
            if vocab is None:
                raise TokenizerError(f"{where}: a vocabulary without genes")
            symbols = tuple(str(table["symbols"].get(name, name)) for name in vocab.feature_ids)
            vocab = dataclasses.replace(vocab, symbols=symbols)
            medians = np.array(table["medians"], np.float64) if "medians" in table else None
            if medians is not None and len(medians) != len(vocab.feature_ids):
                raise TokenizerError(f"{where}: {len(medians)} medians for {len(vocab.feature_ids)} genes")
            return Tokenizer(str(table["name"]), preset, vocab, medians, None, dict(table["assets"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TokenizerError(f"{where}: not a vocabulary of scdata: {error!r}") from error


def load_tokenizer(name: str, assets: str | None = None) -> Tokenizer:
    """A tokenizer by the name of its preset.

    Parameters
    ----------
    name
        ``"counts"``, ``"scgpt"``, ``"geneformer-v2"``, or the path of a preset of your own (``.toml``).
    assets
        Folder with the published vocabulary, laid out as the preset names its files; ``"fit"`` to use the source's own
        genes instead (the name then ends in ``+fit``); not needed by presets without a published vocabulary.

    Returns
    -------
    Tokenizer

    Raises
    ------
    PresetError
        If the preset does not exist or is wrong.
    AssetsError
        If it needs published files that were not given.
    """
    preset = load_preset(name)
    # a file keeps its suffix, so that a set says whether its preset came with scdata
    label = Path(name).name
    if not preset.published:
        if assets not in (None, "fit"):
            raise AssetsError(f"preset {label!r} has no published vocabulary: leave assets out")
        return Tokenizer(label, preset)
    if assets == "fit":
        return Tokenizer(f"{label}+fit", preset)
    if assets is None:
        raise AssetsError(f"preset {label!r} has a published vocabulary, which is not part of scdata: {remedy(name)}")
    folder = AssetFolder(assets, name)
    ids = folder.read(str(preset.vocab.genes))
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in ids.values()):
        raise TokenizerError(f"{preset.vocab.genes}: expected a token id for each name")
    vocab = Vocab.of_genes(ids, preset.vocab.special)
    aliases = folder.read(preset.vocab.aliases) if preset.vocab.aliases else None
    if aliases is not None and not all(isinstance(gene, str) for gene in aliases.values()):
        raise TokenizerError(f"{preset.vocab.aliases}: expected the id of a gene for each name")
    medians = None
    if preset.value.medians:
        table = folder.read(preset.value.medians)
        missing = [gene for gene in vocab.feature_ids if gene not in table]
        if missing:
            raise TokenizerError(f"{preset.value.medians}: no median for {len(missing)} genes, such as {missing[0]!r}")
        for gene in vocab.feature_ids:
            if not isinstance(table[gene], int | float) or not 0 < table[gene] < np.inf:
                raise TokenizerError(
                    f"{preset.value.medians}: the median of {gene} is {table[gene]!r}, expected a number above 0"
                )
        medians = np.array([table[gene] for gene in vocab.feature_ids], np.float64)
    return Tokenizer(label, preset, vocab, medians, aliases, folder.sha256)


def _how_to_fit(name: str) -> str:
    return (
        f"it is fitted to a corpus by `scdata build SOURCE -o OUT --tokenizer {name.removesuffix('+fit')} --assets fit`; "
        "with published files, pass their folder as assets="
    )
