"""The numbers that a tokenizer needs beside its vocabulary: from published files, or fitted to a corpus."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scdata._blocks import I32, I64, Array
from scdata._errors import TokenizerError
from scdata.normalize.library_size import F64
from scdata.tokens.preset import Preset

MEDIANS, HVG, EDGES, DEPTH_EDGES = "medians", "variable genes", "bin edges", "bin edges by depth"


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
        given = {
            name: _array(table[name], dtype, f"{where}: {name}") for name, dtype in _DTYPES.items() if name in table
        }
        found = Fitted(**given)
        wrong = found._wrong(n_genes)
        if wrong is not None:
            raise TokenizerError(f"{where}: {wrong}")
        return found

    def _wrong(self, n_genes: int) -> str | None:
        """What does not fit the vocabulary or the rest, in words."""
        medians, chosen, edges, borders = self.medians, self.selected, self.edges, self.borders
        if medians is not None:
            if medians.shape != (n_genes,):
                return f"medians of shape {medians.shape} for {n_genes} genes"
            if not (np.isfinite(medians) & (medians > 0)).all():
                return "medians must be finite and above 0"
        if chosen is not None:
            rising = chosen.ndim == 1 and len(chosen) and (np.diff(chosen) > 0).all()
            if not rising or not 0 <= chosen[0] <= chosen[-1] < n_genes:
                return f"the selected genes are not rising places of {n_genes} genes"
        if borders is not None and (borders.ndim != 1 or (np.diff(borders) <= 0).any() or edges is None):
            return "borders of strata must rise, and go with edges"
        if edges is not None:
            if edges.ndim != 2 or len(edges) != 1 + (0 if borders is None else len(borders)):
                return f"edges of shape {edges.shape} do not fit the borders of the strata"
            if not edges.shape[1] or not np.isfinite(edges).all() or (np.diff(edges, axis=1) < 0).any():
                return "edges must be finite and not fall"
        return None


def _array(values: Any, dtype: Any, where: str) -> Array:
    """Numbers of a JSON list: of the type asked for, without turning strings, truths or fractions into it."""
    array = np.array(values)
    kinds = "iu" if np.dtype(dtype).kind == "i" else "iuf"
    if array.dtype.kind not in kinds and array.size:
        raise TokenizerError(f"{where}: expected numbers, found {array.dtype}")
    return array.astype(dtype)


_DTYPES = {"medians": np.float64, "selected": np.int32, "edges": np.float64, "borders": np.int64}
