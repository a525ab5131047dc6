"""Genes of another species, read as their orthologs among the genes of the set."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scdata._blocks import I64
from scdata._config import nearest
from scdata._errors import MappingError
from scdata.build.config import BuildConfig
from scdata.build.genes import SourceGenes, Translation, choose_ids, var_texts
from scdata.counts.genes import cut_version, ensembl_prefix
from scdata.counts.organisms import columns_of_organism, organism_of_column, organism_of_ids
from scdata.counts.orthologs import OrthologTable, parse_orthologs
from scdata.source import CountSource
from scdata.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Target:
    """The genes that a build turns others into.

    Parameters
    ----------
    table
        The orthologs.
    column
        Its column with the ids of the set's genes.
    same
        All of its columns that name genes of that species.
    many_to_one
        See `OrthologTable.mapping`.
    """

    table: OrthologTable
    column: str
    same: tuple[str, ...]
    many_to_one: bool

    @staticmethod
    def of(config: BuildConfig, tokenizer: Tokenizer) -> "Target | None":
        """What a config asks for; None where it names no table.

        Raises
        ------
        MappingError
            If the table does not say which of its columns is meant.
        """
        if config.orthologs is None:
            return None
        table = parse_orthologs(config.orthologs_bytes(), config.orthologs_name)
        columns, asked = list(table.columns), config.orthologs_to
        if asked is not None and asked not in columns:
            columns = columns_of_organism(asked, columns)
            if not columns:
                raise MappingError(
                    f"{table.name} has no column called or named after {asked!r} (--orthologs-to): "
                    f"{nearest(asked, list(table.columns))}"
                )
        elif asked is not None:
            columns = [asked]
        column = _best(table, columns, tokenizer, asked)
        organism = organism_of_ids(table.columns[column]) or organism_of_column(column)
        beside = columns_of_organism(organism, table.columns) if organism is not None else []
        named = columns_of_organism(asked, table.columns) if asked is not None else []
        return Target(table, column, tuple(dict.fromkeys((column, *beside, *named))), config.many_to_one)


def _best(table: OrthologTable, columns: list[str], tokenizer: Tokenizer, asked: str | None) -> str:
    """Of some columns the one that has the genes of the vocabulary; of one's own genes the Ensembl ids."""
    if tokenizer.vocab is not None:
        index = tokenizer.vocab.gene_index
        known = {name: len(index.keys() & set(table.columns[name])) for name in columns}
        best = max(known, key=lambda name: known[name])
        if not known[best]:
            raise MappingError(
                f"{table.name} has no gene of the vocabulary of {tokenizer.name!r}, such as "
                f"{tokenizer.vocab.feature_ids[0]!r}, in {', '.join(map(repr, columns))}"
            )
        return best
    if asked is None:
        raise MappingError(
            f"{table.name}: say whose genes the set shall have with --orthologs-to, a species or one of the columns "
            f"{', '.join(map(repr, columns))}; a published vocabulary tells by itself"
        )
    return next((name for name in columns if ensembl_prefix(table.columns[name]) is not None), columns[0])


def choose_genes(
    source: CountSource, tokenizer: Tokenizer, column: str | None, counts: I64, target: Target | None
) -> SourceGenes:
    """The genes of a source: as `choose_ids` reads them, or their orthologs where they are of another species than `target`.

    Which species a source is of its ids tell: they stand in a column of the table. Those of the target's species stay as they
    are, with or without orthologs.

    Raises
    ------
    LayerNotFoundError, MappingError
        As `choose_ids`; if no id stands in the table, or ids of the target's species are of another kind than the target's.
    """
    if target is None:
        return choose_ids(source, tokenizer, column, counts)
    texts = var_texts(source, column)
    if column is not None:
        texts = {column: texts[column]}
    texts = {name: tuple(map(cut_version, own)) for name, own in texts.items()}
    there = {name: set(ids) - {""} for name, ids in target.table.columns.items()}
    found = {(name, of): _sums(ids, genes, counts) for name, ids in texts.items() for of, genes in there.items()}
    ensembl = {name for name, ids in texts.items() if ensembl_prefix(ids) is not None}

    def rank(pair: tuple[str, str]) -> tuple[bool, int, int, bool]:
        # Ensembl ids before symbols, which several genes share; of equals the species of the target, so that nothing is lost
        return (pair[0] in ensembl and found[pair][1] > 0, *found[pair], pair[1] in target.same)

    name, of = max(found, key=rank)
    if not found[name, of][1]:
        raise MappingError(
            f"{source.uri}: none of its genes, such as {next(iter(texts.values()))[0]!r}, stands in {target.table.name}, whose "
            f"columns are {', '.join(map(repr, there))}: ids of the same kind are needed, such as Ensembl's"
        )
    if of in target.same:
        chosen = choose_ids(source, tokenizer, column, counts)
        _refuse_other_ids(source, tokenizer, chosen, target, there)
        return chosen
    ids, orthologs = texts[name], target.table.mapping(of, target.column, target.many_to_one)
    translated = tuple(orthologs.get(own) or "" for own in ids)
    kept = np.array([bool(own) for own in translated])
    n_ambiguous = sum(own in orthologs and orthologs[own] is None for own in ids)
    if not kept.any():
        raise MappingError(
            f"{source.uri}: none of its genes has one ortholog in column {target.column!r} of {target.table.name}"
            + ("" if target.many_to_one else ": add --many-to-one, which sums the counts of genes that share one")
        )
    translation = Translation(
        column=of,
        to=target.column,
        n_kept=int(kept.sum()),
        n_ambiguous=n_ambiguous,
        n_without=len(ids) - int(kept.sum()) - n_ambiguous,
        share_lost=float(counts[~kept].sum() / max(1, counts.sum())),
    )
    names = _symbols(target)
    return SourceGenes(name, translated, tuple(names.get(own, "") for own in translated), translation)


def _sums(ids: tuple[str, ...], genes: set[str], counts: I64) -> tuple[int, int]:
    """Counts and number of the ids that are among some genes."""
    known = np.array([own in genes for own in ids], bool)
    return int(counts[known].sum()), int(known.sum())


def _refuse_other_ids(
    source: CountSource, tokenizer: Tokenizer, chosen: SourceGenes, target: Target, there: Mapping[str, set[str]]
) -> None:
    """Own genes of one species must be of one kind, or those of two sources would not meet."""
    if tokenizer.vocab is not None:
        return
    known = {name: sum(own in there[name] for own in chosen.ids) for name in target.same}
    best = max(known, key=lambda name: known[name])
    if known[target.column] < known[best]:
        raise MappingError(
            f"{source.uri}: its ids ({chosen.column!r}) are those of column {best!r} of {target.table.name}, and orthologs are "
            f"to be those of {target.column!r}: add --orthologs-to {best}, or name another var column with --feature-id"
        )


def _symbols(target: Target) -> dict[str, str]:
    """Names of the target's genes, where the table has any beside their ids."""
    names = next((own for own in target.same if ensembl_prefix(target.table.columns[own]) is None), None)
    return {} if names is None else target.table.first(target.column, names)
