"""Exports of one set in every format that holds counts."""

import shutil

import pytest

import scdata

KINDS = ("h5ad", "zarr", "npz", "parquet-scgpt", "webdataset-cells")


@pytest.fixture(scope="module")
def kinds(to_export, tmp_path_factory):
    """A folder with exports of the set `to_export` of a module, each called as its format."""
    folder = tmp_path_factory.mktemp("kinds")
    for kind in KINDS:
        scdata.export_set(to_export, folder / kind, kind)
    return folder


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def exported(kinds, tmp_path):
    """A function: a copy of one of them, to be changed."""

    def make(kind):
        copy = shutil.copytree if (kinds / kind).is_dir() else shutil.copy
        return copy(kinds / kind, tmp_path / kind)

    return make
