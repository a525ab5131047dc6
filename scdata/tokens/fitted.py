"""The numbers that a tokenizer needs beside its vocabulary: from published files, or fitted to a corpus."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scdata._blocks import I32, I64
from scdata._errors import TokenizerError
from scdata.normalize.library_size import F64
from scdata.tokens.preset import Preset

MEDIANS, HVG, EDGES, DEPTH_EDGES = "medians", "hvg", "edges", "depth_edges"


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What presets look up for genes, values and depths; None where a preset does not use it.

    Parameters
    ----------
    medians
        float64 (G,): non-zero median of each gene of the vocabulary (rank).
    selected
        int32, ascending: places in the vocabulary of the genes that may be tokens (hvg).
    edges
        float64 (S, E): rising lognorm values where bin 1 ends, bin 2, …, for each of S strata; S = 1 for ``edges``.
    borders
        int64 (S − 1,): total counts where stratum 1 begins, stratum 2, … (depth_edges).
    """

    medians: F64 | None = None
    selected: I32 | None = None
    edges: F64 | None = None
    borders: I64 | None = None

    def missing(self, preset: Preset) -> tuple[str, ...]:
        """What a preset needs and is not here."""
        need = []
        if preset.value.kind == "rank" and self.medians is None:
            need.append(MEDIANS)
        if preset.genes.choice == "hvg" and self.selected is None:
            need.append(HVG)
        if preset.value.kind in ("edges", "depth_edges") and self.edges is None:
            need.append(EDGES if preset.value.kind == "edges" else DEPTH_EDGES)
        return tuple(need)

    def to_json(self) -> dict[str, Any]:
        """The arrays as lists; `from_json` reads them back."""
        arrays = {name: getattr(self, name) for name in _DTYPES}
        return {name: array.tolist() for name, array in arrays.items() if array is not None}

    @staticmethod
    def from_json(table: Mapping[str, Any], n_genes: int, where: str) -> "Fitted":
        """Read what `to_json` wrote.

        Raises
        ------
        TokenizerError
            If an array does not fit the vocabulary or the others.
        """
        given = {name: np.array(table[name], dtype) for name, dtype in _DTYPES.items() if name in table}
        found = Fitted(**given)
        if found.medians is not None and found.medians.shape != (n_genes,):
            raise TokenizerError(f"{where}: {len(found.medians)} medians for {n_genes} genes")
        chosen = found.selected
        if chosen is not None and not (
            len(chosen) and (np.diff(chosen) > 0).all() and 0 <= chosen[0] <= chosen[-1] < n_genes
        ):
            raise TokenizerError(f"{where}: the selected genes are not places of {n_genes} genes")
        edges = found.edges
        if edges is not None and (
            edges.ndim != 2 or len(edges) != 1 + len(() if found.borders is None else found.borders)
        ):
            raise TokenizerError(f"{where}: edges of shape {edges.shape} do not fit the borders of the strata")
        return found


_DTYPES = {"medians": np.float64, "selected": np.int32, "edges": np.float64, "borders": np.int64}
