"""Normalize: library size, log-normalization, thinning, and the corpus statistics that tokenizers are fitted from."""

from scdata.normalize.depth_table import DepthTable
from scdata.normalize.edge_fit import DepthEdges, fit_depth_edges, fit_edges
from scdata.normalize.hvg_seurat import normalized_moments, select_seurat
from scdata.normalize.hvg_seurat_v3 import VarianceTrend, moments_below_clip, select_seurat_v3
from scdata.normalize.library_size import library_size, log1p_normalized, normalize_total
from scdata.normalize.medians import ValueHistogram
from scdata.normalize.moments import GeneMoments
from scdata.normalize.thinning import thin

__all__ = [
    "DepthEdges",
    "DepthTable",
    "GeneMoments",
    "ValueHistogram",
    "VarianceTrend",
    "fit_depth_edges",
    "fit_edges",
    "library_size",
    "log1p_normalized",
    "moments_below_clip",
    "normalize_total",
    "normalized_moments",
    "select_seurat",
    "select_seurat_v3",
    "thin",
]
