"""Which species each dataset of a build is of."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scdata.build.genes import var_texts
from scdata.counts.organisms import ORGANISM_COLUMNS, organism_named, organism_of_ids
from scdata.source import CountSource, dataset_organisms


class Organisms:
    """The species of the datasets of some sources, while their obs is read.

    A species is what the user says; else what the source knows, as a Census and a finished set do; else what obs says of the
    cells that are kept; else the one whose Ensembl ids most genes have. A dataset of several has all their names.

    Parameters
    ----------
    sources
        In their order.
    asked
        What the user says; None: nothing.
    """

    def __init__(self, sources: Sequence[CountSource], asked: str | None) -> None:
        self._sources = sources
        self._asked = None if asked is None else organism_named(asked)
        self._known = [list(map(organism_named, dataset_organisms(source) or ())) for source in sources]
        self._columns = [None if all(known) and known else _column_of(source)
                         for source, known in zip(sources, self._known, strict=True)]  # fmt: skip
        self._seen: list[list[set[str]]] = [[set() for _ in source.genes.datasets] for source in sources]

    def add(self, number: int, rows: slice, kept: npt.NDArray[np.bool_]) -> None:
        """Look at some cells of a source.

        Parameters
        ----------
        kept
            bool (rows,): those that go into the set, as far as obs tells.
        """
        column, source, seen = self._columns[number], self._sources[number], self._seen[number]
        if self._asked is not None or column is None or not kept.any():
            return
        values = source.obs(rows, [column])[column].combine_chunks().dictionary_encode()
        names = values.dictionary.to_pylist()
        codes = np.asarray(values.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
        dataset = source.dataset(rows) if len(seen) > 1 else np.zeros(len(codes), np.int32)
        for own, code in np.unique(np.stack([dataset[kept], codes[kept]]), axis=1).T.tolist():
            if code >= 0 and names[code]:
                seen[own].add(organism_named(names[code]))

    def found(self) -> list[list[str]]:
        """For each source the species of its datasets, in the order of ``genes.datasets``; ``""`` where nothing tells."""
        return [
            [self._asked or self._one(number, i) for i in range(len(source.genes.datasets))]
            for number, source in enumerate(self._sources)
        ]

    def _one(self, number: int, dataset: int) -> str:
        known, seen = self._known[number], self._seen[number][dataset]
        if known and known[dataset]:
            return known[dataset]
        return ", ".join(sorted(seen)) if seen else _of_genes(self._sources[number], dataset)


def _column_of(source: CountSource) -> str | None:
    schema = source.obs_schema
    return next(
        (name for name in ORGANISM_COLUMNS if name in schema.names and pa.types.is_string(schema.field(name).type)),
        None,
    )


def _of_genes(source: CountSource, dataset: int) -> str:
    """The species of the Ensembl ids that a dataset measured, in whatever column they stand."""
    measured = source.genes.measured
    for ids in var_texts(source, None).values():
        own = ids if measured is None else [ids[i] for i in np.flatnonzero(measured[dataset]).tolist()]
        if (found := organism_of_ids(own)) is not None:
            return found
    return ""
