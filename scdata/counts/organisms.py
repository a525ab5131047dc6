"""Species by their names, NCBI taxa and Ensembl prefixes."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scdata.counts.genes import ensembl_prefix


class Organism(NamedTuple):
    """A species: its name, its NCBI taxon, the prefix of its Ensembl genes, and its common name."""

    name: str
    taxon: str
    prefix: str
    common: str


ORGANISM_COLUMNS = ("organism", "organism_ontology_term_id")  # of obs, in CELLxGENE's schema

_KNOWN = (
    Organism("Homo sapiens", "NCBITaxon:9606", "ENSG", "human"),
    Organism("Mus musculus", "NCBITaxon:10090", "ENSMUSG", "mouse"),
    Organism("Rattus norvegicus", "NCBITaxon:10116", "ENSRNOG", "rat"),
    Organism("Danio rerio", "NCBITaxon:7955", "ENSDARG", "zebrafish"),
    Organism("Macaca mulatta", "NCBITaxon:9544", "ENSMMUG", "rhesus"),
    Organism("Callithrix jacchus", "NCBITaxon:9483", "ENSCJAG", "marmoset"),
    Organism("Pan troglodytes", "NCBITaxon:9598", "ENSPTRG", "chimpanzee"),
    Organism("Sus scrofa", "NCBITaxon:9823", "ENSSSCG", "pig"),
)


def _plain(text: str) -> str:
    return text.strip().lower().replace("_", " ")


_BY_NAME = {_plain(word): known for known in _KNOWN for word in (known.name, known.taxon, known.common)}


def organism_named(text: str) -> str:
    """The scientific name of a species; a name that is not known stays as it is.

    Parameters
    ----------
    text
        Scientific name, common name or NCBI taxon, as in ``organism`` and ``organism_ontology_term_id`` of CELLxGENE's schema.

    Examples
    --------
    >>> organism_named("homo_sapiens"), organism_named("NCBITaxon:10090"), organism_named("axolotl")
    ('Homo sapiens', 'Mus musculus', 'axolotl')
    """
    known = _BY_NAME.get(_plain(text))
    return known.name if known is not None else text.strip()


def organism_of_ids(feature_ids: Sequence[str]) -> str | None:
    """The species whose Ensembl genes most of some ids are; None if they are none, or of a species not known here."""
    prefix = ensembl_prefix(feature_ids)
    return next((known.name for known in _KNOWN if known.prefix == prefix), None)


def columns_of_organism(organism: str, columns: Iterable[str]) -> list[str]:
    """Those of some columns that have a species in their name, such as ``human_ensembl_id`` and ``Mouse gene name``."""
    known = _BY_NAME.get(_plain(organism))
    words = {_plain(organism)} if known is None else {_plain(known.name), known.common}
    return [column for column in columns if any(_stands_in(word, column) for word in words)]


def organism_of_column(column: str) -> str | None:
    """The species that a column has in its name."""
    found = (known for known in _KNOWN if _stands_in(_plain(known.name), column) or _stands_in(known.common, column))
    return next((known.name for known in found), None)


def _stands_in(word: str, column: str) -> bool:
    return f" {word} " in f" {_plain(column)} "
