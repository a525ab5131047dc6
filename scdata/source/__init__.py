"""Sources of raw counts: h5ad, zarr, 10x, SOMA, the Census, synthetic, exports of sets; read in contiguous slices of rows."""

from scdata.source.anndata_zarr import ZarrSource
from scdata.source.base import (
    CountSource,
    DefaultFilter,
    added_obs,
    dataset_facts,
    dataset_organisms,
    default_filter,
    perturbation_of,
    pin,
    version_of,
)
from scdata.source.cell_samples import CellSamplesSource
from scdata.source.census import CensusSource
from scdata.source.h5ad import H5adSource
from scdata.source.npz import NpzSource
from scdata.source.open import open_source, open_sources, register_source
from scdata.source.place import SourceOptions
from scdata.source.ragged_parquet import RaggedParquetSource
from scdata.source.soma import SomaSource
from scdata.source.synthetic import SyntheticSource
from scdata.source.tenx import TenxSource

__all__ = [
    "CellSamplesSource",
    "CensusSource",
    "CountSource",
    "DefaultFilter",
    "H5adSource",
    "NpzSource",
    "RaggedParquetSource",
    "SomaSource",
    "SourceOptions",
    "SyntheticSource",
    "TenxSource",
    "ZarrSource",
    "added_obs",
    "dataset_facts",
    "dataset_organisms",
    "default_filter",
    "open_source",
    "open_sources",
    "perturbation_of",
    "pin",
    "register_source",
    "version_of",
]
