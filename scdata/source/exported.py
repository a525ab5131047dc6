"""What a source knows of its cells if they are an export of a set."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scdata._blocks import I32, I64, GeneSpace
from scdata._errors import SourceError
from scdata.source.base import not_there
from scdata.source.datasets import dataset_column
from scdata.source.export_facts import SIDE_FILE, ExportFacts
from scdata.source.measured_genes import MEASURED


class ExportedSource(ABC):
    """Roles, datasets, measured genes, and names of obs columns, as ``scdata export`` left them; nothing in other storage."""

    uri: str
    dataset_column: str | None

    # Where exports say which genes datasets measured
    _MEASURED_IN = f"{SIDE_FILE} ({MEASURED!r})"

    @property
    @abstractmethod
    def genes(self) -> GeneSpace: ...

    @property
    @abstractmethod
    def _obs_schema(self) -> pa.Schema:
        """As of `CountSource.obs_schema`, by the names in storage."""

    @cached_property
    def _facts(self) -> ExportFacts:
        """What stands beside the cells if they are an export of a set."""
        return ExportFacts()

    @property
    def _facts_notes(self) -> tuple[str, ...]:
        told, there = self._facts.dataset_column, self._obs_schema.names
        notes = list(self._facts.notes)
        if told is not None and self.dataset_column is None and told not in there:
            notes.append(f"the obs column {told!r}, which told datasets apart, is not there")
        if self._facts.measured is not None and self.genes.measured is None:
            notes.append(
                f"{self._MEASURED_IN} is left out: it is of other genes, or datasets; all genes count as measured"
            )
        return tuple(notes)

    @property
    def perturbation(self) -> Mapping[str, Any] | None:
        """See `scdata.source.perturbation_of`."""
        roles, known = self._facts.perturbation, {own: name for name, own in self._obs_names_of.items()}
        if roles is None:
            return None
        match = [known.get(name, name) for name in roles["match"]]
        return {**roles, "column": known.get(roles["column"], roles["column"]), "match": match}

    @property
    def added_obs(self) -> frozenset[str]:
        """See `scdata.source.added_obs`."""
        known = {name for name in self._facts.added if self._obs_names_of.get(name) == name}
        # what told datasets apart, and does not here, would be lost
        return frozenset(known if self._dataset_key in known else known - {self._facts.dataset_column})

    @property
    def dataset_facts(self) -> Mapping[str, Mapping[str, str]]:
        """See `scdata.source.dataset_facts`."""
        return self._facts.datasets if self._dataset_key == self._facts.dataset_column else {}

    @cached_property
    def obs_schema(self) -> pa.Schema:
        return pa.schema([self._obs_schema.field(own).with_name(name) for name, own in self._obs_names_of.items()])

    @cached_property
    def _obs_names_of(self) -> dict[str, str]:
        """Name in storage of each obs column."""
        return self._facts.obs_names(self._obs_schema.names)

    def _stored_name(self, column: str) -> str:
        if column not in self._obs_names_of:
            raise not_there("obs column", column, self.obs_schema.names, self.uri)
        return self._obs_names_of[column]

    @cached_property
    def _dataset_key(self) -> str | None:
        told = self._facts.dataset_column
        if self.dataset_column is None and told in self._obs_schema.names:
            return told
        found = dataset_column(self.dataset_column, self.obs_schema.names, self.uri)
        return None if found is None else self._obs_names_of[found]

    def _measured_mask(self, var: pa.Table, datasets: Sequence[str]) -> npt.NDArray[np.bool_] | None:
        """See `MeasuredGenes.mask`; None where nothing is known, or datasets are not those of the export."""
        known = self._facts.measured
        return (
            known.mask(var, datasets) if known is not None and self._dataset_key == self._facts.dataset_column else None
        )

    def _refuse_unmeasured(self, start: int, indptr: I64, indices: I32, dataset: I32) -> None:
        """Cells cannot have counts of what an export says that their dataset did not measure.

        Parameters
        ----------
        start
            Row of the first of C cells.
        indptr, indices
            CSR of their counts without zeros.
        dataset
            int32 (C,): their datasets.

        Raises
        ------
        SourceError
            If one has.
        """
        measured = self.genes.measured
        if self._facts.measured is None or measured is None:
            return
        there = measured[np.repeat(dataset, np.diff(indptr)), indices]
        if not there.all():
            at = int(np.argmin(there))
            row = bisect_right(indptr, at) - 1
            raise SourceError(
                f"{self.uri}: row {start + row}, of dataset {self.genes.datasets[dataset[row]]!r}, has counts of gene "
                f"{self.genes.feature_ids[indices[at]]!r}, and {self._MEASURED_IN} says that it did not measure that: the "
                "counts or the datasets are not those of the export; delete what is said there, and all genes count as measured"
            )
