"""Open sources by what stands at their place, not by its name."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Protocol

from scdata._errors import SourceError
from scdata._storage import Storage, public_uri
from scdata.source import anndata_zarr, cell_samples, census, h5ad, npz, ragged_parquet, soma, synthetic, tenx
from scdata.source.base import CountSource
from scdata.source.export_facts import SIDE_FILE
from scdata.source.listing import expand
from scdata.source.place import Place, SourceOptions, look_at


class Reader(Protocol):
    """How one kind of source is recognized and opened: what a file in this folder has to offer.

    Attributes
    ----------
    KIND
        What it reads, for messages: ``"an h5ad file"``.
    TAKES
        The fields of `SourceOptions` that mean something to it.
    SCHEME
        Beginning of addresses that are its own (``"synthetic:"``); empty if it reads files and folders.
    """

    KIND: str
    TAKES: frozenset[str]
    SCHEME: str

    def recognizes(self, place: Place) -> bool:
        """True if what stands there is of this kind."""

    def open_place(self, place: Place, options: SourceOptions) -> Sequence[CountSource]:
        """The sources there: mostly one."""


# in a folder of the library `datasets`, as an export of a set as ranks is one
_RANKS = {SIDE_FILE, "dataset_info.json", "state.json"}

# modules are readers: the first that recognizes a place reads it
_READERS: list[Reader] = [synthetic, census, tenx, h5ad, anndata_zarr, soma, npz, cell_samples, ragged_parquet]


def register_source(reader: Reader) -> None:
    """Teach `open_source` and `build_shards` one more kind of source; it is asked before the others.

    Parameters
    ----------
    reader
        A module or object with the attributes of `Reader`. Workers import the classes of its sources by name.
    """
    if reader not in _READERS:
        _READERS.insert(0, reader)


def open_source(
    uri: str | os.PathLike[str],
    *,
    layer: str | None = None,
    measurement: str | None = None,
    dataset_column: str | None = None,
    endpoint: str | None = None,
    region: str | None = None,
    anonymous: bool = False,
) -> CountSource:
    """Open one source of counts for reading.

    Parameters
    ----------
    uri
        Path, an address (``s3://``, ``hf://``, ``https://``), ``census:RELEASE/ORGANISM``, or
        ``synthetic:cells=1000,genes=2000,seed=0``.
    layer
        Layer with the raw counts; None: see `H5adSource`, `ZarrSource` and `SomaSource`.
    measurement
        SOMA only: name of the measurement; None: ``"RNA"``.
    dataset_column
        obs column that tells datasets apart; None: the one that an export of a set names, else ``dataset_id`` where
        there is one, else all cells are one.
    endpoint, region, anonymous
        How to reach ``s3://`` (`Storage`); credentials come from the environment.

    Raises
    ------
    SourceError
        If nothing is there, or what is there cannot be read, or it is several sources.
    LayerNotFoundError, NotCountsError
        If the layer or measurement is not there, or holds no counts.
    StorageError
        If a store does not answer, or refuses.
    ValueError
        If an argument does not belong to the kind of source.

    Examples
    --------
    >>> open_source("synthetic:cells=10,genes=20").n_obs
    10
    """
    storage = Storage(endpoint=endpoint, region=region, anonymous=anonymous)
    options = SourceOptions(layer=layer, measurement=measurement, dataset_column=dataset_column, storage=storage)
    found = open_sources(os.fspath(uri), options)
    if len(found) != 1:
        said = public_uri(os.fspath(uri))
        raise SourceError(
            f"{said}: {len(found)} sources, not one; build_shards takes them all, open_source one of them"
        )
    return found[0]


def open_sources(uri: str, options: SourceOptions) -> list[CountSource]:
    """All sources that a URI, a pattern, a folder or a list names, in order.

    Raises
    ------
    SourceError, ValueError
        As `open_source`.
    """
    if _reader_of_scheme(uri) is not None:
        return _open_one(uri, options)
    listed = expand(uri, lambda place: _reader_of(place) is not None, options.storage)
    if listed is not None:
        return [source for own, name in listed for source in _open_one(own, options, name)]
    return _open_one(uri, options)


def _open_one(uri: str, options: SourceOptions, name: str | None = None) -> list[CountSource]:
    reader = _reader_of_scheme(uri)
    place = Place(uri, uri, storage=options.storage) if reader else look_at(uri, name, options.storage)
    reader = reader or _reader_of(place)
    said = public_uri(uri)
    if reader is None:
        if place.names >= _RANKS:
            raise SourceError(
                f"{said}: an export of a set as ranks of genes (hf-geneformer), which do not tell counts; build from the set's "
                "own source, or from an export of another format, such as h5ad"
            )
        folder = "a folder that holds none of them" if place.names else "an empty folder"
        what = "a file of none of the known kinds" if place.is_file else folder
        kinds = ", ".join(dict.fromkeys(reader.KIND for reader in _READERS))
        raise SourceError(f"{said}: {what}; what can be read: {kinds}; a folder, pattern or list (.txt) of such files")
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name != "storage" and value is not None and field.name not in reader.TAKES:
            raise ValueError(f"{said} is {reader.KIND}, which takes no {field.name} (given: {value!r}); leave it out")
    found = list(reader.open_place(place, options))
    for source in found:
        _ = source.n_obs, source.genes  # a missing or unreadable layer shows now
    return found


def _reader_of_scheme(uri: str) -> Reader | None:
    return next((reader for reader in _READERS if reader.SCHEME and uri.startswith(reader.SCHEME)), None)


def _reader_of(place: Place) -> Reader | None:
    return next((reader for reader in _READERS if not reader.SCHEME and reader.recognizes(place)), None)
