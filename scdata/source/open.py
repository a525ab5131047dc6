"""Open a source by what stands at its place, not by its name."""

import os
from pathlib import Path

from scdata._errors import SourceError
from scdata._optional import need
from scdata.source.base import CountSource
from scdata.source.h5ad import H5adSource
from scdata.source.soma import SomaSource
from scdata.source.synthetic import SCHEME, SyntheticSource

_HDF5 = b"\x89HDF\r\n\x1a\n"

_CAN = "what can be opened: an h5ad file, the folder of a SOMA experiment, or synthetic:cells=N"


def open_source(
    uri: str | os.PathLike[str],
    *,
    layer: str | None = None,
    measurement: str | None = None,
    dataset_column: str | None = None,
) -> CountSource:
    """Open counts for reading: an h5ad file, a local SOMA experiment, or a synthetic source.

    Parameters
    ----------
    uri
        Path, or ``synthetic:cells=1000,genes=2000,seed=0``.
    layer
        Layer with the raw counts; None: see `H5adSource` and `SomaSource`.
    measurement
        SOMA only: name of the measurement; None: ``"RNA"``.
    dataset_column
        Obs column that tells datasets apart; None: ``dataset_id`` where there is one, else all cells are one.

    Raises
    ------
    SourceError
        If nothing is there, or what is there cannot be read.
    LayerNotFoundError, NotCountsError
        If the layer or measurement is not there, or holds no counts.
    ValueError
        If an argument does not belong to the kind of source.

    Examples
    --------
    >>> open_source("synthetic:cells=10,genes=20").n_obs
    10
    """
    uri = os.fspath(uri)
    if uri.startswith(SCHEME):
        _refuse(uri, "a synthetic source", layer=layer, measurement=measurement, dataset_column=dataset_column)
        return SyntheticSource.from_uri(uri)
    source: CountSource
    if _is_hdf5(uri):
        _refuse(uri, "an h5ad file", measurement=measurement)
        source = H5adSource(uri, layer=layer, dataset_column=dataset_column)
    else:
        _check_experiment(uri)
        source = SomaSource(uri, measurement or "RNA", layer=layer, dataset_column=dataset_column)
    # a missing or unreadable layer shows now
    _ = source.n_obs, source.genes
    return source


def _refuse(uri: str, kind: str, **arguments: str | None) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"{uri} is {kind}, which takes no {name} (given: {value!r}); leave it out")


def _is_hdf5(uri: str) -> bool:
    path = Path(uri)
    if not path.exists():
        raise SourceError(f"{uri}: not found; looked at {path.absolute()}; {_CAN}")
    if path.is_dir():
        return False
    with path.open("rb") as file:
        if file.read(len(_HDF5)) == _HDF5:
            return True
    raise SourceError(f"{uri} is not an HDF5 file; {_CAN}")


def _check_experiment(uri: str) -> None:
    """Tell what a folder is, if it is no SOMA experiment."""
    folder = Path(uri)
    if (folder / "manifest.json").exists():
        raise SourceError(
            f"{uri} is a set of shards, not counts to build from; read it with ShardDataset, or name the "
            "source that it was built from"
        )
    if not (folder / "__group").exists():
        raise SourceError(f"{uri} is a folder, but not that of a SOMA experiment; {_CAN}")
    if not need("tiledbsoma", "read SOMA experiments").Experiment.exists(uri):
        raise SourceError(f"{uri} is a TileDB group, but not a SOMA experiment (a part of one?); {_CAN}")
