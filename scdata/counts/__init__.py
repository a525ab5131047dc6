"""Counts: which gene of a vocabulary a source's column is, and cells as sorted CSR rows over such genes."""

from scdata.counts.csr import gather_genes, ragged_rows, row_of_entry, take_rows
from scdata.counts.genes import cut_version, looks_like, map_ids

__all__ = ["cut_version", "gather_genes", "looks_like", "map_ids", "ragged_rows", "row_of_entry", "take_rows"]
