"""From the genes of the sources to the genes of the set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from scdata._blocks import I32, I64
from scdata._config import nearest
from scdata._errors import LayerNotFoundError, MappingError
from scdata.counts.genes import HUMAN, RODENT_SYMBOLS, cut_version, ensembl_prefix, looks_like
from scdata.source import CountSource
from scdata.tokens.tokenizer import Tokenizer

_ID_COLUMNS = ("feature_id", "ensembl_id", "gene_ids")
_NAME_COLUMNS = ("feature_name", "gene_symbol", "gene_name", "symbol", "gene_symbols")
VAR_NAME = "var_name"
_STRING = pa.string()


@dataclass(frozen=True)
class GeneGroups:
    """Sources with equal tables of genes, which are mapped once: ten thousand files have few of them.

    Parameters
    ----------
    first
        The first source of each group.
    of_source
        Group of each source.
    """

    first: list[CountSource]
    of_source: list[int]

    @staticmethod
    def of(sources: Sequence[CountSource]) -> "GeneGroups":
        """Group sources whose ``var`` is the same object, as that of files with equal ones is."""
        tables = [source.var for source in sources]  # alive, so that their ids differ
        first: dict[int, CountSource] = {}
        for source, table in zip(sources, tables, strict=True):
            first.setdefault(id(table), source)
        number = {key: group for group, key in enumerate(first)}
        return GeneGroups(list(first.values()), [number[id(table)] for table in tables])

    def name(self, group: int) -> str:
        """What to call a group in messages."""
        others = self.of_source.count(group) - 1
        return self.first[group].name + (f" and {others:,} with the same genes" if others else "")


@dataclass(frozen=True)
class Translation:
    """What became of the genes of a source of another species.

    Parameters
    ----------
    column, to
        Columns of the table of orthologs: that of the source's ids, and that of the set's.
    n_kept, n_ambiguous, n_without
        Genes of the source that have one ortholog; several, or one that is also another gene's; none.
    share_lost
        Share of the counts, in a sample of cells, of genes that are not kept.
    """

    column: str
    to: str
    n_kept: int
    n_ambiguous: int
    n_without: int
    share_lost: float


@dataclass(frozen=True)
class SourceGenes:
    """How the genes of one source are read.

    Parameters
    ----------
    column
        The var column whose ids are used.
    ids
        G ids, as looked up; empty where there is none.
    names
        G gene names.
    translation
        Set if the ids are those of orthologs: then nothing else of the source's var tells of the set's genes.
    """

    column: str
    ids: tuple[str, ...]
    names: tuple[str, ...]
    translation: Translation | None = None


def choose_ids(source: CountSource, tokenizer: Tokenizer, column: str | None, counts: I64) -> SourceGenes:
    """Choose the var column that names genes as the tokenizer's vocabulary does.

    With a published vocabulary it is `column`, or the one that maps most counts. With the source's own genes it is the
    first there is of `column`, ``feature_id``, ``ensembl_id``, ``gene_ids`` and the var index; Ensembl versions are cut, and
    a gene without an id keeps its var name.

    Parameters
    ----------
    column
        What the user asked for, or None.
    counts
        int64 (G,): counts of each gene in a sample of cells.

    Raises
    ------
    LayerNotFoundError
        If the column asked for is not there.
    """
    texts = var_texts(source, column)
    if tokenizer.vocab is None:
        found = column or next((name for name in _ID_COLUMNS if name in texts), VAR_NAME)
        ids = tuple(cut_version(own) if own else name for own, name in zip(texts[found], texts[VAR_NAME], strict=True))
    else:
        if column is None:
            _refuse_other_species(source, tokenizer, texts)
        candidates = [column] if column else list(texts)
        known = {name: tokenizer.map_ids(texts[name]) >= 0 for name in candidates}
        found = max(candidates, key=lambda name: (int(counts[known[name]].sum()), int(known[name].sum())))
        ids = texts[found]
        if tokenizer.preset.vocab.species == HUMAN and looks_like(ids) == RODENT_SYMBOLS:
            raise _other_species(source, tokenizer, found, ids)
    names = next((texts[name] for name in _NAME_COLUMNS if name in texts), texts[VAR_NAME])
    return SourceGenes(found, ids, names)


def var_texts(source: CountSource, column: str | None) -> dict[str, tuple[str, ...]]:
    """The var columns of strings, by name, null as ``""``.

    Raises
    ------
    LayerNotFoundError
        If `column` is given and not among them.
    """
    var = source.var
    texts = {name: _texts(var[name]) for name in var.column_names if pa.types.is_string(var.schema.field(name).type)}
    if column is not None and column not in texts:
        raise LayerNotFoundError(f"{source.uri}: no var column {column!r} with ids: {nearest(column, list(texts))}")
    return texts


def _refuse_other_species(source: CountSource, tokenizer: Tokenizer, texts: Mapping[str, Sequence[str]]) -> None:
    """Symbols of two species are often alike: where Ensembl ids stand beside them, these say which species it is."""
    species = tokenizer.preset.vocab.species
    for name, ids in texts.items():
        found = ensembl_prefix(ids)
        if species is not None and found not in (None, species):
            raise _other_species(source, tokenizer, name, ids)


def _other_species(source: CountSource, tokenizer: Tokenizer, column: str, ids: Sequence[str]) -> MappingError:
    species = tokenizer.preset.vocab.species
    whose = "human genes" if species == HUMAN else f"the species {species}…"
    return MappingError(
        f"{source.uri}: the var column {column!r} holds {looks_like(ids)}, and the vocabulary of {tokenizer.name!r} is of "
        f"{whose}: map orthologs by a table of them (--orthologs FILE), use the source's own genes (--assets fit), or name the "
        "column that holds ids of that species with --feature-id"
    )


def _texts_of(source: CountSource, name: str) -> tuple[str, ...] | None:
    """A column of strings; None where the source has none of that name, or numbers there (pandas' empty column is NaN)."""
    there = name in source.var.column_names and pa.types.is_string(source.var.schema.field(name).type)
    return _texts(source.var[name]) if there else None


def _texts(column: pa.ChunkedArray) -> tuple[str, ...]:
    return tuple(value or "" for value in column.to_pylist())


def check_mapped(
    uri: str, tokenizer: Tokenizer, genes: SourceGenes, mapped: int, total: int, min_mapped: float
) -> None:
    """Refuse a source of which too few counts belong to genes of the vocabulary.

    Parameters
    ----------
    mapped, total
        Counts of genes in the vocabulary, and of all genes.

    Raises
    ------
    MappingError
        If ``mapped / total`` is below `min_mapped`.
    """
    if total and mapped < min_mapped * total:
        if genes.translation is not None:
            raise MappingError(
                f"{uri}: only {mapped / total:.1%} of the counts belong to genes with an ortholog in the vocabulary of "
                f"{tokenizer.name!r} (limit {min_mapped:.0%}): sum the counts of genes that share one (--many-to-one), or "
                "lower --min-mapped"
            )
        unknown = int((tokenizer.map_ids(genes.ids) < 0).sum())
        raise MappingError(
            f"{uri}: {unknown:,} of {len(genes.ids):,} ids are unknown, and only {mapped / total:.1%} of the counts belong to "
            f"genes of the vocabulary of {tokenizer.name!r} "
            f"(limit {min_mapped:.0%}). The var column {genes.column!r} holds {looks_like(genes.ids)}, such as "
            f"{next(filter(None, genes.ids), '')!r}; the vocabulary holds {tokenizer.preset.vocab.ids}, such as "
            f"{tokenizer.genes().feature_ids[0]!r}. Name another column with --feature-id, or lower --min-mapped"
        )


@dataclass(frozen=True)
class SetGenes:
    """The genes of the set: those of the vocabulary that a source has a column for, in order of token id.

    Parameters
    ----------
    var
        What ``var.parquet`` holds.
    vocab_index
        int32 (G,): place of each gene in the vocabulary.
    code
        int32 (G,): gene code of each gene.
    """

    var: pa.Table
    vocab_index: I32
    code: I32


def set_genes(
    tokenizer: Tokenizer,
    sources: Sequence[CountSource],
    genes: Sequence[SourceGenes],
    detected: Sequence[I64],
    counts: Sequence[I64],
) -> tuple[SetGenes, list[I32]]:
    """Collect the genes of the set and number them.

    Parameters
    ----------
    detected
        int64 (G_source,) a source: cells of a sample that express each of its columns.
    counts
        int64 (G_source,) a source: counts of each column in that sample.

    Returns
    -------
    set_genes : SetGenes
    targets : list of int32 (G_source,)
        Row of each source column in ``set_genes.var``, −1 where it is not in the vocabulary.
    """
    vocab = tokenizer.genes()
    maps = [tokenizer.map_ids(own.ids) for own in genes]
    rate, total = (np.zeros(len(vocab.feature_ids), np.int64) for _ in range(2))
    present = np.zeros(len(vocab.feature_ids), bool)
    for mapped, cells, own in zip(maps, detected, counts, strict=True):
        np.add.at(rate, mapped[mapped >= 0], cells[mapped >= 0])
        np.add.at(total, mapped[mapped >= 0], own[mapped >= 0])
        present[mapped[mapped >= 0]] = True
    index = np.flatnonzero(present).astype(np.int32)
    row_of = np.full(len(present), -1, np.int32)
    row_of[index] = np.arange(len(index), dtype=np.int32)
    # by falling detection rate; ties in order of token id, which is the order of `index`
    code = np.empty(len(index), np.int32)
    code[np.argsort(-rate[index], kind="stable")] = np.arange(len(index), dtype=np.int32)
    described = [None if own.translation else source for source, own in zip(sources, genes, strict=True)]
    columns: dict[str, pa.Array] = {
        "token_id": pa.array(vocab.gene_tokens[index]),
        "code": pa.array(code),
        "feature_id": pa.array([vocab.feature_ids[i] for i in index], pa.string()),
        "feature_name": _from_sources(index, maps, [g.names for g in genes], vocab.symbols),
        "feature_length": _from_sources(
            index, maps, [None if own is None else _lengths(own) for own in described], kind=pa.int64()
        ),
        "feature_type": pa.array(["gene"] * len(index), pa.string()),
        "sample_counts": pa.array(total[index]),
    }
    used = {own.column for own in genes if own.translation is None}
    for name in sorted({VAR_NAME, *used, *_ID_COLUMNS, *_NAME_COLUMNS} - set(columns)):
        per_source = [None if own is None else _texts_of(own, name) for own in described]
        if any(texts is not None for texts in per_source):
            columns[name] = _from_sources(index, maps, per_source)
    targets = [np.where(mapped >= 0, row_of[mapped], -1).astype(np.int32) for mapped in maps]
    return SetGenes(pa.table(columns), index, code), targets


def _lengths(source: CountSource) -> Sequence[int | None] | None:
    name = "feature_length"
    if name not in source.var.column_names or pa.types.is_string(source.var.schema.field(name).type):
        return None
    return [None if v is None or v != v else int(v) for v in source.var["feature_length"].to_pylist()]


def _from_sources(
    index: I32,
    maps: Sequence[I32],
    values: Sequence[Sequence[object] | None],
    default: Sequence[str] | None = None,
    kind: pa.DataType = _STRING,
) -> pa.Array:
    """For each gene of the set, the value of the first source column that is it."""
    found: dict[int, object] = {}
    for mapped, own in zip(maps, values, strict=True):
        if own is not None:
            for column, gene in enumerate(mapped.tolist()):
                if gene >= 0 and own[column] not in (None, ""):
                    found.setdefault(gene, own[column])
    out = [found.get(int(i), default[int(i)] if default is not None else None) for i in index]
    return pa.array(out, kind)
