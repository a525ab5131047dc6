"""Sources of raw counts: h5ad, 10x, SOMA and synthetic, all read in contiguous slices of rows."""

from scdata.source.base import CountSource, DefaultFilter, default_filter, pin, version_of
from scdata.source.h5ad import H5adSource
from scdata.source.open import open_source, open_sources, register_source
from scdata.source.place import SourceOptions
from scdata.source.soma import SomaSource
from scdata.source.synthetic import SyntheticSource
from scdata.source.tenx import TenxSource

__all__ = [
    "CountSource",
    "DefaultFilter",
    "H5adSource",
    "SomaSource",
    "SourceOptions",
    "SyntheticSource",
    "TenxSource",
    "default_filter",
    "open_source",
    "open_sources",
    "pin",
    "register_source",
    "version_of",
]
