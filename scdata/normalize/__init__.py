"""Normalize: library size, log-normalization, and the corpus statistics that tokenizers are fitted from."""

from scdata.normalize.library_size import library_size, log1p_normalized, normalize_total
from scdata.normalize.medians import ValueHistogram

__all__ = ["ValueHistogram", "library_size", "log1p_normalized", "normalize_total"]
